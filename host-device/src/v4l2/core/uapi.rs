// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Constants of `linux/videodev2.h` and `linux/v4l2-controls.h`: what v4l2r generates, and the few
//! that it does not have (function-like macros, and values newer than the headers that v4l2r is
//! built with).

pub use crate::device::api::text;
pub use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE as CAPTURE, BUF_TYPE_VIDEO_OUTPUT_MPLANE as OUTPUT,
    MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR,
};
pub use v4l2r::bindings::*;

/// `V4L2_BUF_TYPE_VIDEO_OUTPUT`: selections name a queue by its single-planar type.
pub const OUTPUT_SINGLE: u32 = 2;
/// `V4L2_FIELD_ANY`.
pub const FIELD_ANY: u32 = 0;
/// `V4L2_FIELD_NONE`.
pub const FIELD_NONE: u32 = 1;
/// `V4L2_COLORSPACE_SMPTE170M`.
pub const COLORSPACE_SMPTE170M: u32 = 1;
/// `V4L2_COLORSPACE_SMPTE240M`.
pub const COLORSPACE_SMPTE240M: u32 = 2;
/// `V4L2_COLORSPACE_REC709`.
pub const COLORSPACE_REC709: u32 = 3;
/// `V4L2_COLORSPACE_BT878`.
pub const COLORSPACE_BT878: u32 = 4;
/// `V4L2_COLORSPACE_470_SYSTEM_M`.
pub const COLORSPACE_470_SYSTEM_M: u32 = 5;
/// `V4L2_COLORSPACE_470_SYSTEM_BG`.
pub const COLORSPACE_470_SYSTEM_BG: u32 = 6;
/// `V4L2_COLORSPACE_JPEG`.
pub const COLORSPACE_JPEG: u32 = 7;
/// `V4L2_COLORSPACE_SRGB`.
pub const COLORSPACE_SRGB: u32 = 8;
/// `V4L2_COLORSPACE_OPRGB`.
pub const COLORSPACE_OPRGB: u32 = 9;
/// `V4L2_COLORSPACE_BT2020`.
pub const COLORSPACE_BT2020: u32 = 10;
/// `V4L2_COLORSPACE_RAW`.
pub const COLORSPACE_RAW: u32 = 11;
/// `V4L2_COLORSPACE_DCI_P3`.
pub const COLORSPACE_DCI_P3: u32 = 12;
/// `V4L2_XFER_FUNC_NONE`.
pub const XFER_FUNC_NONE: u8 = 5;
/// `V4L2_FRMSIZE_TYPE_STEPWISE`.
pub const FRMSIZE_TYPE_STEPWISE: u32 = 3;
/// `V4L2_FRMIVAL_TYPE_CONTINUOUS`.
pub const FRMIVAL_TYPE_CONTINUOUS: u32 = 2;
/// `V4L2_CTRL_WHICH_MIN_VAL`.
pub const CTRL_WHICH_MIN_VAL: u32 = 0x0f02_0000;
/// `V4L2_CTRL_WHICH_MAX_VAL`.
pub const CTRL_WHICH_MAX_VAL: u32 = 0x0f03_0000;

/// `v4l2_fourcc()`.
pub const fn fourcc(name: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*name)
}
