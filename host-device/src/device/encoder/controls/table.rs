// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The table of controls. Names and menu items are the kernel's: clients find controls by them.

use nix::errno::Errno;

use crate::device::encoder::catalogue::Codec;
use crate::device::encoder::uapi::*;

/// Type of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Integer,
    /// 0 or 1.
    Boolean,
    /// An item of a list.
    Menu,
    /// An action.
    Button,
    /// Heading of a class; no control.
    Class,
}

impl Kind {
    /// `enum v4l2_ctrl_type`.
    pub const fn number(self) -> u32 {
        match self {
            Self::Integer => 1,
            Self::Boolean => 2,
            Self::Menu => 3,
            Self::Button => 4,
            Self::Class => 6,
        }
    }
}

/// A control.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// `V4L2_CID_*`.
    pub id: u32,
    /// What the kernel calls it.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Least value.
    pub min: i32,
    /// Greatest value.
    pub max: i32,
    /// Distance of values.
    pub step: u32,
    /// Value of a new session.
    pub default: i32,
    /// `V4L2_CTRL_FLAG_*`.
    pub flags: u32,
    /// Items of a menu.
    pub items: &'static [&'static str],
    /// Items that are there: a bit for each.
    pub mask: u32,
    /// The codec that it belongs to; it is there only if the host has that.
    pub codec: Option<Codec>,
}

impl Info {
    /// Name of item `index` of a menu, if it is there.
    pub fn item(&self, index: i32) -> Option<&'static str> {
        if self.kind != Kind::Menu || !(self.min..=self.max).contains(&index) {
            return None;
        }
        let at = u32::try_from(index).ok()?;
        if self.mask.checked_shr(at)? & 1 == 0 {
            return None;
        }
        self.items.get(at as usize).copied()
    }

    /// The value that setting `value` stores: numbers are clamped.
    ///
    /// # Errors
    ///
    /// `ERANGE` outside of a menu, `EINVAL` for an item that is not there.
    pub fn validate(&self, value: i32) -> Result<i32, Errno> {
        match self.kind {
            Kind::Integer => {
                let step = i64::from(self.step.max(1));
                let min = i64::from(self.min);
                let clamped = i64::from(value).clamp(min, self.max.into());
                let rounded = min + (clamped - min + step / 2) / step * step;
                let fits = rounded.min(self.max.into());
                Ok(i32::try_from(fits).unwrap_or(self.max))
            }
            Kind::Boolean => Ok(i32::from(value != 0).clamp(self.min, self.max)),
            Kind::Menu if !(self.min..=self.max).contains(&value) => Err(Errno::ERANGE),
            Kind::Menu => self.item(value).map(|_| value).ok_or(Errno::EINVAL),
            Kind::Button | Kind::Class => Ok(0),
        }
    }
}

const fn class(id: u32, name: &'static str) -> Info {
    Info {
        id,
        name,
        kind: Kind::Class,
        min: 0,
        max: 0,
        step: 0,
        default: 0,
        flags: V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY,
        items: &[],
        mask: 0,
        codec: None,
    }
}

const fn integer(id: u32, name: &'static str, (min, max): (i32, i32), default: i32) -> Info {
    Info {
        kind: Kind::Integer,
        min,
        max,
        step: 1,
        default,
        flags: 0,
        ..class(id, name)
    }
}

const fn boolean(id: u32, name: &'static str, (min, max): (i32, i32), default: i32) -> Info {
    Info {
        kind: Kind::Boolean,
        ..integer(id, name, (min, max), default)
    }
}

/// A menu as the kernel makes standard menus: from 0, with a mask of the items that are there.
const fn menu(
    id: u32,
    name: &'static str,
    items: &'static [&'static str],
    mask: u32,
    default: i32,
) -> Info {
    let last = 31 - mask.leading_zeros();
    Info {
        kind: Kind::Menu,
        items,
        mask,
        ..integer(id, name, (0, last as i32), default)
    }
}

const fn of(codec: Codec, info: Info) -> Info {
    Info {
        codec: Some(codec),
        ..info
    }
}

/// All bits up to and including `last`.
const fn up_to(last: u32) -> u32 {
    u32::MAX >> (31 - last)
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

/// Value of the read-only control MIN_BUFFERS_FOR_OUTPUT: one is encoded while the client fills the other.
pub const MIN_BUFFERS_FOR_OUTPUT: i32 = 2;
/// Greatest bitrate, in bits per second: that of x264enc's property is 2048 Mbit/s, which is over `i32`.
const MAX_BITRATE: i32 = 2_000_000_000;

/// Controls of all codecs; IDs decide about their order.
pub const TABLE: &[Info] = &[
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
