// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Properties of elements that drive hardware. Each plugin has the same for several codecs.

use super::h264;
use super::row::{Property, live, number, start, text, yes_no};

/// The va plugin, H.264 and H.265.
pub(super) const VAENC: &[Property] = &[
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
    start("cabac", |p| yes_no(h264::cabac(p))),
    start("dct8x8", |p| yes_no(h264::transform_8x8(p))),
    start("min-qp", |p| number(p.min_qp.max(1))),
    start("max-qp", |p| number(p.max_qp.max(1))),
    start("qpp", |p| number(p.quantizer)),
    live("bitrate", |p| number(p.kbits())),
];

/// The nvcodec plugin, H.264 and H.265.
pub(super) const NVENC: &[Property] = &[
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
pub(super) const QSVENC: &[Property] = &[
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
pub(super) const V4L2ENC: &[Property] = &[start("extra-controls", |p| {
    Some(format!(
        "controls,video_bitrate={},video_bitrate_mode={},video_gop_size={},video_b_frames=0,\
         repeat_sequence_header=1",
        p.bitrate,
        u32::from(p.constant),
        p.gop
    ))
})];
