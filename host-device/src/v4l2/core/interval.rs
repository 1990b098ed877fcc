// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Frame intervals: VIDIOC_G_PARM and S_PARM.

use nix::errno::Errno;
use protocol::wire::v4l2::{Fract, StreamParm};

use super::uapi::*;

/// Shortest frame interval.
pub const MIN: Fract = Fract {
    numerator: 1,
    denominator: 1000,
};
/// Longest frame interval: an hour, for time-lapse.
pub const MAX: Fract = Fract {
    numerator: 3600,
    denominator: 1,
};
/// Frame interval until VIDIOC_S_PARM sets one, and where it has a zero.
pub const DEFAULT: Fract = Fract {
    numerator: 1,
    denominator: 30,
};

/// VIDIOC_G_PARM, and what VIDIOC_S_PARM answers, of a queue that has this `interval`.
///
/// # Errors
///
/// `EINVAL` for any queue but OUTPUT: coded frames have no interval of their own.
pub fn get(parm: &mut StreamParm, interval: Fract) -> Result<(), Errno> {
    // Kernel drivers let the single-planar type pass too, and v4l2-ctl uses it.
    if !matches!(parm.type_, OUTPUT | OUTPUT_SINGLE) {
        return Err(Errno::EINVAL);
    }
    *parm = StreamParm {
        type_: parm.type_,
        capability: V4L2_CAP_TIMEPERFRAME,
        timeperframe: interval,
        ..Default::default()
    };
    Ok(())
}

/// The frame interval nearest to `asked`. One with a zero asks for the default.
pub fn nearest(asked: Fract) -> Fract {
    let (n, d) = (u64::from(asked.numerator), u64::from(asked.denominator));
    let fits = |v| i32::try_from(v).is_ok();
    if n == 0 || d == 0 || !fits(asked.numerator) || !fits(asked.denominator) {
        DEFAULT
    } else if d > n * u64::from(MIN.denominator) {
        MIN
    } else if n > d * u64::from(MAX.numerator) {
        MAX
    } else {
        asked
    }
}
