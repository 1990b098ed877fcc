// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder's controls. Names and menu items are the kernel's: clients find controls by them.

use super::catalogue::Row;
use crate::v4l2::core::controls::{Controls, Info, Kind, boolean, class, integer, menu};
use crate::v4l2::core::uapi::*;

/// The controls of a session on a host that has these codecs, at their defaults.
pub fn controls(codecs: &[&'static Row]) -> Controls {
    let mut all: Vec<&'static Info> = COMMON.iter().collect();
    for info in codecs.iter().flat_map(|row| row.controls) {
        // Codecs may share controls.
        if all.iter().all(|other| other.id != info.id) {
            all.push(info);
        }
    }
    Controls::new(all.into_iter())
}

const BITRATE_MODES: &[&str] = &["Variable Bitrate", "Constant Bitrate"];
const HEADER_MODES: &[&str] = &["Separate Buffer", "Joined With 1st Frame"];

/// Value of the read-only control MIN_BUFFERS_FOR_OUTPUT: one is encoded while the client fills the
/// other.
pub const MIN_BUFFERS_FOR_OUTPUT: i32 = 2;
/// Greatest bitrate, in bits per second: that of x264enc's property is 2048 Mbit/s, which is over
/// `i32`.
const MAX_BITRATE: i32 = 2_000_000_000;

/// Controls of every codec; IDs decide about their order.
const COMMON: &[Info] = &[
    class(V4L2_CID_USER_CLASS, "User Controls"),
    Info {
        flags: V4L2_CTRL_FLAG_READ_ONLY,
        ..integer(
            V4L2_CID_MIN_BUFFERS_FOR_OUTPUT,
            "Min Number of Output Buffers",
            (1, 32),
            MIN_BUFFERS_FOR_OUTPUT,
        )
    },
    class(V4L2_CID_CODEC_CLASS, "Codec Controls"),
    // A frame is coded from earlier ones only: nothing is reordered.
    integer(V4L2_CID_MPEG_VIDEO_B_FRAMES, "Video B Frames", (0, 0), 0),
    // 0: no key frame but the first and those that are forced.
    integer(
        V4L2_CID_MPEG_VIDEO_GOP_SIZE,
        "Video GOP Size",
        (0, 1 << 20),
        60,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_BITRATE_MODE,
        "Video Bitrate Mode",
        BITRATE_MODES,
        0b11,
        1,
    ),
    integer(
        V4L2_CID_MPEG_VIDEO_BITRATE,
        "Video Bitrate",
        (1000, MAX_BITRATE),
        4_000_000,
    ),
    // Encoders have no peak apart from the bitrate: it is always "unlimited".
    integer(
        V4L2_CID_MPEG_VIDEO_BITRATE_PEAK,
        "Video Peak Bitrate",
        (MAX_BITRATE, MAX_BITRATE),
        MAX_BITRATE,
    ),
    boolean(
        V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE,
        "Frame Level Rate Control Enable",
        (0, 1),
        1,
    ),
    // Accepted; encoders decide that themselves.
    boolean(
        V4L2_CID_MPEG_VIDEO_MB_RC_ENABLE,
        "H264 MB Level Rate Control",
        (0, 1),
        1,
    ),
    menu(
        V4L2_CID_MPEG_VIDEO_HEADER_MODE,
        "Sequence Header Mode",
        HEADER_MODES,
        0b10,
        1,
    ),
    boolean(
        V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER,
        "Repeat Sequence Header",
        (1, 1),
        1,
    ),
    Info {
        kind: Kind::Button,
        step: 0,
        flags: V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_EXECUTE_ON_WRITE,
        ..integer(
            V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME,
            "Force Key Frame",
            (0, 0),
            0,
        )
    },
    boolean(
        V4L2_CID_MPEG_VIDEO_PREPEND_SPSPPS_TO_IDR,
        "Prepend SPS and PPS to IDR",
        (1, 1),
        1,
    ),
];

#[cfg(test)]
mod tests;
