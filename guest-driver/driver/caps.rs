// SPDX-License-Identifier: GPL-2.0

//! What the capabilities of a node (`V4L2_CAP_*`) say of it.

use crate::media::Direction;
use crate::wire::v4l2;

const ANY_M2M: u32 = v4l2::CAP_VIDEO_M2M | v4l2::CAP_VIDEO_M2M_MPLANE;
const ANY_CAPTURE: u32 = v4l2::CAP_VIDEO_CAPTURE
    | v4l2::CAP_VIDEO_CAPTURE_MPLANE
    | v4l2::CAP_VIDEO_OVERLAY
    | v4l2::CAP_VBI_CAPTURE
    | v4l2::CAP_SLICED_VBI_CAPTURE
    | v4l2::CAP_SDR_CAPTURE
    | v4l2::CAP_META_CAPTURE;
const ANY_OUTPUT: u32 = v4l2::CAP_VIDEO_OUTPUT
    | v4l2::CAP_VIDEO_OUTPUT_MPLANE
    | v4l2::CAP_VIDEO_OUTPUT_OVERLAY
    | v4l2::CAP_VBI_OUTPUT
    | v4l2::CAP_SLICED_VBI_OUTPUT
    | v4l2::CAP_SDR_OUTPUT
    | v4l2::CAP_META_OUTPUT
    | v4l2::CAP_MODULATOR;

/// Which way a node of these capabilities carries frames. What has none receives: a radio.
pub(super) fn direction(device_caps: u32) -> Direction {
    let captures = device_caps & ANY_CAPTURE != 0;
    let outputs = device_caps & ANY_OUTPUT != 0;
    match (captures, outputs) {
        _ if device_caps & ANY_M2M != 0 => Direction::M2m,
        (true, true) => Direction::M2m,
        (false, true) => Direction::Tx,
        _ => Direction::Rx,
    }
}
