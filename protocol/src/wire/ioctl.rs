// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Every V4L2 ioctl: number, direction, payload size and what follows the payload.
//!
//! [`TABLE`] is the one place that knows; driver and device both go by it. Numbers, directions and sizes
//! are those of the `VIDIOC_*` macros of `linux/videodev2.h` on a 64-bit machine.

use super::v4l2::{
    is_multiplanar, Buffer, Edid, ExtControl, ExtControls, Plane, EDID_BLOCK, MAX_CONTROLS,
    MAX_EDID_BLOCKS, VIDEO_MAX_PLANES,
};

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
    /// `struct v4l2_buffer`: for multi-planar types an array of `struct v4l2_plane`, then, by memory type, SG
    /// lists or UUIDs, one for each plane.
    Planes,
    /// `struct v4l2_ext_controls`: an array of `struct v4l2_ext_control`, then an SG list for each control with
    /// a non-zero `size`.
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
    /// Whether it travels. The specification replaces a few by other means, the device answers them with
    /// `ENOTTY`.
    pub forwarded: bool,
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
    /// Size in bytes of the array that follows `payload` in both parts of the chain. UUIDs and SG lists, which
    /// follow the array, are not counted.
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
    ($($name:ident = $code:literal $direction:ident $size:literal $attached:ident $forwarded:literal,)*) => {
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
        },)*];
    };
}

// Not forwarded: QUERYCAP is the configuration space, DQBUF and DQEVENT are events, G/S_JPEGCOMP are controls,
// LOG_STATUS is the driver's own (VIRTIO 1.4, "Unsupported ioctls").
table! {
    QUERYCAP = 0 Read 104 Nothing false,
    ENUM_FMT = 2 ReadWrite 64 Nothing true,
    G_FMT = 4 ReadWrite 208 Nothing true,
    S_FMT = 5 ReadWrite 208 Nothing true,
    REQBUFS = 8 ReadWrite 20 Nothing true,
    QUERYBUF = 9 ReadWrite 88 Planes true,
    G_FBUF = 10 Read 48 Nothing true,
    S_FBUF = 11 Write 48 Nothing true,
    OVERLAY = 14 Write 4 Nothing true,
    QBUF = 15 ReadWrite 88 Planes true,
    EXPBUF = 16 ReadWrite 64 Uuid true,
    DQBUF = 17 ReadWrite 88 Planes false,
    STREAMON = 18 Write 4 Nothing true,
    STREAMOFF = 19 Write 4 Nothing true,
    G_PARM = 21 ReadWrite 204 Nothing true,
    S_PARM = 22 ReadWrite 204 Nothing true,
    G_STD = 23 Read 8 Nothing true,
    S_STD = 24 Write 8 Nothing true,
    ENUMSTD = 25 ReadWrite 72 Nothing true,
    ENUMINPUT = 26 ReadWrite 80 Nothing true,
    G_CTRL = 27 ReadWrite 8 Nothing true,
    S_CTRL = 28 ReadWrite 8 Nothing true,
    G_TUNER = 29 ReadWrite 84 Nothing true,
    S_TUNER = 30 Write 84 Nothing true,
    G_AUDIO = 33 Read 52 Nothing true,
    S_AUDIO = 34 Write 52 Nothing true,
    QUERYCTRL = 36 ReadWrite 68 Nothing true,
    QUERYMENU = 37 ReadWrite 44 Nothing true,
    G_INPUT = 38 Read 4 Nothing true,
    S_INPUT = 39 ReadWrite 4 Nothing true,
    G_EDID = 40 ReadWrite 40 Edid true,
    S_EDID = 41 ReadWrite 40 Edid true,
    G_OUTPUT = 46 Read 4 Nothing true,
    S_OUTPUT = 47 ReadWrite 4 Nothing true,
    ENUMOUTPUT = 48 ReadWrite 72 Nothing true,
    G_AUDOUT = 49 Read 52 Nothing true,
    S_AUDOUT = 50 Write 52 Nothing true,
    G_MODULATOR = 54 ReadWrite 68 Nothing true,
    S_MODULATOR = 55 Write 68 Nothing true,
    G_FREQUENCY = 56 ReadWrite 44 Nothing true,
    S_FREQUENCY = 57 Write 44 Nothing true,
    CROPCAP = 58 ReadWrite 44 Nothing true,
    G_CROP = 59 ReadWrite 20 Nothing true,
    S_CROP = 60 Write 20 Nothing true,
    G_JPEGCOMP = 61 Read 140 Nothing false,
    S_JPEGCOMP = 62 Write 140 Nothing false,
    QUERYSTD = 63 Read 8 Nothing true,
    TRY_FMT = 64 ReadWrite 208 Nothing true,
    ENUMAUDIO = 65 ReadWrite 52 Nothing true,
    ENUMAUDOUT = 66 ReadWrite 52 Nothing true,
    G_PRIORITY = 67 Read 4 Nothing true,
    S_PRIORITY = 68 Write 4 Nothing true,
    G_SLICED_VBI_CAP = 69 ReadWrite 116 Nothing true,
    LOG_STATUS = 70 None 0 Nothing false,
    G_EXT_CTRLS = 71 ReadWrite 32 Controls true,
    S_EXT_CTRLS = 72 ReadWrite 32 Controls true,
    TRY_EXT_CTRLS = 73 ReadWrite 32 Controls true,
    ENUM_FRAMESIZES = 74 ReadWrite 44 Nothing true,
    ENUM_FRAMEINTERVALS = 75 ReadWrite 52 Nothing true,
    G_ENC_INDEX = 76 Read 2072 Nothing true,
    ENCODER_CMD = 77 ReadWrite 40 Nothing true,
    TRY_ENCODER_CMD = 78 ReadWrite 40 Nothing true,
    DBG_S_REGISTER = 79 Write 56 Nothing true,
    DBG_G_REGISTER = 80 ReadWrite 56 Nothing true,
    S_HW_FREQ_SEEK = 82 Write 48 Nothing true,
    S_DV_TIMINGS = 87 ReadWrite 132 Nothing true,
    G_DV_TIMINGS = 88 ReadWrite 132 Nothing true,
    DQEVENT = 89 Read 136 Nothing false,
    SUBSCRIBE_EVENT = 90 Write 32 Nothing true,
    UNSUBSCRIBE_EVENT = 91 Write 32 Nothing true,
    CREATE_BUFS = 92 ReadWrite 256 Nothing true,
    PREPARE_BUF = 93 ReadWrite 88 Planes true,
    G_SELECTION = 94 ReadWrite 64 Nothing true,
    S_SELECTION = 95 ReadWrite 64 Nothing true,
    DECODER_CMD = 96 ReadWrite 72 Nothing true,
    TRY_DECODER_CMD = 97 ReadWrite 72 Nothing true,
    ENUM_DV_TIMINGS = 98 ReadWrite 148 Nothing true,
    QUERY_DV_TIMINGS = 99 Read 132 Nothing true,
    DV_TIMINGS_CAP = 100 ReadWrite 144 Nothing true,
    ENUM_FREQ_BANDS = 101 ReadWrite 64 Nothing true,
    DBG_G_CHIP_INFO = 102 ReadWrite 200 Nothing true,
    QUERY_EXT_CTRL = 103 ReadWrite 232 Nothing true,
    REMOVE_BUFS = 104 ReadWrite 64 Nothing true,
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
        i += 1;
    }
    max
};
