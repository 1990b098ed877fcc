// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The rows of the table.

use gstreamer as gst;

use super::{Codec, Element, Footprint, Property, Row, When};
use crate::device::encoder::params::{LoopFilter, Params};
use crate::v4l2::core::uapi::fourcc;

/// A property set before the element runs.
const fn start(name: &'static str, value: fn(&Params) -> Option<String>) -> Property {
    Property {
        name,
        when: When::Start,
        value,
    }
}

/// A property that may be set at any time.
const fn live(name: &'static str, value: fn(&Params) -> Option<String>) -> Property {
    Property {
        name,
        when: When::Live,
        value,
    }
}

fn yes_no(value: bool) -> Option<String> {
    Some(value.to_string())
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn number<T: ToString>(value: T) -> Option<String> {
    Some(value.to_string())
}

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
    start("cabac", |p| yes_no(p.cabac)),
    start("dct8x8", |p| yes_no(p.transform_8x8)),
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
    if p.loop_filter == LoopFilter::Disabled {
        options.push("no-deblock=1".to_owned());
    }
    options.join(":")
}

/// What x264 calls code points of ITU-T H.273.
struct Names(&'static [(u8, &'static str)]);

impl Names {
    fn name(&self, code: u8) -> &'static str {
        let Self(names) = self;
        let found = names.iter().find(|(known, _)| *known == code);
        found.map_or("undef", |(_, name)| name)
    }
}

const X264_PRIMARIES: Names = Names(&[
    (1, "bt709"),
    (4, "bt470m"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (9, "bt2020"),
    (11, "smpte431"),
]);
const X264_TRANSFERS: Names = Names(&[
    (1, "bt709"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (8, "linear"),
    (13, "iec61966-2-1"),
    (14, "bt2020-10"),
    (16, "smpte2084"),
    (17, "smpte428"),
]);
const X264_MATRICES: Names = Names(&[
    (1, "bt709"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (9, "bt2020nc"),
    (10, "bt2020c"),
]);

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

/// The va plugin, H.264 and H.265.
const VAENC: &[Property] = &[
    start("rate-control", |p| {
        text(match (p.rate_control, p.constant) {
            (false, _) => "cqp",
            (true, true) => "cbr",
            (true, false) => "vbr",
        })
    }),
    start("key-int-max", |p| number(p.gop_or(1024).min(1024))),
    start("b-frames", |_| number(0)),
    start("aud", |_| yes_no(true)),
    start("cabac", |p| yes_no(p.cabac)),
    start("dct8x8", |p| yes_no(p.transform_8x8)),
    start("min-qp", |p| number(p.min_qp.max(1))),
    start("max-qp", |p| number(p.max_qp.max(1))),
    start("qpp", |p| number(p.quantizer)),
    live("bitrate", |p| number(p.kbits())),
];

/// The nvcodec plugin, H.264 and H.265.
const NVENC: &[Property] = &[
    start("preset", |_| text("low-latency-hq")),
    start("zerolatency", |_| yes_no(true)),
    start("rc-mode", |p| {
        text(match (p.rate_control, p.constant) {
            (false, _) => "constqp",
            (true, true) => "cbr",
            (true, false) => "vbr",
        })
    }),
    start("gop-size", |p| {
        number(if p.gop == 0 { -1 } else { p.gop.cast_signed() })
    }),
    start("bframes", |_| number(0)),
    start("aud", |_| yes_no(true)),
    start("qp-min", |p| number(p.min_qp)),
    start("qp-max", |p| number(p.max_qp)),
    live("bitrate", |p| number(p.kbits())),
];

/// The qsv plugin, H.264 and H.265.
const QSVENC: &[Property] = &[
    start("low-latency", |_| yes_no(true)),
    start("rate-control", |p| {
        text(match (p.rate_control, p.constant) {
            (false, _) => "cqp",
            (true, true) => "cbr",
            (true, false) => "vbr",
        })
    }),
    start("gop-size", |p| number(p.gop_or(i32::MAX as u32))),
    start("b-frames", |_| number(0)),
    live("bitrate", |p| number(p.kbits())),
];

/// The v4l2 plugin: properties of the host's own encoder go by control names.
const V4L2ENC: &[Property] = &[start("extra-controls", |p| {
    Some(format!(
        "controls,video_bitrate={},video_bitrate_mode={},video_gop_size={},video_b_frames=0,repeat_sequence_header=1",
        p.bitrate,
        u32::from(p.constant),
        p.gop
    ))
})];

const fn element(
    factory: &'static str,
    package: &'static str,
    properties: &'static [Property],
) -> Element {
    Element {
        factory,
        package,
        properties,
    }
}

const BAD: &str = "gstreamer1.0-plugins-bad";
const GOOD: &str = "gstreamer1.0-plugins-good";
const UGLY: &str = "gstreamer1.0-plugins-ugly";

/// All codecs, in the order in which VIDIOC_ENUM_FMT lists them. Software comes first: it works
/// everywhere and the same everywhere; hardware is the operator's choice.
pub const ROWS: &[Row; 4] = &[
    Row {
        codec: Codec::H264,
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
        footprint: Footprint {
            base: 4 << 20,
            pixel: 18,
            thread: 5 << 19,
        },
        elements: &[
            element("x264enc", UGLY, X264ENC),
            element("vah264enc", BAD, VAENC),
            element("vah264lpenc", BAD, VAENC),
            element("nvh264enc", BAD, NVENC),
            element("qsvh264enc", BAD, QSVENC),
            element("v4l2h264enc", GOOD, V4L2ENC),
            element("openh264enc", BAD, OPENH264ENC),
        ],
    },
    Row {
        codec: Codec::Hevc,
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
        footprint: Footprint {
            base: 22 << 20,
            pixel: 36,
            thread: 1 << 20,
        },
        elements: &[
            element("x265enc", BAD, X265ENC),
            element("vah265enc", BAD, VAENC),
            element("vah265lpenc", BAD, VAENC),
            element("nvh265enc", BAD, NVENC),
            element("qsvh265enc", BAD, QSVENC),
            element("v4l2h265enc", GOOD, V4L2ENC),
        ],
    },
    Row {
        codec: Codec::Vp8,
        name: "vp8",
        fourcc: fourcc(b"VP80"),
        description: "VP8",
        media: "video/x-vp8",
        caps: |_| gst::Caps::builder("video/x-vp8").build(),
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
        codec: Codec::Vp9,
        name: "vp9",
        fourcc: fourcc(b"VP90"),
        description: "VP9",
        media: "video/x-vp9",
        caps: |_| gst::Caps::builder("video/x-vp9").build(),
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
