// SPDX-License-Identifier: GPL-2.0

//! Capabilities of a node: `V4L2_CAP_*`.

use crate::media::Direction;

pub(super) const VIDEO_CAPTURE: u32 = 0x0000_0001;
pub(super) const VIDEO_OUTPUT: u32 = 0x0000_0002;
pub(super) const VIDEO_OVERLAY: u32 = 0x0000_0004;
pub(super) const VBI_CAPTURE: u32 = 0x0000_0010;
pub(super) const VBI_OUTPUT: u32 = 0x0000_0020;
pub(super) const SLICED_VBI_CAPTURE: u32 = 0x0000_0040;
pub(super) const SLICED_VBI_OUTPUT: u32 = 0x0000_0080;
pub(super) const RDS_CAPTURE: u32 = 0x0000_0100;
pub(super) const VIDEO_OUTPUT_OVERLAY: u32 = 0x0000_0200;
pub(super) const HW_FREQ_SEEK: u32 = 0x0000_0400;
pub(super) const RDS_OUTPUT: u32 = 0x0000_0800;
pub(super) const VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
pub(super) const VIDEO_OUTPUT_MPLANE: u32 = 0x0000_2000;
pub(super) const VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
pub(super) const VIDEO_M2M: u32 = 0x0000_8000;
pub(super) const MODULATOR: u32 = 0x0008_0000;
pub(super) const SDR_CAPTURE: u32 = 0x0010_0000;
pub(super) const EXT_PIX_FORMAT: u32 = 0x0020_0000;
pub(super) const SDR_OUTPUT: u32 = 0x0040_0000;
pub(super) const META_CAPTURE: u32 = 0x0080_0000;
pub(super) const READWRITE: u32 = 0x0100_0000;
pub(super) const STREAMING: u32 = 0x0400_0000;
pub(super) const META_OUTPUT: u32 = 0x0800_0000;
pub(super) const IO_MC: u32 = 0x2000_0000;
pub(super) const DEVICE_CAPS: u32 = 0x8000_0000;

pub(super) const ANY_M2M: u32 = VIDEO_M2M | VIDEO_M2M_MPLANE;
pub(super) const ANY_CAPTURE: u32 = VIDEO_CAPTURE
    | VIDEO_CAPTURE_MPLANE
    | VIDEO_OVERLAY
    | VBI_CAPTURE
    | SLICED_VBI_CAPTURE
    | SDR_CAPTURE
    | META_CAPTURE;
pub(super) const ANY_OUTPUT: u32 = VIDEO_OUTPUT
    | VIDEO_OUTPUT_MPLANE
    | VIDEO_OUTPUT_OVERLAY
    | VBI_OUTPUT
    | SLICED_VBI_OUTPUT
    | SDR_OUTPUT
    | META_OUTPUT
    | MODULATOR;

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
