// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What controls of H.264 come to.

use crate::device::encoder::params::Params;
use crate::v4l2::core::controls::Controls;
use crate::v4l2::core::uapi::*;

/// The profile, as caps name it.
pub(super) fn profile(controls: &Controls) -> &'static str {
    match controls.value(V4L2_CID_MPEG_VIDEO_H264_PROFILE) {
        0 => "baseline",
        1 => "constrained-baseline",
        2 => "main",
        _ => "high",
    }
}

/// CABAC, rather than CAVLC.
pub(super) fn cabac(p: &Params) -> bool {
    let wanted = p.controls.value(V4L2_CID_MPEG_VIDEO_H264_ENTROPY_MODE) != 0;
    wanted && !p.profile.ends_with("baseline")
}

/// 8x8 transform.
pub(super) fn transform_8x8(p: &Params) -> bool {
    let wanted = p.controls.value(V4L2_CID_MPEG_VIDEO_H264_8X8_TRANSFORM) != 0;
    wanted && p.profile == "high"
}
