// SPDX-License-Identifier: GPL-2.0

//! The device's clock.
//!
//! Capture devices stamp buffers with the host's `CLOCK_MONOTONIC`, which means nothing on this
//! machine. How late a buffer arrives is unknown, but never negative: of all differences between a
//! buffer's arrival and its timestamp the least is nearest to that of the clocks.

use crate::wire::v4l2::Timeval;

const SECOND: i64 = 1_000_000;

/// What is known of it, by the buffers of a session.
pub(in crate::driver) struct Clock {
    /// How far this machine's clock is ahead, in µs.
    ahead: Option<i64>,
}

impl Clock {
    pub(in crate::driver) const fn new() -> Self {
        Self { ahead: None }
    }

    /// The time of this machine at which the device's clock showed `stamp`, by a buffer that
    /// arrives at `now` (in µs): neither in the future nor before `last`, the time of the buffer
    /// before. No time stays none.
    pub(in crate::driver) fn translate(
        &mut self,
        stamp: Timeval,
        last: &mut i64,
        now: i64,
    ) -> Timeval {
        // Any number may come from the device.
        let time = stamp
            .tv_sec
            .saturating_mul(SECOND)
            .saturating_add(stamp.tv_usec);
        if time <= 0 {
            return Timeval::default();
        }
        let lag = now.saturating_sub(time);
        let ahead = self.ahead.map_or(lag, |ahead| ahead.min(lag));
        self.ahead = Some(ahead);
        let here = time.saturating_add(ahead).max(*last).min(now);
        *last = here;
        Timeval {
            tv_sec: here / SECOND,
            tv_usec: here % SECOND,
        }
    }
}
