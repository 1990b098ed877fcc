// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Stock programs: every frame, its time, its picture.

use std::path::Path;
use std::time::Duration;

use e2e::fixtures::{Size, program, source};
use e2e::gst_launch::pipelines;
use e2e::guest::TIMED_OUT;
use e2e::programs::{self, buffer_times, packet_times};
use e2e::streams::{Expected, Source, check_all};
use e2e::{Results, Spec, Suite, TestVm};
use nix::sys::signal::Signal;

const SMALL: Size = Size::new(176, 144);
const MEDIUM: Size = Size::new(640, 360);
const LARGE: Size = Size::new(1920, 1080);
const SIZES: [Size; 4] = [MEDIUM, Size::new(1296, 972), SMALL, LARGE];

/// How long a program has, in seconds.
const LIMIT: u32 = 120;

/// FFmpeg's encoder.
const H264: &str = "-c:v h264_v4l2m2m -b:v 1200k";

#[test]
fn clients() {
    let mut files = SIZES.map(|size| source(size).unwrap()).to_vec();
    files.push(program("client"));
    let spec = Spec {
        files,
        ..Spec::default()
    };
    let suite = Suite::new("clients");
    let mut expected = Vec::new();
    suite.run(&spec, |vm| checks(vm, &mut expected));
    suite.on_host(|results| {
        check_all(results, suite.out(), &expected);
        bit_identical(results, suite.out());
    });
    suite.end();
}

/// What is checked in the guest. `expected` gets the streams that there are to be.
fn checks(vm: &mut TestVm, expected: &mut Vec<Expected>) {
    for size in SIZES {
        let stream = format!("v4l2-ctl-{size}.h264");
        let command = by_v4l2_ctl(&stream, size, size.bitrate());
        vm.check_for(LIMIT, &format!("v4l2-ctl {size}"), &command);
        expected.push(Expected::all_of(size, &stream));
    }
    ffmpeg(vm, expected);
    ffmpeg_with_nothing(vm);
    ffmpeg_keys(vm);
    ffmpeg_noise(vm);
    ffmpeg_files(vm, expected);
    gstreamer(vm, expected);

    // v4l2-ctl reads frames of the cropped size, so the crop is our own client's: it leaves what
    // was in the rectangle.
    vm.client("crop");
    expected.push(Expected {
        stream: "crop.h264".to_owned(),
        source: Source::Made("crop.nv12".to_owned()),
        size: Size::new(160, 128),
        frames: 20,
    });
    four_at_once(vm, expected);
    vm.leaves_cleanly();
}

fn by_v4l2_ctl(stream: &str, size: Size, bitrate: u32) -> String {
    let options = format!("--set-ctrl video_bitrate={bitrate} --stream-mmap --stream-out-mmap");
    programs::v4l2_ctl(size, &options, stream)
}

fn ffmpeg(vm: &TestVm, expected: &mut Vec<Expected>) {
    let stream = format!("ffmpeg-{MEDIUM}.h264");
    let command = programs::ffmpeg(MEDIUM, &format!("{H264} /out/{stream}"));
    vm.check_for(LIMIT, &format!("ffmpeg {MEDIUM}"), &command);
    let all = Expected::all_of(MEDIUM, &stream);

    // In the time base of the container, packet n is sent with time n.
    let command = programs::ffmpeg(MEDIUM, &format!("{H264} -f framecrc -"));
    let output = vm.run_for(LIMIT, &command);
    vm.results.command("ffmpeg to a list of packets", &output);
    let times = packet_times(&output.lines);
    vm.results.verdict(
        "ffmpeg: timestamps as sent",
        times.iter().copied().eq(0..i64::from(all.frames)),
        &format!("{times:?}"),
    );
    expected.push(all);

    // The way round a container that wants headers first, of docs/operating.md.
    let stream = "ffmpeg-copied.mkv";
    let command = programs::ffmpeg(MEDIUM, &format!("{H264} -f h264 -"));
    let copy = format!("ffmpeg -nostdin -v error -y -f h264 -r 25 -i - -c copy /out/{stream}");
    vm.check_for(
        LIMIT,
        "ffmpeg to Matroska by way of a second one",
        &format!("{command} | {copy}"),
    );
    expected.push(Expected::all_of(MEDIUM, stream));
}

/// Nothing reaches the encoder: FFmpeg says STOP, starts both queues, and waits for the end. It may
/// say that there is nothing to write.
fn ffmpeg_with_nothing(vm: &TestVm) {
    for (name, options) in [
        (
            "ffmpeg with nothing to encode ends",
            "-ss 100 /tmp/nothing.h264",
        ),
        (
            "ffmpeg into a container that wants headers first ends",
            "/tmp/nothing.mkv",
        ),
    ] {
        let command = programs::ffmpeg(MEDIUM, &format!("{H264} {options}"));
        let output = vm.run_for(LIMIT, &command);
        let killed = TIMED_OUT + Signal::SIGKILL as i32;
        let by_itself = ![TIMED_OUT, killed].contains(&output.status);
        let reason = format!("status {}: {}", output.status, output.last());
        vm.results.verdict(name, by_itself, &reason);
    }
}

/// Key frames are where they are asked for, not at cuts.
fn ffmpeg_keys(vm: &TestVm) {
    let inputs = "-f lavfi -i testsrc=s=320x240 -f lavfi -i color=red:s=320x240 \
                  -f lavfi -i testsrc2=s=320x240";
    let scenes = "[1]trim=end_frame=20[b];[0]trim=end_frame=20[a];[2]trim=end_frame=20[c];\
                  [a][b][c]concat=n=3";
    let encode = "-pix_fmt nv12 -c:v h264_v4l2m2m -g 25 /tmp/keys.h264";
    let made = vm.run(&format!(
        "ffmpeg -nostdin -v error -y {inputs} -filter_complex '{scenes}' {encode}"
    ));
    let probe = "ffprobe -v error -show_entries packet=flags -of csv=p=0 /tmp/keys.h264";
    let flags = vm.run(probe).lines;
    let keys = flags
        .iter()
        .enumerate()
        .filter(|(_, flags)| flags.contains('K'));
    let keys: Vec<_> = keys.map(|(frame, _)| frame).collect();
    vm.results.verdict(
        "ffmpeg -g 25: key frames every 25 frames, at no cut",
        made.success() && keys == [0, 25, 50],
        &format!("status {}: {}; {keys:?}", made.status, made.last()),
    );
}

/// Noise at more bits than a buffer holds can be decoded.
fn ffmpeg_noise(vm: &TestVm) {
    let frames = 4;
    let bytes = MEDIUM.nv12() * frames;
    let made = vm.run(&format!(
        "head -c {bytes} /dev/urandom | ffmpeg -v error -y -f rawvideo -pix_fmt nv12 \
         -video_size {MEDIUM} -framerate 1 -i - -c:v h264_v4l2m2m -b:v 25M /tmp/noise.h264"
    ));
    let decode = "ffmpeg -nostdin -v error -xerror -i /tmp/noise.h264 -f framecrc -";
    let decoded = vm.run(decode);
    let found = packet_times(&decoded.lines).len();
    vm.results.verdict(
        "ffmpeg, noise: every frame fits into its buffer",
        made.success() && decoded.success() && found as u64 == frames,
        &format!("{found} of {frames}; {} {}", made.last(), decoded.last()),
    );
}

/// What FFmpeg has decoded, and filtered or cropped, lies there with other strides than the
/// format's.
fn ffmpeg_files(vm: &TestVm, expected: &mut Vec<Expected>) {
    for size in [
        Size::new(426, 240),
        Size::new(800, 600),
        Size::new(1296, 972),
    ] {
        make_clip(vm, size);
        ffmpeg_file(vm, &format!("decoded-{size}"), size, "null", expected);
    }
    make_clip(vm, LARGE);
    for (name, size, filter) in [
        ("scaled", Size::new(854, 480), "scale=854:480"),
        ("scaled-800", Size::new(800, 600), "scale=800:600"),
        ("nv12", Size::new(854, 480), "scale=854:480,format=nv12"),
        ("cropped", Size::new(1024, 576), "crop=1024:576"),
    ] {
        ffmpeg_file(vm, name, size, filter, expected);
    }
}

/// Five frames in a file that has to be decoded.
fn make_clip(vm: &TestVm, size: Size) {
    let filter = format!("scale={}:{},format=yuv420p", size.width, size.height);
    let encode =
        format!("-frames:v 5 -vf {filter} -c:v libx264 -preset ultrafast -qp 12 /tmp/clip.mp4");
    let name = format!("a clip of {size}");
    vm.check(&name, &programs::ffmpeg(LARGE, &encode));
}

/// The reference is what FFmpeg gives out itself, packed.
fn ffmpeg_file(vm: &TestVm, name: &str, size: Size, filter: &str, expected: &mut Vec<Expected>) {
    let stream = format!("ffmpeg-{name}");
    let read = format!("ffmpeg -nostdin -v error -y -i /tmp/clip.mp4 -vf {filter}");
    vm.run(&format!(
        "{read} -pix_fmt nv12 -f rawvideo /out/{stream}.nv12"
    ));
    vm.check_for(
        LIMIT,
        &format!("ffmpeg, {name} to {size}"),
        &format!("{read} -c:v h264_v4l2m2m -b:v 8M /out/{stream}.h264"),
    );
    expected.push(Expected {
        stream: format!("{stream}.h264"),
        source: Source::Made(format!("{stream}.nv12")),
        size,
        frames: 5,
    });
}

fn gstreamer(vm: &TestVm, expected: &mut Vec<Expected>) {
    let stream = format!("gstreamer-{MEDIUM}.h264");
    let encode = format!(
        "v4l2h264enc extra-controls=controls,video_bitrate=1200000 \
         ! video/x-h264,stream-format=byte-stream ! identity name=times silent=false \
         ! filesink location=/out/{stream}"
    );
    let output = vm.run_for(LIMIT, &programs::gstreamer(MEDIUM, "-v", &encode));
    vm.results.command(&format!("GStreamer {MEDIUM}"), &output);

    let all = Expected::all_of(MEDIUM, &stream);
    let times = buffer_times(&output.lines);
    let sent = (0..all.frames).map(|frame| Duration::from_millis(40) * frame);
    let differ = times.iter().zip(sent).filter(|(is, sent)| {
        // A timestamp of V4L2 is one in microseconds.
        is.abs_diff(*sent) >= Duration::from_micros(500)
    });
    let differ = differ.count();
    vm.results.verdict(
        "GStreamer: timestamps as sent",
        differ == 0 && times.len() == all.frames as usize,
        &format!("{differ} of {} differ", times.len()),
    );
    expected.push(all);
}

fn four_at_once(vm: &TestVm, expected: &mut Vec<Expected>) {
    let sessions = [(1, SMALL), (2, MEDIUM), (3, SMALL), (4, MEDIUM)].map(|(number, size)| {
        let stream = format!("session-{number}.h264");
        expected.push(Expected::all_of(size, &stream));
        (number, vm.spawn(&by_v4l2_ctl(&stream, size, 1_500_000)))
    });
    for (number, session) in sessions {
        let output = session.wait(LIMIT).unwrap();
        let name = format!("session {number} of four at once");
        vm.results.command(&name, &output);
    }
}

/// The daemon logs the pipeline that makes the same stream from a file: on the host, without guest
/// and driver, it has to give the same bytes.
fn bit_identical(results: &Results, out: &Path) {
    let log = std::fs::read_to_string(out.join("daemon.log")).unwrap();
    let pipelines = pipelines(&log);
    for size in SIZES {
        let name = format!("v4l2-ctl {size}: bit-identical to x264enc on the host");
        let kbit = size.bitrate() / 1000;
        // The first of this size and bitrate is the one: the suite runs one program after the
        // other.
        let found = pipelines
            .iter()
            .find(|pipeline| pipeline.is_of(size) && pipeline.has_x264_bitrate(kbit));
        let Some(pipeline) = found else {
            let reason = format!("the daemon's log names no such pipeline with bitrate={kbit}");
            results.not_ok(&name, &reason);
            continue;
        };
        let stream = out.join(format!("v4l2-ctl-{size}.h264"));
        pipeline.check(results, &name, &stream, &source(size).unwrap());
    }
    let dropped: Vec<_> = log
        .lines()
        .filter_map(|line| line.split_once("dropped "))
        .map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .collect();
    let none = !dropped.is_empty() && dropped.iter().all(|count| *count == Some("0"));
    results.verdict("the daemon dropped nothing", none, &format!("{dropped:?}"));
}
