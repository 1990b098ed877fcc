// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The other codecs that the host can make, and another raw format, with programs that put them
//! into containers.

use e2e::fixtures::{Size, source};
use e2e::streams::{Expected, check_all};
use e2e::{Spec, Suite, TestVm, programs};

const SIZE: Size = Size::new(640, 360);

#[test]
fn codecs() {
    let spec = Spec {
        files: vec![source(SIZE).unwrap()],
        ..Spec::default()
    };
    let suite = Suite::new("codecs");
    let mut expected = Vec::new();
    suite.run(&spec, |vm| expected = checks(vm));
    suite.on_host(|results| check_all(results, suite.out(), &expected));
    suite.end();
}

/// What is checked in the guest. Returns the streams that there are to be.
fn checks(vm: &mut TestVm) -> Vec<Expected> {
    let formats = vm.run("v4l2-ctl -d0 --list-formats");
    let offered = |fourcc: &str| formats.text().contains(&format!("'{fourcc}'"));
    let mut expected = Vec::new();
    let mut encode = |program: &str, fourcc: &str, stream: &str, command: &str| {
        let name = format!("{program} to {stream}");
        if offered(fourcc) {
            expected.push(Expected::all_of(SIZE, stream));
            vm.check_for(120, &name, command);
        } else {
            let reason = format!("the host has no encoder for {fourcc}");
            vm.results.skip(&name, &reason);
        }
    };
    // Without a container: the encoder gives FFmpeg no extradata, and Matroska wants it for HEVC
    // before the first frame.
    for (fourcc, stream, options) in [
        ("HEVC", "ffmpeg.hevc", "-c:v hevc_v4l2m2m"),
        ("VP80", "ffmpeg-vp8.webm", "-c:v vp8_v4l2m2m"),
        (
            "H264",
            "ffmpeg-yuv420p.mp4",
            "-pix_fmt yuv420p -c:v h264_v4l2m2m",
        ),
    ] {
        let options = format!("{options} -b:v 1700k /out/{stream}");
        encode("ffmpeg", fourcc, stream, &programs::ffmpeg(SIZE, &options));
    }
    for (fourcc, stream, element) in [
        ("VP80", "gstreamer-vp8.webm", "v4l2vp8enc"),
        ("VP90", "gstreamer-vp9.webm", "v4l2vp9enc"),
    ] {
        let controls = "extra-controls=controls,video_bitrate=1700000";
        let pipeline = format!("{element} {controls} ! webmmux ! filesink location=/out/{stream}");
        let command = programs::gstreamer(SIZE, "-q", &pipeline);
        encode("GStreamer", fourcc, stream, &command);
    }
    vm.leaves_cleanly();
    expected
}
