// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder's controls. Names and menu items are the kernel's: clients find controls by them.

use super::catalogue::Codec;
use crate::v4l2::core::controls::{Controls, Info, Kind, boolean, class, integer, menu, up_to};
use crate::v4l2::core::uapi::*;

/// A control of the encoder.
struct Row {
    info: Info,
    /// The codec that the control belongs to. The control exists only if the host has that codec.
    codec: Option<Codec>,
}

const fn any(info: Info) -> Row {
    Row { info, codec: None }
}

const fn of(codec: Codec, info: Info) -> Row {
    Row {
        info,
        codec: Some(codec),
    }
}

/// The controls of a session on a host that has these `codecs`, at their defaults.
pub fn controls(codecs: &[Codec]) -> Controls {
    let exists = |row: &&Row| row.codec.is_none_or(|codec| codecs.contains(&codec));
    Controls::new(TABLE.iter().filter(exists).map(|row| &row.info))
}

const BITRATE_MODES: &[&str] = &["Variable Bitrate", "Constant Bitrate"];
const HEADER_MODES: &[&str] = &["Separate Buffer", "Joined With 1st Frame"];
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

/// Value of the read-only control MIN_BUFFERS_FOR_OUTPUT: one is encoded while the client fills the
/// other.
pub const MIN_BUFFERS_FOR_OUTPUT: i32 = 2;
/// Greatest bitrate, in bits per second: that of x264enc's property is 2048 Mbit/s, which is over
/// `i32`.
const MAX_BITRATE: i32 = 2_000_000_000;

/// Controls of all codecs; IDs decide about their order.
const TABLE: &[Row] = &[
    any(class(V4L2_CID_USER_CLASS, "User Controls")),
    any(Info {
        flags: V4L2_CTRL_FLAG_READ_ONLY,
        ..integer(
            V4L2_CID_MIN_BUFFERS_FOR_OUTPUT,
            "Min Number of Output Buffers",
            (1, 32),
            MIN_BUFFERS_FOR_OUTPUT,
        )
    }),
    any(class(V4L2_CID_CODEC_CLASS, "Codec Controls")),
    // A frame is coded from earlier ones only: nothing is reordered.
    any(integer(
        V4L2_CID_MPEG_VIDEO_B_FRAMES,
        "Video B Frames",
        (0, 0),
        0,
    )),
    // 0: no key frame but the first and those that are forced.
    any(integer(
        V4L2_CID_MPEG_VIDEO_GOP_SIZE,
        "Video GOP Size",
        (0, 1 << 20),
        60,
    )),
    any(menu(
        V4L2_CID_MPEG_VIDEO_BITRATE_MODE,
        "Video Bitrate Mode",
        BITRATE_MODES,
        0b11,
        1,
    )),
    any(integer(
        V4L2_CID_MPEG_VIDEO_BITRATE,
        "Video Bitrate",
        (1000, MAX_BITRATE),
        4_000_000,
    )),
    // Encoders have no peak apart from the bitrate: it is always "unlimited".
    any(integer(
        V4L2_CID_MPEG_VIDEO_BITRATE_PEAK,
        "Video Peak Bitrate",
        (MAX_BITRATE, MAX_BITRATE),
        MAX_BITRATE,
    )),
    any(boolean(
        V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE,
        "Frame Level Rate Control Enable",
        (0, 1),
        1,
    )),
    // Accepted; encoders decide that themselves.
    any(boolean(
        V4L2_CID_MPEG_VIDEO_MB_RC_ENABLE,
        "H264 MB Level Rate Control",
        (0, 1),
        1,
    )),
    any(menu(
        V4L2_CID_MPEG_VIDEO_HEADER_MODE,
        "Sequence Header Mode",
        HEADER_MODES,
        0b10,
        1,
    )),
    any(boolean(
        V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER,
        "Repeat Sequence Header",
        (1, 1),
        1,
    )),
    any(Info {
        kind: Kind::Button,
        step: 0,
        flags: V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_EXECUTE_ON_WRITE,
        ..integer(
            V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME,
            "Force Key Frame",
            (0, 0),
            0,
        )
    }),
    any(boolean(
        V4L2_CID_MPEG_VIDEO_PREPEND_SPSPPS_TO_IDR,
        "Prepend SPS and PPS to IDR",
        (1, 1),
        1,
    )),
    of(
        Codec::H264,
        integer(
            V4L2_CID_MPEG_VIDEO_H264_P_FRAME_QP,
            "H264 P-Frame QP Value",
            (0, 50),
            26,
        ),
    ),
    of(
        Codec::H264,
        integer(
            V4L2_CID_MPEG_VIDEO_H264_MIN_QP,
            "H264 Minimum QP Value",
            (0, 51),
            10,
        ),
    ),
    of(
        Codec::H264,
        integer(
            V4L2_CID_MPEG_VIDEO_H264_MAX_QP,
            "H264 Maximum QP Value",
            (0, 51),
            51,
        ),
    ),
    of(
        Codec::H264,
        boolean(
            V4L2_CID_MPEG_VIDEO_H264_8X8_TRANSFORM,
            "H264 8x8 Transform Enable",
            (0, 1),
            1,
        ),
    ),
    of(
        Codec::H264,
        menu(
            V4L2_CID_MPEG_VIDEO_H264_ENTROPY_MODE,
            "H264 Entropy Mode",
            ENTROPY_MODES,
            0b11,
            1,
        ),
    ),
    of(
        Codec::H264,
        integer(
            V4L2_CID_MPEG_VIDEO_H264_I_PERIOD,
            "H264 I-Frame Period",
            (0, 1 << 20),
            0,
        ),
    ),
    of(
        Codec::H264,
        menu(
            V4L2_CID_MPEG_VIDEO_H264_LEVEL,
            "H264 Level",
            H264_LEVELS,
            up_to(19),
            11,
        ),
    ),
    of(
        Codec::H264,
        menu(
            V4L2_CID_MPEG_VIDEO_H264_LOOP_FILTER_MODE,
            "H264 Loop Filter Mode",
            LOOP_FILTER_MODES,
            0b011,
            0,
        ),
    ),
    of(
        Codec::H264,
        menu(
            V4L2_CID_MPEG_VIDEO_H264_PROFILE,
            "H264 Profile",
            H264_PROFILES,
            0b10111,
            4,
        ),
    ),
    of(
        Codec::Vp8,
        menu(
            V4L2_CID_MPEG_VIDEO_VP8_PROFILE,
            "VP8 Profile",
            VPX_PROFILES,
            0b1,
            0,
        ),
    ),
    of(
        Codec::Vp9,
        menu(
            V4L2_CID_MPEG_VIDEO_VP9_PROFILE,
            "VP9 Profile",
            VPX_PROFILES,
            0b1,
            0,
        ),
    ),
    of(
        Codec::Vp8,
        integer(
            V4L2_CID_MPEG_VIDEO_VPX_MIN_QP,
            "VPX Minimum QP Value",
            (0, 127),
            8,
        ),
    ),
    of(
        Codec::Vp8,
        integer(
            V4L2_CID_MPEG_VIDEO_VPX_MAX_QP,
            "VPX Maximum QP Value",
            (0, 127),
            126,
        ),
    ),
    of(
        Codec::Hevc,
        integer(
            V4L2_CID_MPEG_VIDEO_HEVC_MIN_QP,
            "HEVC Minimum QP Value",
            (0, 51),
            0,
        ),
    ),
    of(
        Codec::Hevc,
        integer(
            V4L2_CID_MPEG_VIDEO_HEVC_MAX_QP,
            "HEVC Maximum QP Value",
            (0, 51),
            51,
        ),
    ),
    of(
        Codec::Hevc,
        menu(
            V4L2_CID_MPEG_VIDEO_HEVC_PROFILE,
            "HEVC Profile",
            HEVC_PROFILES,
            0b1,
            0,
        ),
    ),
    of(
        Codec::Hevc,
        menu(
            V4L2_CID_MPEG_VIDEO_HEVC_LEVEL,
            "HEVC Level",
            HEVC_LEVELS,
            up_to(12),
            5,
        ),
    ),
    of(
        Codec::Hevc,
        menu(
            V4L2_CID_MPEG_VIDEO_HEVC_TIER,
            "HEVC Tier",
            HEVC_TIERS,
            0b1,
            0,
        ),
    ),
];

#[cfg(test)]
mod tests;
