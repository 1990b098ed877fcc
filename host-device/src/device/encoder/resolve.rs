// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From controls, formats and settings to what the encoder is to do.

use protocol::wire::v4l2::Fract;

use super::catalogue::Codec;
use super::level;
use super::params::{self, LoopFilter, Params};
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
fn gop(controls: &Controls, codec: Codec) -> u32 {
    let period = controls.value(V4L2_CID_MPEG_VIDEO_H264_I_PERIOD);
    let gop = if codec == Codec::H264 && period != 0 {
        period
    } else {
        controls.value(V4L2_CID_MPEG_VIDEO_GOP_SIZE)
    };
    u32::try_from(gop).unwrap_or(0)
}

/// What the encoder is to do. While one runs at `running` frames per second it goes on at that
/// rate, and the bitrate is scaled so that it holds at the rate that the client set: a new frame
/// rate would restart it.
pub fn params(
    codec: Codec,
    setup: &Setup,
    settings: &Settings,
    running: Option<(u32, u32)>,
) -> Params {
    let (controls, capacity) = (&setup.controls, setup.capacity);
    let asked = framerate(setup.interval);
    let rate = running.unwrap_or(asked);
    let bitrate = u64::from(controls.value(V4L2_CID_MPEG_VIDEO_BITRATE).unsigned_abs());
    let (n, d) = (
        u64::from(rate.0) * u64::from(asked.1),
        u64::from(rate.1) * u64::from(asked.0),
    );
    let scaled = u128::from(bitrate) * u128::from(n) / u128::from(d.max(1));
    let most = u128::from(params::most_bitrate(capacity, rate));
    let bitrate = u32::try_from(scaled.min(most))
        .unwrap_or(u32::MAX)
        .max(1000);
    let qp = |id| controls.value(id);
    let (min_qp, max_qp) = match codec {
        Codec::H264 => (
            qp(V4L2_CID_MPEG_VIDEO_H264_MIN_QP),
            qp(V4L2_CID_MPEG_VIDEO_H264_MAX_QP),
        ),
        Codec::Hevc => (
            qp(V4L2_CID_MPEG_VIDEO_HEVC_MIN_QP),
            qp(V4L2_CID_MPEG_VIDEO_HEVC_MAX_QP),
        ),
        Codec::Vp8 | Codec::Vp9 => (
            qp(V4L2_CID_MPEG_VIDEO_VPX_MIN_QP),
            qp(V4L2_CID_MPEG_VIDEO_VPX_MAX_QP),
        ),
    };
    let profile = match (codec, controls.value(V4L2_CID_MPEG_VIDEO_H264_PROFILE)) {
        (Codec::H264, 0) => "baseline",
        (Codec::H264, 1) => "constrained-baseline",
        (Codec::H264, 2) => "main",
        (Codec::H264, _) => "high",
        _ => "main",
    };
    let (high, baseline) = (profile == "high", profile.ends_with("baseline"));
    Params {
        codec,
        width: setup.crop.width,
        height: setup.crop.height,
        vui: setup.raw.vui(),
        framerate: rate,
        bitrate,
        capacity,
        constant: controls.value(V4L2_CID_MPEG_VIDEO_BITRATE_MODE) == 1,
        rate_control: controls.value(V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE) != 0,
        quantizer: controls.value(V4L2_CID_MPEG_VIDEO_H264_P_FRAME_QP),
        // Set one after the other, they may cross on the way.
        min_qp: min_qp.min(max_qp),
        max_qp,
        gop: gop(controls, codec),
        cabac: controls.value(V4L2_CID_MPEG_VIDEO_H264_ENTROPY_MODE) != 0 && !baseline,
        transform_8x8: controls.value(V4L2_CID_MPEG_VIDEO_H264_8X8_TRANSFORM) != 0 && high,
        loop_filter: match controls.value(V4L2_CID_MPEG_VIDEO_H264_LOOP_FILTER_MODE) {
            1 => LoopFilter::Disabled,
            2 => LoopFilter::DisabledAtSliceBoundary,
            _ => LoopFilter::Enabled,
        },
        profile,
        level: level::h264(
            controls.value(V4L2_CID_MPEG_VIDEO_H264_LEVEL),
            &level::Needs {
                width: setup.crop.width,
                height: setup.crop.height,
                framerate: rate,
                bitrate,
                high,
            },
        ),
        threads: threads(setup, settings),
        preset: settings.preset.clone(),
    }
}
