// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The rows of the table: for each codec its controls, its elements and their properties.

use gstreamer as gst;

use super::h264;
use super::hardware::{NVENC, QSVENC, V4L2ENC, VAENC};
use super::names::{X264_MATRICES, X264_PRIMARIES, X264_TRANSFERS};
use super::row::{
    Colours, Element, Footprint, Property, Row, element, live, number, start, text, yes_no,
};
use crate::device::encoder::level;
use crate::device::encoder::params::{Bounds, Params};
use crate::v4l2::core::controls::{Info, boolean, integer, menu, up_to};
use crate::v4l2::core::uapi::*;

const ENTROPY_MODES: &[&str] = &["CAVLC", "CABAC"];
const LOOP_FILTER_MODES: &[&str] = &["Enabled", "Disabled", "Disabled at Slice Boundary"];
const H264_PROFILES: &[&str] = &[
    "Baseline",
    "Constrained Baseline",
    "Main",
    "Extended",
    "High",
];
const H264_LEVELS: &[&str] = &[
    "1", "1b", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "3", "3.1", "3.2", "4", "4.1", "4.2", "5",
    "5.1", "5.2", "6.0", "6.1", "6.2",
];
const HEVC_PROFILES: &[&str] = &["Main"];
const HEVC_LEVELS: &[&str] = &[
    "1", "2", "2.1", "3", "3.1", "4", "4.1", "5", "5.1", "5.2", "6", "6.1", "6.2",
];
const HEVC_TIERS: &[&str] = &["Main"];
const VPX_PROFILES: &[&str] = &["0"];

/// Controls of H.264.
const H264: &[Info] = &[
    integer(
        V4L2_CID_MPEG_VIDEO_H264_P_FRAME_QP,
        "H264 P-Frame QP Value",
        (0, 50),
        26,
    ),
    integer(
        V4L2_CID_MPEG_VIDEO_H264_MIN_QP,
        "H264 Minimum QP Value",
        (0, 51),
        10,
    ),
    integer(
        V4L2_CID_MPEG_VIDEO_H264_MAX_QP,
        "H264 Maximum QP Value",
        (0, 51),
        51,
    ),
    boolean(
        V4L2_CID_MPEG_VIDEO_H264_8X8_TRANSFORM,
        "H264 8x8 Transform Enable",
        (0, 1),
        1,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_H264_ENTROPY_MODE,
        "H264 Entropy Mode",
        ENTROPY_MODES,
        0b11,
        1,
    ),
    integer(
        V4L2_CID_MPEG_VIDEO_H264_I_PERIOD,
        "H264 I-Frame Period",
        (0, 1 << 20),
        0,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_H264_LEVEL,
        "H264 Level",
        H264_LEVELS,
        up_to(19),
        11,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_H264_LOOP_FILTER_MODE,
        "H264 Loop Filter Mode",
        LOOP_FILTER_MODES,
        0b011,
        0,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_H264_PROFILE,
        "H264 Profile",
        H264_PROFILES,
        0b10111,
        4,
    ),
];

/// Controls of HEVC.
const HEVC: &[Info] = &[
    integer(
        V4L2_CID_MPEG_VIDEO_HEVC_MIN_QP,
        "HEVC Minimum QP Value",
        (0, 51),
        0,
    ),
    integer(
        V4L2_CID_MPEG_VIDEO_HEVC_MAX_QP,
        "HEVC Maximum QP Value",
        (0, 51),
        51,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_HEVC_PROFILE,
        "HEVC Profile",
        HEVC_PROFILES,
        0b1,
        0,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_HEVC_LEVEL,
        "HEVC Level",
        HEVC_LEVELS,
        up_to(12),
        5,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_HEVC_TIER,
        "HEVC Tier",
        HEVC_TIERS,
        0b1,
        0,
    ),
];

const VPX_MIN_QP: Info = integer(
    V4L2_CID_MPEG_VIDEO_VPX_MIN_QP,
    "VPX Minimum QP Value",
    (0, 127),
    8,
);
const VPX_MAX_QP: Info = integer(
    V4L2_CID_MPEG_VIDEO_VPX_MAX_QP,
    "VPX Maximum QP Value",
    (0, 127),
    126,
);

/// Controls of VP8.
const VP8: &[Info] = &[
    menu(
        V4L2_CID_MPEG_VIDEO_VP8_PROFILE,
        "VP8 Profile",
        VPX_PROFILES,
        0b1,
        0,
    ),
    VPX_MIN_QP,
    VPX_MAX_QP,
];

/// Controls of VP9.
const VP9: &[Info] = &[
    menu(
        V4L2_CID_MPEG_VIDEO_VP9_PROFILE,
        "VP9 Profile",
        VPX_PROFILES,
        0b1,
        0,
    ),
    VPX_MIN_QP,
    VPX_MAX_QP,
];

/// x264's "no key frame but the first".
const X264_KEYINT_INFINITE: u32 = 1 << 30;

/// x264enc. Zero latency means that each push gives the frame's access unit before it returns; a
/// fixed number of threads makes the stream the same on every machine.
const X264ENC: &[Property] = &[
    start("tune", |_| text("zerolatency")),
    // 4 dB better than ultrafast at 2 Mbit/s for a fourth of its speed (720p film).
    start("speed-preset", |p| {
        text(p.preset.as_deref().unwrap_or("superfast"))
    }),
    start("threads", |p| number(p.threads)),
    start("bframes", |_| number(0)),
    start("key-int-max", |p| number(p.gop_or(X264_KEYINT_INFINITE))),
    start("cabac", |p| yes_no(h264::cabac(p))),
    start("dct8x8", |p| yes_no(h264::transform_8x8(p))),
    start("qp-min", |p| number(p.min_qp)),
    start("qp-max", |p| number(p.max_qp)),
    start("pass", |p| {
        text(if p.rate_control { "cbr" } else { "quant" })
    }),
    start("quantizer", |p| number(p.quantizer)),
    live("bitrate", |p| number(p.kbits())),
    // In milliseconds. Without a buffer model the bitrate is met on average only; with one no frame
    // is larger than it.
    live("vbv-buf-capacity", |p| {
        number(match (p.constant, p.tight()) {
            (true, _) => p.model_ms(600),
            (false, true) => p.model_ms(10_000),
            (false, false) => 0,
        })
    }),
    // By itself it claims what GStreamer takes for the default of the frames' size.
    start("insert-vui", |_| yes_no(false)),
    start("option-string", |p| Some(x264_options(p))),
];

/// Options of x264 that the element has no property for.
fn x264_options(p: &Params) -> String {
    let mut options = vec![
        // Key frames are where the client wants them: none at cuts.
        "scenecut=0".to_owned(),
        format!("colorprim={}", X264_PRIMARIES.name(p.vui.primaries)),
        format!("transfer={}", X264_TRANSFERS.name(p.vui.transfer)),
        format!("colormatrix={}", X264_MATRICES.name(p.vui.matrix)),
    ];
    if p.vui.full_range {
        options.push("fullrange=on".to_owned());
    }
    // x264 filters all edges or none, slice boundaries included.
    if p.controls.value(V4L2_CID_MPEG_VIDEO_H264_LOOP_FILTER_MODE) == 1 {
        options.push("no-deblock=1".to_owned());
    }
    options.join(":")
}

const X265ENC: &[Property] = &[
    start("tune", |_| text("zerolatency")),
    // A frame of 4096x2304 takes most of a second with the next one.
    start("speed-preset", |p| {
        text(p.preset.as_deref().unwrap_or("ultrafast"))
    }),
    start("key-int-max", |p| p.gop.gt(&0).then(|| p.gop.to_string())),
    start("bitrate", |p| number(p.kbits())),
    start("qp", |p| {
        number(if p.rate_control { -1 } else { p.quantizer })
    }),
    // Its own thread pools would reorder nothing but take all cores for one session. Key frames are
    // where the client wants them, and IDR: none at cuts, and with no group of pictures none but
    // the first.
    start("option-string", |p| {
        let keys = if p.gop == 0 { ":keyint=-1" } else { "" };
        let model = if p.tight() && p.rate_control {
            let (size, rate) = p.frame_model();
            format!(":vbv-bufsize={size}:vbv-maxrate={rate}")
        } else {
            String::new()
        };
        Some(format!(
            "pools={}:frame-threads=1:bframes=0:repeat-headers=1:qpmin={}:qpmax={}\
             :scenecut=0:open-gop=0{keys}{model}:colorprim={}:transfer={}:colormatrix={}:range={}",
            p.threads,
            p.min_qp,
            p.max_qp,
            p.vui.primaries,
            p.vui.transfer,
            p.vui.matrix,
            if p.vui.full_range { "full" } else { "limited" },
        ))
    }),
];

/// vp8enc and vp9enc: realtime, without look-ahead, one packet for each frame.
const VPXENC: &[Property] = &[
    start("deadline", |_| number(1)),
    start("cpu-used", |_| number(8)),
    start("lag-in-frames", |_| number(0)),
    start("error-resilient", |_| text("default")),
    start("auto-alt-ref", |_| text("false")),
    start("threads", |p| number(p.threads)),
    start("keyframe-max-dist", |p| number(p.gop_or(i32::MAX as u32))),
    // Frames must not vanish: each OUTPUT buffer gives one CAPTURE buffer.
    start("dropframe-threshold", |_| number(0)),
    start("end-usage", |p| {
        text(if p.constant { "cbr" } else { "vbr" })
    }),
    start("min-quantizer", |p| number((p.min_qp / 2).clamp(0, 63))),
    start("max-quantizer", |p| number((p.max_qp / 2).clamp(0, 63))),
    live("target-bitrate", |p| number(p.bitrate)),
];

const OPENH264ENC: &[Property] = &[
    start("gop-size", |p| number(p.gop_or(0))),
    start("rate-control", |p| {
        text(if p.rate_control { "bitrate" } else { "off" })
    }),
    start("enable-frame-skip", |_| yes_no(false)),
    start("scene-change-detection", |_| yes_no(false)),
    start("multi-thread", |p| number(p.threads)),
    start("complexity", |_| text("low")),
    start("qp-min", |p| number(p.min_qp)),
    start("qp-max", |p| number(p.max_qp)),
    live("bitrate", |p| number(p.bitrate)),
];

/// The presets of x264 and x265.
const PRESETS: &[&str] = &[
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
];

/// Zeros, which every byte-stream format skips.
const FILLER: &[u8] = &[0; 4];

/// Bounds of VP8 and VP9. Elements for them have no buffer model, so how large a block may get is
/// not asked.
const VPX_BOUNDS: Bounds = Bounds {
    most_qp: 127,
    qp_step: 16,
    macroblock: 640,
};

const BAD: &str = "gstreamer1.0-plugins-bad";
const GOOD: &str = "gstreamer1.0-plugins-good";
const UGLY: &str = "gstreamer1.0-plugins-ugly";

/// All codecs, in the order in which VIDIOC_ENUM_FMT lists them. Software comes first: it works
/// everywhere and the same everywhere; hardware is the operator's choice.
pub static ROWS: &[Row] = &[
    Row {
        name: "h264",
        fourcc: fourcc(b"H264"),
        description: "H.264",
        media: "video/x-h264",
        caps: |p| {
            gst::Caps::builder("video/x-h264")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .field("profile", p.profile)
                .field("level", p.level)
                .build()
        },
        filler: FILLER,
        controls: H264,
        qp: (
            V4L2_CID_MPEG_VIDEO_H264_MIN_QP,
            V4L2_CID_MPEG_VIDEO_H264_MAX_QP,
        ),
        key_period: Some(V4L2_CID_MPEG_VIDEO_H264_I_PERIOD),
        profile: h264::profile,
        level: |controls, needs| level::h264(controls.value(V4L2_CID_MPEG_VIDEO_H264_LEVEL), needs),
        // A macroblock has 3200 bits at most.
        bounds: Bounds {
            most_qp: 51,
            qp_step: 6,
            macroblock: 400,
        },
        colours: Colours::Full,
        footprint: Footprint {
            base: 4 << 20,
            pixel: 18,
            thread: 5 << 19,
        },
        elements: &[
            Element {
                presets: PRESETS,
                ..element("x264enc", UGLY, X264ENC)
            },
            element("vah264enc", BAD, VAENC),
            element("vah264lpenc", BAD, VAENC),
            element("nvh264enc", BAD, NVENC),
            element("qsvh264enc", BAD, QSVENC),
            element("v4l2h264enc", GOOD, V4L2ENC),
            element("openh264enc", BAD, OPENH264ENC),
        ],
    },
    Row {
        name: "hevc",
        fourcc: fourcc(b"HEVC"),
        description: "HEVC",
        media: "video/x-h265",
        caps: |p| {
            gst::Caps::builder("video/x-h265")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .field("profile", p.profile)
                .build()
        },
        filler: FILLER,
        controls: HEVC,
        qp: (
            V4L2_CID_MPEG_VIDEO_HEVC_MIN_QP,
            V4L2_CID_MPEG_VIDEO_HEVC_MAX_QP,
        ),
        key_period: None,
        profile: |_| "main",
        level: |_, _| "",
        // A block has five thirds of what is in it at most.
        bounds: Bounds {
            most_qp: 51,
            qp_step: 6,
            macroblock: 640,
        },
        colours: Colours::Full,
        footprint: Footprint {
            base: 22 << 20,
            pixel: 36,
            thread: 1 << 20,
        },
        elements: &[
            Element {
                presets: PRESETS,
                ..element("x265enc", BAD, X265ENC)
            },
            element("vah265enc", BAD, VAENC),
            element("vah265lpenc", BAD, VAENC),
            element("nvh265enc", BAD, NVENC),
            element("qsvh265enc", BAD, QSVENC),
            element("v4l2h265enc", GOOD, V4L2ENC),
        ],
    },
    Row {
        name: "vp8",
        fourcc: fourcc(b"VP80"),
        description: "VP8",
        media: "video/x-vp8",
        caps: |_| gst::Caps::builder("video/x-vp8").build(),
        filler: FILLER,
        controls: VP8,
        qp: (
            V4L2_CID_MPEG_VIDEO_VPX_MIN_QP,
            V4L2_CID_MPEG_VIDEO_VPX_MAX_QP,
        ),
        key_period: None,
        profile: |_| "",
        level: |_, _| "",
        bounds: VPX_BOUNDS,
        colours: Colours::Nothing,
        footprint: Footprint {
            base: 8 << 20,
            pixel: 35,
            thread: 1 << 19,
        },
        elements: &[
            element("vp8enc", GOOD, VPXENC),
            element("v4l2vp8enc", GOOD, V4L2ENC),
        ],
    },
    Row {
        name: "vp9",
        fourcc: fourcc(b"VP90"),
        description: "VP9",
        media: "video/x-vp9",
        caps: |_| gst::Caps::builder("video/x-vp9").build(),
        filler: FILLER,
        controls: VP9,
        qp: (
            V4L2_CID_MPEG_VIDEO_VPX_MIN_QP,
            V4L2_CID_MPEG_VIDEO_VPX_MAX_QP,
        ),
        key_period: None,
        profile: |_| "",
        level: |_, _| "",
        bounds: VPX_BOUNDS,
        colours: Colours::Matrix,
        footprint: Footprint {
            base: 9 << 20,
            pixel: 74,
            thread: 13 << 19,
        },
        elements: &[
            element("vp9enc", GOOD, VPXENC),
            element("vavp9enc", BAD, VAENC),
            element("v4l2vp9enc", GOOD, V4L2ENC),
        ],
    },
];
