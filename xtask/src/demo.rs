// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `make demo`: three stock programs in a stock guest encode a clip through `/dev/video0`; the host
//! decodes every stream and compares it with the source. Results are in `out/demo`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::fixtures::{self, Size, run};
use e2e::parts::Parts;
use e2e::process::say;
use e2e::streams::{self, ENOUGH, Rate};
use e2e::{Results, Spec, TestVm, accel::Accel, cache, results};
use serde_json::{Value, json};

use crate::build;

/// Programs that encode.
const CLIENTS: [&str; 3] = ["v4l2-ctl", "ffmpeg", "gstreamer"];
/// Frames of the clip that are encoded, where FRAMES says nothing else.
const FRAMES: &str = "300";
/// Time of a program in the guest, in seconds.
const LIMIT: u32 = 300;

/// What is encoded.
struct Source {
    raw: PathBuf,
    size: Size,
    rate: Rate,
    frames: u32,
    bitrate: u32,
}

/// Encodes `INPUT`, or else the clip of the demo. Returns the exit status.
pub fn demo() -> Result<i32> {
    build::programs(&["-p", "virtio-v4l2-e2e"])?;
    let demo = cache::repository().join("out/demo");
    if demo.exists() {
        fs::remove_dir_all(&demo)?;
    }
    fs::create_dir_all(&demo)?;
    let work = tempfile::tempdir()?;
    let clip = match std::env::var_os("INPUT").filter(|input| !input.is_empty()) {
        Some(input) => fs::canonicalize(&input)
            .with_context(|| format!("INPUT={}: no such file", input.display()))?,
        None => fixtures::clip()?,
    };
    let source = decode(&clip, &work.path().join("source.nv12"))?;
    say(&format!(
        "{}: {} frames of {} at {} per second, asking for {} kbit/s",
        clip.file_name().unwrap_or_default().display(),
        source.frames,
        source.size,
        source.rate,
        source.bitrate / 1000
    ));
    let mut good = encode(&source, &demo)?;
    let rows = compare(&source, &demo, &mut good);
    let parts = Parts::prepare(None)?;
    let report = json!({"clients": rows, "accel": Accel::find(&parts)?.name(),
        "kernel": parts.kernel_release, "qemu": parts.qemu_version});
    fs::write(demo.join("report.json"), format!("{report}\n"))?;
    show(&demo, &source)?;
    if !good {
        say(&format!(
            "error: the demo failed: a client lost frames, fell below {ENOUGH} dB or ended with an \
             error; logs in {}/guest",
            demo.display()
        ));
        return Ok(1);
    }
    say(&format!(
        "streams, demo.mp4, demo.png and report.json are in {}",
        demo.display()
    ));
    Ok(0)
}

fn stream(demo: &Path, client: &str) -> PathBuf {
    demo.join(format!("{client}.h264"))
}

/// Size and rate of a clip.
fn video(clip: &str) -> Result<(Size, Rate)> {
    let entries = [
        "-show_entries",
        "stream=width,height,r_frame_rate",
        "-of",
        "json",
    ];
    let what = ["-v", "error", "-select_streams", "v:0"];
    let said = run("ffprobe", &[&what[..], &entries, &[clip]].concat())?;
    let said: Value = serde_json::from_str(&said)?;
    let stream = &said["streams"][0];
    let number = |key: &str| stream[key].as_u64().and_then(|n| u32::try_from(n).ok());
    let rate = stream["r_frame_rate"]
        .as_str()
        .and_then(|rate| rate.split_once('/'));
    let found = || {
        let (numerator, denominator) = rate?;
        let rate = Rate {
            numerator: numerator.parse().ok()?,
            denominator: denominator.parse().ok()?,
        };
        Some((Size::new(number("width")?, number("height")?), rate))
    };
    found().with_context(|| format!("ffprobe finds no video in {clip}"))
}

/// Decodes a clip to NV12 frames in `to`. The encoder takes even sizes.
fn decode(clip: &Path, to: &Path) -> Result<Source> {
    let path = clip.to_string_lossy();
    let (whole, rate) = video(&path)?;
    let size = Size::new(whole.width / 2 * 2, whole.height / 2 * 2);
    let frames = std::env::var("FRAMES").unwrap_or_else(|_| FRAMES.to_owned());
    let filter = format!(
        "crop={}:{}:0:0:exact=1,format=nv12",
        size.width, size.height
    );
    let input = [
        "-v",
        "error",
        "-nostdin",
        "-y",
        "-i",
        &path,
        "-frames:v",
        &frames,
    ];
    let output = ["-fps_mode", "passthrough", "-vf", &filter, "-f", "rawvideo"];
    let raw = to.to_string_lossy();
    run("ffmpeg", &[&input[..], &output, &[&*raw]].concat())?;
    let frames = u32::try_from(fs::metadata(to)?.len() / size.nv12())?;
    ensure!(frames > 0, "{path} has no frames");
    // A fifth of a bit for each pixel: far above what we ask of every client.
    let pixels = u64::from(size.width) * u64::from(size.height);
    let bitrate = pixels * u64::from(rate.numerator) / u64::from(rate.denominator.max(1)) / 5;
    Ok(Source {
        raw: to.to_owned(),
        size,
        rate,
        frames,
        bitrate: u32::try_from(bitrate)?,
    })
}

/// Each client encodes the source on its own; one that fails does not keep the next from trying.
/// Whether all succeeded.
fn encode(source: &Source, demo: &Path) -> Result<bool> {
    let spec = Spec {
        files: vec![source.raw.clone()],
        ..Spec::default()
    };
    let guest = demo.join("guest");
    let vm = TestVm::boot(Results::new("demo"), &spec, &guest)?;
    let mut good = true;
    for client in CLIENTS {
        let output = vm.run_for(LIMIT, &command(client, source));
        fs::write(vm.out().join(format!("{client}.log")), output.text())?;
        if output.success() {
            say(&format!("{client}: done"));
        } else {
            say(&format!(
                "{client}: failed with status {}; the end of its output:",
                output.status
            ));
            results::excerpt(&output.lines, 5);
            good = false;
        }
    }
    vm.end()?;
    for client in CLIENTS {
        let made = stream(&guest, client);
        if made.exists() {
            fs::rename(made, stream(demo, client))?;
        }
    }
    Ok(good)
}

/// What a person would type in the guest.
fn command(client: &str, source: &Source) -> String {
    let Size { width, height } = source.size;
    let (rate, bitrate) = (source.rate, source.bitrate);
    match client {
        "v4l2-ctl" => format!(
            "v4l2-ctl -d /dev/video0 --set-fmt-video-out \
             width={width},height={height},pixelformat=NV12 --set-fmt-video pixelformat=H264 \
             --set-output-parm {} --set-ctrl video_bitrate={bitrate} --stream-mmap \
             --stream-out-mmap --stream-from /job/source.nv12 --stream-to /out/v4l2-ctl.h264",
            f64::from(rate.numerator) / f64::from(rate.denominator)
        ),
        "ffmpeg" => format!(
            "ffmpeg -nostdin -hide_banner -y -f rawvideo -pix_fmt nv12 \
             -video_size {width}x{height} -framerate {rate} -i /job/source.nv12 \
             -c:v h264_v4l2m2m -b:v {bitrate} /out/ffmpeg.h264"
        ),
        _ => format!(
            "gst-launch-1.0 filesrc location=/job/source.nv12 ! rawvideoparse format=nv12 \
             width={width} height={height} framerate={rate} ! v4l2h264enc \
             extra-controls=controls,video_bitrate={bitrate} ! \
             video/x-h264,stream-format=byte-stream ! filesink location=/out/gstreamer.h264"
        ),
    }
}

/// Decodes each stream and prints a row of the table. `good` becomes false if one falls short.
fn compare(source: &Source, demo: &Path, good: &mut bool) -> Vec<Value> {
    let head = ["client", "frames in", "frames out", "bytes", "PSNR dB"];
    println!(
        "\n{:<12} {:>9} {:>10} {:>10} {:>9}",
        head[0], head[1], head[2], head[3], head[4]
    );
    let mut rows = Vec::new();
    for client in CLIENTS {
        let stream = stream(demo, client);
        let bytes = fs::metadata(&stream).map_or(0, |file| file.len());
        let frames = streams::decode(&stream).map_or(0, |decoded| decoded.frames);
        let psnr = streams::psnr(&stream, &source.raw, source.size).unwrap_or(0.0);
        println!(
            "{client:<12} {:>9} {frames:>10} {bytes:>10} {psnr:>9.2}",
            source.frames
        );
        *good &= frames == source.frames && psnr >= ENOUGH;
        rows.push(
            json!({"name": client, "frames_in": source.frames, "frames_out": frames,
            "bytes": bytes, "psnr_db": psnr}),
        );
    }
    println!();
    rows
}

/// For people: FFmpeg's stream as an MP4 file, and frames of the source beside encoded ones.
fn show(demo: &Path, source: &Source) -> Result<()> {
    let encoded = stream(demo, "ffmpeg");
    if !fs::metadata(&encoded).is_ok_and(|file| file.len() > 0) {
        return Ok(());
    }
    let mp4 = demo.join("demo.mp4");
    streams::make_mp4(&encoded, source.rate, &mp4)?;
    let sheet = demo.join("demo.png");
    streams::make_sheet(
        &source.raw,
        source.size,
        source.rate,
        &mp4,
        source.frames,
        &sheet,
    )
}
