// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Every V4L2 ioctl: number, direction, payload size and what follows the payload.
//!
//! [`TABLE`] is the one place that knows; driver and device both go by it. Numbers, directions and
//! sizes are those of the `VIDIOC_*` macros of `linux/videodev2.h` on a 64-bit machine. It also
//! names the [fields](Ioctl::fields) that the device may write.

use super::field::{size_of_field, span, Field, Rule};
use super::v4l2::{
    self, is_multiplanar, Audio, Buffer, Capability, Control, CreateBuffers, Crop, CropCap,
    DbgChipInfo, DbgRegister, DecoderCmd, DvTimings, DvTimingsCap, Edid, EncIdx, EncoderCmd,
    EnumDvTimings, Event, EventSubscription, ExportBuffer, ExtControl, ExtControls, FmtDesc,
    Format, FrameBuffer, Frequency, FrequencyBand, FrmIvalEnum, FrmSizeEnum, HwFreqSeek, Input,
    JpegCompression, Modulator, Output, Plane, QueryCtrl, QueryExtCtrl, QueryMenu, RemoveBuffers,
    RequestBuffers, Selection, SlicedVbiCap, Standard, StreamParm, Tuner, EDID_BLOCK, MAX_CONTROLS,
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
        $name:ident = $code:literal $direction:ident $payload:tt $attached:ident $forwarded:literal
            [$($rule:ident $(<$most:ident>)? ($($span:tt)*)),*],
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
            size: size_of::<$payload>(),
            attached: Attached::$attached,
            forwarded: $forwarded,
            fields: &[$(Field::new(
                span!($payload, $($span)*),
                Rule::$rule $((v4l2::$most))?,
            ),)*],
        },)*];
    };
}

// Not forwarded: QUERYCAP is the configuration space, DQBUF and DQEVENT are events, G/S_JPEGCOMP
// are controls, LOG_STATUS is the driver's own (VIRTIO 1.4, "Unsupported ioctls").
//
// In brackets: fields that the device may write. QBUF and PREPARE_BUF have none, as the driver
// knows the rest. Formats have theirs by type, in `answer`.
table! {
    QUERYCAP = 0 Read Capability Nothing false [],
    ENUM_FMT = 2 ReadWrite FmtDesc Nothing true [
        Value(flags), Text(description), Value(pixelformat)
    ],
    G_FMT = 4 ReadWrite Format Nothing true [],
    S_FMT = 5 ReadWrite Format Nothing true [],
    REQBUFS = 8 ReadWrite RequestBuffers Nothing true [
        Value(count), Value(capabilities), Fewer(flags)
    ],
    QUERYBUF = 9 ReadWrite Buffer Planes true [
        Value(bytesused to field), Value(timestamp to sequence), Value(m to length)
    ],
    G_FBUF = 10 Read FrameBuffer Nothing true [
        Value(capability to flags), Value(width to colorspace)
    ],
    S_FBUF = 11 Write FrameBuffer Nothing true [],
    OVERLAY = 14 Write i32 Nothing true [],
    QBUF = 15 ReadWrite Buffer Planes true [],
    EXPBUF = 16 ReadWrite ExportBuffer Uuid true [],
    DQBUF = 17 ReadWrite Buffer Planes false [],
    STREAMON = 18 Write i32 Nothing true [],
    STREAMOFF = 19 Write i32 Nothing true [],
    G_PARM = 21 ReadWrite StreamParm Nothing true [
        Value(capability to buffers), Zero(reserved to rest)
    ],
    S_PARM = 22 ReadWrite StreamParm Nothing true [Value(capability to buffers), Zero(reserved)],
    G_STD = 23 Read u64 Nothing true [Value(*)],
    S_STD = 24 Write u64 Nothing true [],
    ENUMSTD = 25 ReadWrite Standard Nothing true [
        Value(id), Text(name), Value(frameperiod to framelines), Zero(reserved)
    ],
    ENUMINPUT = 26 ReadWrite Input Nothing true [Text(name), Value(type_ to capabilities)],
    G_CTRL = 27 ReadWrite Control Nothing true [Value(value)],
    S_CTRL = 28 ReadWrite Control Nothing true [Value(value)],
    G_TUNER = 29 ReadWrite Tuner Nothing true [Text(name), Value(type_ to afc)],
    S_TUNER = 30 Write Tuner Nothing true [],
    G_AUDIO = 33 Read Audio Nothing true [Value(index), Text(name), Value(capability to mode)],
    S_AUDIO = 34 Write Audio Nothing true [],
    QUERYCTRL = 36 ReadWrite QueryCtrl Nothing true [
        Next(id), Value(type_), Text(name), Value(minimum to flags)
    ],
    QUERYMENU = 37 ReadWrite QueryMenu Nothing true [Text(name)],
    G_INPUT = 38 Read i32 Nothing true [Value(*)],
    S_INPUT = 39 ReadWrite i32 Nothing true [],
    G_EDID = 40 ReadWrite Edid Edid true [Value(blocks), Zero(reserved)],
    S_EDID = 41 ReadWrite Edid Edid true [Value(blocks), Zero(reserved)],
    G_OUTPUT = 46 Read i32 Nothing true [Value(*)],
    S_OUTPUT = 47 ReadWrite i32 Nothing true [],
    ENUMOUTPUT = 48 ReadWrite Output Nothing true [Text(name), Value(type_ to capabilities)],
    G_AUDOUT = 49 Read Audio Nothing true [Value(index), Text(name), Value(capability to mode)],
    S_AUDOUT = 50 Write Audio Nothing true [],
    G_MODULATOR = 54 ReadWrite Modulator Nothing true [Text(name), Value(capability to type_)],
    S_MODULATOR = 55 Write Modulator Nothing true [],
    G_FREQUENCY = 56 ReadWrite Frequency Nothing true [Value(type_ to frequency)],
    S_FREQUENCY = 57 Write Frequency Nothing true [],
    CROPCAP = 58 ReadWrite CropCap Nothing true [Value(bounds to pixelaspect)],
    G_CROP = 59 ReadWrite Crop Nothing true [Value(c)],
    S_CROP = 60 Write Crop Nothing true [],
    G_JPEGCOMP = 61 Read JpegCompression Nothing false [],
    S_JPEGCOMP = 62 Write JpegCompression Nothing false [],
    QUERYSTD = 63 Read u64 Nothing true [Value(*)],
    TRY_FMT = 64 ReadWrite Format Nothing true [],
    ENUMAUDIO = 65 ReadWrite Audio Nothing true [Text(name), Value(capability to mode)],
    ENUMAUDOUT = 66 ReadWrite Audio Nothing true [Text(name), Value(capability to mode)],
    G_PRIORITY = 67 Read u32 Nothing true [Value(*)],
    S_PRIORITY = 68 Write u32 Nothing true [],
    G_SLICED_VBI_CAP = 69 ReadWrite SlicedVbiCap Nothing true [Value(service_set to service_lines)],
    LOG_STATUS = 70 None () Nothing false [],
    G_EXT_CTRLS = 71 ReadWrite ExtControls Controls true [Value(error_idx)],
    S_EXT_CTRLS = 72 ReadWrite ExtControls Controls true [Value(error_idx)],
    TRY_EXT_CTRLS = 73 ReadWrite ExtControls Controls true [Value(error_idx)],
    ENUM_FRAMESIZES = 74 ReadWrite FrmSizeEnum Nothing true [Value(type_ to stepwise)],
    ENUM_FRAMEINTERVALS = 75 ReadWrite FrmIvalEnum Nothing true [Value(type_ to stepwise)],
    G_ENC_INDEX = 76 Read EncIdx Nothing true [
        AtMost<ENC_IDX_ENTRIES>(entries), Value(entries_cap), Value(entry)
    ],
    ENCODER_CMD = 77 ReadWrite EncoderCmd Nothing true [Value(flags)],
    TRY_ENCODER_CMD = 78 ReadWrite EncoderCmd Nothing true [Value(flags)],
    DBG_S_REGISTER = 79 Write DbgRegister Nothing true [],
    DBG_G_REGISTER = 80 ReadWrite DbgRegister Nothing true [Value(size), Value(val)],
    S_HW_FREQ_SEEK = 82 Write HwFreqSeek Nothing true [],
    S_DV_TIMINGS = 87 ReadWrite DvTimings Nothing true [Value(bt), Zero(reserved)],
    G_DV_TIMINGS = 88 ReadWrite DvTimings Nothing true [Value(type_ to bt), Zero(reserved)],
    DQEVENT = 89 Read Event Nothing false [],
    SUBSCRIBE_EVENT = 90 Write EventSubscription Nothing true [],
    UNSUBSCRIBE_EVENT = 91 Write EventSubscription Nothing true [],
    CREATE_BUFS = 92 ReadWrite CreateBuffers Nothing true [
        Value(index to count), Value(capabilities), Fewer(flags), Value(max_num_buffers)
    ],
    PREPARE_BUF = 93 ReadWrite Buffer Planes true [],
    G_SELECTION = 94 ReadWrite Selection Nothing true [Value(r)],
    S_SELECTION = 95 ReadWrite Selection Nothing true [Value(r)],
    DECODER_CMD = 96 ReadWrite DecoderCmd Nothing true [Value(flags to command)],
    TRY_DECODER_CMD = 97 ReadWrite DecoderCmd Nothing true [Value(flags to command)],
    ENUM_DV_TIMINGS = 98 ReadWrite EnumDvTimings Nothing true [Value(type_ to bt)],
    QUERY_DV_TIMINGS = 99 Read DvTimings Nothing true [Value(type_ to bt)],
    DV_TIMINGS_CAP = 100 ReadWrite DvTimingsCap Nothing true [Value(type_), Value(bt)],
    ENUM_FREQ_BANDS = 101 ReadWrite FrequencyBand Nothing true [
        Value(capability to modulation), Zero(reserved)
    ],
    DBG_G_CHIP_INFO = 102 ReadWrite DbgChipInfo Nothing true [Text(name), Value(flags)],
    QUERY_EXT_CTRL = 103 ReadWrite QueryExtCtrl Nothing true [
        Next(id), Value(type_), Text(name), Value(minimum to elems),
        AtMost<CTRL_MAX_DIMS>(nr_of_dims), Value(dims)
    ],
    REMOVE_BUFS = 104 ReadWrite RemoveBuffers Nothing true [],
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
