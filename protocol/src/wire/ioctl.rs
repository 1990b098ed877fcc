// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Every V4L2 ioctl: number, direction, payload size and what follows the payload.
//!
//! [`TABLE`] is the one place that knows; driver and device both go by it. Numbers, directions and
//! sizes are those of the `VIDIOC_*` macros of `linux/videodev2.h` on a 64-bit machine. It also
//! names the [fields](Ioctl::fields) that the device may write.

use super::field::{Field, Rule};
use super::v4l2::{
    is_multiplanar, Buffer, Edid, ExtControl, ExtControls, Plane, EDID_BLOCK, MAX_CONTROLS,
    MAX_EDID_BLOCKS, VIDEO_MAX_PLANES,
};
use core::mem::offset_of;

/// Direction of a payload, named as in the `_IO*` macros: from the driver's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `_IO`: no payload.
    None,
    /// `_IOR`: the device writes it.
    Read,
    /// `_IOW`: the driver writes it.
    Write,
    /// `_IOWR`: the driver writes it, the device updates it.
    ReadWrite,
}

impl Direction {
    /// Whether a payload stands in the device-readable part.
    pub const fn to_device(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }

    /// Whether a payload stands in the device-writable part.
    pub const fn to_driver(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }
}

/// What follows a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Nothing.
    Nothing,
    /// `struct v4l2_buffer`: for multi-planar types an array of `struct v4l2_plane`, then, by
    /// memory type, SG lists or UUIDs, one for each plane.
    Planes,
    /// `struct v4l2_ext_controls`: an array of `struct v4l2_ext_control`, then an SG list for each
    /// control with a non-zero `size`.
    Controls,
    /// `struct v4l2_edid`: blocks of 128 bytes.
    Edid,
    /// `struct v4l2_exportbuffer`: a UUID in place of the file descriptor.
    Uuid,
}

/// One V4L2 ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ioctl {
    /// Number: the second argument of the `_IO*` macro.
    pub code: u32,
    /// Name of the macro, `VIDIOC_*`.
    pub name: &'static str,
    /// Direction of payload and array.
    pub direction: Direction,
    /// Size of the payload in bytes.
    pub size: usize,
    /// What follows the payload.
    pub attached: Attached,
    /// Whether it travels. The specification replaces a few by other means, the device answers them
    /// with `ENOTTY`.
    pub forwarded: bool,
    /// What of the payload the device may write, in order. The rest of it is the caller's. Formats
    /// and arrays have [fields of their own](super::answer).
    pub fields: &'static [Field],
}

/// Why the array behind a payload has no valid size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedError {
    /// The payload is shorter than its structure.
    Short,
    /// The count is over the limit of V4L2 (planes, controls, EDID blocks).
    TooMany,
}

impl Ioctl {
    /// Whether V4L2 gives the payload back on failure, too: for `error_idx` of extended controls,
    /// `blocks` of an EDID, and the timings that were seen.
    pub const fn answers_failure(&self) -> bool {
        matches!(self.attached, Attached::Controls | Attached::Edid)
            || self.code == QUERY_DV_TIMINGS
    }

    /// Where in `payload` the 8 bytes of the pointer to the array stand. It means nothing to the
    /// other side.
    pub fn pointer(&self, payload: &[u8]) -> Option<usize> {
        match self.attached {
            Attached::Planes => read::<Buffer>(payload)
                .is_ok_and(|buffer| is_multiplanar(buffer.type_))
                .then_some(offset_of!(Buffer, m)),
            Attached::Controls => Some(offset_of!(ExtControls, controls)),
            Attached::Edid => Some(offset_of!(Edid, edid)),
            Attached::Nothing | Attached::Uuid => None,
        }
    }

    /// Size in bytes of the array that follows `payload` in both parts of the chain. UUIDs and SG
    /// lists, which follow the array, are not counted.
    ///
    /// # Errors
    ///
    /// The payload is too short, or its count is over the limit.
    pub fn array_size(&self, payload: &[u8]) -> Result<usize, AttachedError> {
        let (count, limit, each) = match self.attached {
            Attached::Nothing | Attached::Uuid => (0, 0, 0),
            Attached::Planes => {
                let buffer = read::<Buffer>(payload)?;
                if !is_multiplanar(buffer.type_) {
                    return Ok(0);
                }
                (buffer.length, VIDEO_MAX_PLANES, size_of::<Plane>())
            }
            Attached::Controls => {
                let controls = read::<ExtControls>(payload)?;
                (controls.count, MAX_CONTROLS, size_of::<ExtControl>())
            }
            Attached::Edid => (read::<Edid>(payload)?.blocks, MAX_EDID_BLOCKS, EDID_BLOCK),
        };
        let count = count as usize;
        if count > limit {
            return Err(AttachedError::TooMany);
        }
        Ok(count * each)
    }
}

fn read<T: zerocopy::FromBytes>(payload: &[u8]) -> Result<T, AttachedError> {
    match T::read_from_prefix(payload) {
        Ok((value, _)) => Ok(value),
        Err(_) => Err(AttachedError::Short),
    }
}

/// The ioctl with number `code`, forwarded or not.
pub fn lookup(code: u32) -> Option<&'static Ioctl> {
    TABLE.iter().find(|ioctl| ioctl.code == code)
}

macro_rules! table {
    ($(
        $name:ident = $code:literal $direction:ident $size:literal $attached:ident $forwarded:literal
            [$($rule:ident $(($most:literal))? $start:literal .. $end:literal),*],
    )*) => {
        $(
            #[doc = concat!("Number of `VIDIOC_", stringify!($name), "`.")]
            pub const $name: u32 = $code;
        )*

        /// All V4L2 ioctls, in the order of their numbers.
        pub const TABLE: &[Ioctl] = &[$(Ioctl {
            code: $code,
            name: concat!("VIDIOC_", stringify!($name)),
            direction: Direction::$direction,
            size: $size,
            attached: Attached::$attached,
            forwarded: $forwarded,
            fields: &[$(Field::new($start..$end, Rule::$rule $(($most))?),)*],
        },)*];
    };
}

// Not forwarded: QUERYCAP is the configuration space, DQBUF and DQEVENT are events, G/S_JPEGCOMP
// are controls, LOG_STATUS is the driver's own (VIRTIO 1.4, "Unsupported ioctls").
//
// In brackets: bytes that the device may write. QBUF and PREPARE_BUF have none, as the driver knows
// the rest.
table! {
    QUERYCAP = 0 Read 104 Nothing false [],
    ENUM_FMT = 2 ReadWrite 64 Nothing true [Value 8..12, Text 12..44, Value 44..48],
    G_FMT = 4 ReadWrite 208 Nothing true [],
    S_FMT = 5 ReadWrite 208 Nothing true [],
    REQBUFS = 8 ReadWrite 20 Nothing true [Value 0..4, Value 12..16, Fewer 16..17],
    QUERYBUF = 9 ReadWrite 88 Planes true [Value 8..20, Value 24..60, Value 64..76],
    G_FBUF = 10 Read 48 Nothing true [Value 0..8, Value 16..44],
    S_FBUF = 11 Write 48 Nothing true [],
    OVERLAY = 14 Write 4 Nothing true [],
    QBUF = 15 ReadWrite 88 Planes true [],
    EXPBUF = 16 ReadWrite 64 Uuid true [],
    DQBUF = 17 ReadWrite 88 Planes false [],
    STREAMON = 18 Write 4 Nothing true [],
    STREAMOFF = 19 Write 4 Nothing true [],
    G_PARM = 21 ReadWrite 204 Nothing true [Value 4..28, Zero 28..204],
    S_PARM = 22 ReadWrite 204 Nothing true [Value 4..28, Zero 28..44],
    G_STD = 23 Read 8 Nothing true [Value 0..8],
    S_STD = 24 Write 8 Nothing true [],
    ENUMSTD = 25 ReadWrite 72 Nothing true [Value 8..16, Text 16..40, Value 40..52, Zero 52..68],
    ENUMINPUT = 26 ReadWrite 80 Nothing true [Text 4..36, Value 36..64],
    G_CTRL = 27 ReadWrite 8 Nothing true [Value 4..8],
    S_CTRL = 28 ReadWrite 8 Nothing true [Value 4..8],
    G_TUNER = 29 ReadWrite 84 Nothing true [Text 4..36, Value 36..68],
    S_TUNER = 30 Write 84 Nothing true [],
    G_AUDIO = 33 Read 52 Nothing true [Value 0..4, Text 4..36, Value 36..44],
    S_AUDIO = 34 Write 52 Nothing true [],
    QUERYCTRL = 36 ReadWrite 68 Nothing true [Next 0..4, Value 4..8, Text 8..40, Value 40..60],
    QUERYMENU = 37 ReadWrite 44 Nothing true [Text 8..40],
    G_INPUT = 38 Read 4 Nothing true [Value 0..4],
    S_INPUT = 39 ReadWrite 4 Nothing true [],
    G_EDID = 40 ReadWrite 40 Edid true [Value 8..12, Zero 12..32],
    S_EDID = 41 ReadWrite 40 Edid true [Value 8..12, Zero 12..32],
    G_OUTPUT = 46 Read 4 Nothing true [Value 0..4],
    S_OUTPUT = 47 ReadWrite 4 Nothing true [],
    ENUMOUTPUT = 48 ReadWrite 72 Nothing true [Text 4..36, Value 36..60],
    G_AUDOUT = 49 Read 52 Nothing true [Value 0..4, Text 4..36, Value 36..44],
    S_AUDOUT = 50 Write 52 Nothing true [],
    G_MODULATOR = 54 ReadWrite 68 Nothing true [Text 4..36, Value 36..56],
    S_MODULATOR = 55 Write 68 Nothing true [],
    G_FREQUENCY = 56 ReadWrite 44 Nothing true [Value 4..12],
    S_FREQUENCY = 57 Write 44 Nothing true [],
    CROPCAP = 58 ReadWrite 44 Nothing true [Value 4..44],
    G_CROP = 59 ReadWrite 20 Nothing true [Value 4..20],
    S_CROP = 60 Write 20 Nothing true [],
    G_JPEGCOMP = 61 Read 140 Nothing false [],
    S_JPEGCOMP = 62 Write 140 Nothing false [],
    QUERYSTD = 63 Read 8 Nothing true [Value 0..8],
    TRY_FMT = 64 ReadWrite 208 Nothing true [],
    ENUMAUDIO = 65 ReadWrite 52 Nothing true [Text 4..36, Value 36..44],
    ENUMAUDOUT = 66 ReadWrite 52 Nothing true [Text 4..36, Value 36..44],
    G_PRIORITY = 67 Read 4 Nothing true [Value 0..4],
    S_PRIORITY = 68 Write 4 Nothing true [],
    G_SLICED_VBI_CAP = 69 ReadWrite 116 Nothing true [Value 0..98],
    LOG_STATUS = 70 None 0 Nothing false [],
    G_EXT_CTRLS = 71 ReadWrite 32 Controls true [Value 8..12],
    S_EXT_CTRLS = 72 ReadWrite 32 Controls true [Value 8..12],
    TRY_EXT_CTRLS = 73 ReadWrite 32 Controls true [Value 8..12],
    ENUM_FRAMESIZES = 74 ReadWrite 44 Nothing true [Value 8..36],
    ENUM_FRAMEINTERVALS = 75 ReadWrite 52 Nothing true [Value 16..44],
    G_ENC_INDEX = 76 Read 2072 Nothing true [AtMost(64) 0..4, Value 4..8, Value 24..2072],
    ENCODER_CMD = 77 ReadWrite 40 Nothing true [Value 4..8],
    TRY_ENCODER_CMD = 78 ReadWrite 40 Nothing true [Value 4..8],
    DBG_S_REGISTER = 79 Write 56 Nothing true [],
    DBG_G_REGISTER = 80 ReadWrite 56 Nothing true [Value 36..40, Value 48..56],
    S_HW_FREQ_SEEK = 82 Write 48 Nothing true [],
    S_DV_TIMINGS = 87 ReadWrite 132 Nothing true [Value 4..82, Zero 82..132],
    G_DV_TIMINGS = 88 ReadWrite 132 Nothing true [Value 0..82, Zero 82..132],
    DQEVENT = 89 Read 136 Nothing false [],
    SUBSCRIBE_EVENT = 90 Write 32 Nothing true [],
    UNSUBSCRIBE_EVENT = 91 Write 32 Nothing true [],
    CREATE_BUFS = 92 ReadWrite 256 Nothing true [Value 0..8, Value 224..228, Fewer 228..232, Value 232..236],
    PREPARE_BUF = 93 ReadWrite 88 Planes true [],
    G_SELECTION = 94 ReadWrite 64 Nothing true [Value 12..28],
    S_SELECTION = 95 ReadWrite 64 Nothing true [Value 12..28],
    DECODER_CMD = 96 ReadWrite 72 Nothing true [Value 4..16],
    TRY_DECODER_CMD = 97 ReadWrite 72 Nothing true [Value 4..16],
    ENUM_DV_TIMINGS = 98 ReadWrite 148 Nothing true [Value 16..98],
    QUERY_DV_TIMINGS = 99 Read 132 Nothing true [Value 0..82],
    DV_TIMINGS_CAP = 100 ReadWrite 144 Nothing true [Value 0..4, Value 16..56],
    ENUM_FREQ_BANDS = 101 ReadWrite 64 Nothing true [Value 12..28, Zero 28..64],
    DBG_G_CHIP_INFO = 102 ReadWrite 200 Nothing true [Text 36..68, Value 68..72],
    QUERY_EXT_CTRL = 103 ReadWrite 232 Nothing true [Next 0..4, Value 4..8, Text 8..40, Value 40..84, AtMost(4) 84..88, Value 88..104],
    REMOVE_BUFS = 104 ReadWrite 64 Nothing true [],
}

/// Size of the largest payload without its array, in bytes.
pub const MAX_PAYLOAD: usize = {
    let mut max = 0;
    let mut i = 0;
    while i < TABLE.len() {
        if TABLE[i].size > max {
            max = TABLE[i].size;
        }
        // `lookup` and readers rely on unique numbers.
        assert!(i == 0 || TABLE[i - 1].code < TABLE[i].code);
        Field::check(TABLE[i].fields, TABLE[i].size);
        i += 1;
    }
    max
};
