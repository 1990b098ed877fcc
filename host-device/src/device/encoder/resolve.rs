// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From controls, formats and settings to what the encoder is to do.

use protocol::wire::v4l2::Fract;

use super::catalogue::Row;
use super::level;
use super::params::{self, Params};
use super::settings::Settings;
use crate::device::codec::Setup;
use crate::v4l2::core::controls::Controls;
use crate::v4l2::core::uapi::*;

/// Greatest common divisor.
fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Frames per second for a frame interval, in lowest terms.
fn framerate(interval: Fract) -> (u32, u32) {
    let divisor = gcd(interval.denominator, interval.numerator).max(1);
    (interval.denominator / divisor, interval.numerator / divisor)
}

/// Threads for frames of a size. Never by the host's cores: the same frames are to give the same
/// stream everywhere.
fn usual_threads(width: u32, height: u32) -> u32 {
    // One encodes more than 60 frames of 1920x1080 a second, four make slices that still hold a
    // quarter of that each.
    if u64::from(width) * u64::from(height) > 1920 * 1088 {
        4
    } else {
        1
    }
}

/// Threads of an encoder.
pub fn threads(setup: &Setup, settings: &Settings) -> u32 {
    settings
        .threads
        .unwrap_or_else(|| usual_threads(setup.crop.width, setup.crop.height))
}

/// Frames from one key frame to the next; 0 for never. The period of I frames stands for the size
/// of the group when it is set: without B frames every I frame starts one.
fn gop(controls: &Controls, row: &Row) -> u32 {
    let period = row.key_period.map_or(0, |id| controls.value(id));
    let gop = if period == 0 {
        controls.value(V4L2_CID_MPEG_VIDEO_GOP_SIZE)
    } else {
        period
    };
    u32::try_from(gop).unwrap_or(0)
}

/// The bitrate that holds at frame rate `rate` as that of the controls does at `asked`, at most one
/// of which frames fit into coded buffers.
fn bitrate(setup: &Setup, rate: (u32, u32), asked: (u32, u32)) -> u32 {
    let wanted = setup.controls.value(V4L2_CID_MPEG_VIDEO_BITRATE);
    let wanted = u64::from(wanted.unsigned_abs());
    let (n, d) = (
        u64::from(rate.0) * u64::from(asked.1),
        u64::from(rate.1) * u64::from(asked.0),
    );
    let scaled = u128::from(wanted) * u128::from(n) / u128::from(d.max(1));
    let most = u128::from(params::most_bitrate(setup.capacity, rate));
    u32::try_from(scaled.min(most))
        .unwrap_or(u32::MAX)
        .max(1000)
}

/// What the encoder is to do. While one runs at `running` frames per second it goes on at that
/// rate, and the bitrate is scaled so that it holds at the rate that the client set: a new frame
/// rate would restart it.
pub fn params(
    row: &Row,
    setup: &Setup,
    settings: &Settings,
    running: Option<(u32, u32)>,
) -> Params {
    let controls = &setup.controls;
    let asked = framerate(setup.interval);
    let rate = running.unwrap_or(asked);
    let bitrate = bitrate(setup, rate, asked);
    let (min_qp, max_qp) = (controls.value(row.qp.0), controls.value(row.qp.1));
    let profile = (row.profile)(controls);
    let needs = level::Needs {
        width: setup.crop.width,
        height: setup.crop.height,
        framerate: rate,
        bitrate,
        high: profile == "high",
    };
    Params {
        bounds: row.bounds,
        width: setup.crop.width,
        height: setup.crop.height,
        vui: setup.raw.vui(),
        framerate: rate,
        bitrate,
        capacity: setup.capacity,
        constant: controls.value(V4L2_CID_MPEG_VIDEO_BITRATE_MODE) == 1,
        rate_control: controls.value(V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE) != 0,
        quantizer: controls.value(V4L2_CID_MPEG_VIDEO_H264_P_FRAME_QP),
        // Set one after the other, they may cross on the way.
        min_qp: min_qp.min(max_qp),
        max_qp,
        gop: gop(controls, row),
        profile,
        level: (row.level)(controls, &needs),
        threads: threads(setup, settings),
        preset: settings.preset.clone(),
        controls: controls.clone(),
    }
}
