// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Constants of `linux/videodev2.h` and `linux/v4l2-controls.h`, named as there without `V4L2_`.
//!
//! `tests/videodev2.rs` compares each of them with what a C compiler reads in the header.

macro_rules! constants {
    ($($ty:ident { $($name:ident = $value:expr,)* })*) => {
        $($(
            #[doc = concat!("`V4L2_", stringify!($name), "`.")]
            pub const $name: $ty = $value;
        )*)*

        /// All of them, by the name that the header gives them.
        pub const CONSTANTS: &[(&str, u64)] =
            &[$($((concat!("V4L2_", stringify!($name)), $name as u64),)*)*];
    };
}

/// `VIDEO_MAX_PLANES`, also `VIRTIO_MEDIA_MAX_PLANES`.
pub const VIDEO_MAX_PLANES: usize = 8;
/// `VIDEO_MAX_FRAME`, the customary limit of buffers in a queue.
pub const VIDEO_MAX_FRAME: u32 = 32;
/// `V4L2_CID_MAX_CTRLS`, the limit of controls in one ioctl.
pub const MAX_CONTROLS: usize = 1024;
/// Size of an EDID block, in bytes.
pub const EDID_BLOCK: usize = 128;
/// Limit of EDID blocks in one ioctl.
pub const MAX_EDID_BLOCKS: usize = 256;

/// `V4L2_MEMORY_MMAP`: buffers of the device.
pub const MEMORY_MMAP: u32 = 1;
/// `V4L2_MEMORY_USERPTR`, on the wire `VIRTIO_MEDIA_SHARED_PAGES`: pages of the guest.
pub const MEMORY_USERPTR: u32 = 2;
/// `V4L2_MEMORY_DMABUF`, on the wire `VIRTIO_MEDIA_OBJECT`: virtio objects.
pub const MEMORY_DMABUF: u32 = 4;

constants! {
    u32 {
        CAP_VIDEO_CAPTURE = 0x0000_0001,
        CAP_VIDEO_OUTPUT = 0x0000_0002,
        CAP_VIDEO_OVERLAY = 0x0000_0004,
        CAP_VBI_CAPTURE = 0x0000_0010,
        CAP_VBI_OUTPUT = 0x0000_0020,
        CAP_SLICED_VBI_CAPTURE = 0x0000_0040,
        CAP_SLICED_VBI_OUTPUT = 0x0000_0080,
        CAP_RDS_CAPTURE = 0x0000_0100,
        CAP_VIDEO_OUTPUT_OVERLAY = 0x0000_0200,
        CAP_HW_FREQ_SEEK = 0x0000_0400,
        CAP_RDS_OUTPUT = 0x0000_0800,
        CAP_VIDEO_CAPTURE_MPLANE = 0x0000_1000,
        CAP_VIDEO_OUTPUT_MPLANE = 0x0000_2000,
        CAP_VIDEO_M2M_MPLANE = 0x0000_4000,
        CAP_VIDEO_M2M = 0x0000_8000,
        CAP_MODULATOR = 0x0008_0000,
        CAP_SDR_CAPTURE = 0x0010_0000,
        CAP_EXT_PIX_FORMAT = 0x0020_0000,
        CAP_SDR_OUTPUT = 0x0040_0000,
        CAP_META_CAPTURE = 0x0080_0000,
        CAP_READWRITE = 0x0100_0000,
        CAP_STREAMING = 0x0400_0000,
        CAP_META_OUTPUT = 0x0800_0000,
        CAP_IO_MC = 0x2000_0000,
        CAP_DEVICE_CAPS = 0x8000_0000,

        BUF_TYPE_VIDEO_CAPTURE = 1,
        BUF_TYPE_VIDEO_OUTPUT = 2,
        BUF_TYPE_VIDEO_OVERLAY = 3,
        BUF_TYPE_VBI_CAPTURE = 4,
        BUF_TYPE_VBI_OUTPUT = 5,
        BUF_TYPE_SLICED_VBI_CAPTURE = 6,
        BUF_TYPE_SLICED_VBI_OUTPUT = 7,
        BUF_TYPE_VIDEO_OUTPUT_OVERLAY = 8,
        BUF_TYPE_VIDEO_CAPTURE_MPLANE = 9,
        BUF_TYPE_VIDEO_OUTPUT_MPLANE = 10,
        BUF_TYPE_SDR_CAPTURE = 11,
        BUF_TYPE_SDR_OUTPUT = 12,
        BUF_TYPE_META_CAPTURE = 13,
        BUF_TYPE_META_OUTPUT = 14,

        BUF_CAP_SUPPORTS_MMAP = 1 << 0,
        BUF_CAP_SUPPORTS_USERPTR = 1 << 1,
        BUF_CAP_SUPPORTS_DMABUF = 1 << 2,
        BUF_CAP_SUPPORTS_M2M_HOLD_CAPTURE_BUF = 1 << 5,
        BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS = 1 << 6,

        BUF_FLAG_MAPPED = 0x0000_0001,
        BUF_FLAG_QUEUED = 0x0000_0002,
        BUF_FLAG_DONE = 0x0000_0004,
        BUF_FLAG_KEYFRAME = 0x0000_0008,
        BUF_FLAG_PFRAME = 0x0000_0010,
        BUF_FLAG_BFRAME = 0x0000_0020,
        BUF_FLAG_ERROR = 0x0000_0040,
        BUF_FLAG_IN_REQUEST = 0x0000_0080,
        BUF_FLAG_TIMECODE = 0x0000_0100,
        BUF_FLAG_M2M_HOLD_CAPTURE_BUF = 0x0000_0200,
        BUF_FLAG_PREPARED = 0x0000_0400,
        BUF_FLAG_NO_CACHE_INVALIDATE = 0x0000_0800,
        BUF_FLAG_NO_CACHE_CLEAN = 0x0000_1000,
        BUF_FLAG_TIMESTAMP_MASK = 0x0000_e000,
        BUF_FLAG_TIMESTAMP_MONOTONIC = 0x0000_2000,
        BUF_FLAG_TIMESTAMP_COPY = 0x0000_4000,
        BUF_FLAG_TSTAMP_SRC_MASK = 0x0007_0000,
        BUF_FLAG_LAST = 0x0010_0000,
        BUF_FLAG_REQUEST_FD = 0x0080_0000,

        FIELD_ANY = 0,
        FIELD_NONE = 1,
        FIELD_ALTERNATE = 7,

        COLORSPACE_DEFAULT = 0,
        COLORSPACE_SMPTE170M = 1,
        COLORSPACE_SMPTE240M = 2,
        COLORSPACE_REC709 = 3,
        COLORSPACE_BT878 = 4,
        COLORSPACE_470_SYSTEM_M = 5,
        COLORSPACE_470_SYSTEM_BG = 6,
        COLORSPACE_JPEG = 7,
        COLORSPACE_SRGB = 8,
        COLORSPACE_OPRGB = 9,
        COLORSPACE_BT2020 = 10,
        COLORSPACE_RAW = 11,
        COLORSPACE_DCI_P3 = 12,
    }

    // `struct v4l2_pix_format_mplane` has these as bytes.
    u8 {
        XFER_FUNC_DEFAULT = 0,
        XFER_FUNC_709 = 1,
        XFER_FUNC_SRGB = 2,
        XFER_FUNC_OPRGB = 3,
        XFER_FUNC_SMPTE240M = 4,
        XFER_FUNC_NONE = 5,
        XFER_FUNC_DCI_P3 = 6,
        XFER_FUNC_SMPTE2084 = 7,

        YCBCR_ENC_DEFAULT = 0,
        YCBCR_ENC_601 = 1,
        YCBCR_ENC_709 = 2,
        YCBCR_ENC_XV601 = 3,
        YCBCR_ENC_XV709 = 4,
        YCBCR_ENC_BT2020 = 6,
        YCBCR_ENC_BT2020_CONST_LUM = 7,
        YCBCR_ENC_SMPTE240M = 8,

        QUANTIZATION_DEFAULT = 0,
        QUANTIZATION_FULL_RANGE = 1,
        QUANTIZATION_LIM_RANGE = 2,
    }

    u32 {
        FRMSIZE_TYPE_STEPWISE = 3,
        FRMIVAL_TYPE_CONTINUOUS = 2,

        CTRL_TYPE_INTEGER = 1,
        CTRL_TYPE_BOOLEAN = 2,
        CTRL_TYPE_MENU = 3,
        CTRL_TYPE_BUTTON = 4,
        CTRL_TYPE_INTEGER64 = 5,
        CTRL_TYPE_CTRL_CLASS = 6,
        CTRL_TYPE_STRING = 7,
        CTRL_TYPE_BITMASK = 8,
        CTRL_TYPE_INTEGER_MENU = 9,
        CTRL_TYPE_U8 = 0x0100,
        CTRL_TYPE_U16 = 0x0101,
        CTRL_TYPE_U32 = 0x0102,
        CTRL_FLAG_HAS_PAYLOAD = 0x0100,
        CTRL_FLAG_NEXT_COMPOUND = 0x4000_0000,
        CTRL_FLAG_NEXT_CTRL = 0x8000_0000,
        CTRL_WHICH_MIN_VAL = 0x0f02_0000,
        CTRL_WHICH_MAX_VAL = 0x0f03_0000,
        CTRL_MAX_DIMS = 4,
        CID_MPEG_VIDEO_BITRATE = 0x0099_09cf,

        ENC_CMD_START = 0,
        ENC_CMD_STOP = 1,
        DEC_CMD_START = 0,
        DEC_CMD_STOP = 1,

        EVENT_EOS = 2,
        EVENT_CTRL = 3,
        EVENT_SOURCE_CHANGE = 5,

        TUNER_CAP_RDS = 0x0080,
        TUNER_CAP_RDS_BLOCK_IO = 0x0100,
        TUNER_CAP_RDS_CONTROLS = 0x0200,
        TUNER_SUB_RDS = 0x0010,

        ENC_IDX_ENTRIES = 64,
    }
}
