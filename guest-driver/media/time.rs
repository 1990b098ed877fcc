// SPDX-License-Identifier: GPL-2.0

//! The time of buffers.

/// `CLOCK_MONOTONIC` in µs, which V4L2's timestamps are of.
pub(crate) fn monotonic_us() -> i64 {
    // SAFETY: May be called in any context.
    unsafe { kernel::bindings::ktime_get() / 1000 }
}
