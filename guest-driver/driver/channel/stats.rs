// SPDX-License-Identifier: GPL-2.0

//! Counters of what costs time, for `VIDIOC_LOG_STATUS`.

use kernel::sync::atomic::{Atomic, Relaxed};

/// Counters of a device. They only grow.
pub(in crate::driver) struct Stats {
    /// Interrupts, by queue.
    pub(super) interrupts: [Atomic<u64>; 2],
    /// Round trips that somebody slept for.
    pub(in crate::driver) calls: Atomic<u64>,
    /// QBUFs that nobody waited for.
    pub(in crate::driver) posted: Atomic<u64>,
    /// Memory of processes pinned.
    pub(in crate::driver) pins: Atomic<u64>,
    /// Dmabufs attached.
    pub(in crate::driver) attaches: Atomic<u64>,
    /// Bytes of frames copied by the driver.
    pub(in crate::driver) bytes_copied: Atomic<u64>,
}

impl Stats {
    pub(in crate::driver) const fn new() -> Self {
        Self {
            interrupts: [Atomic::new(0), Atomic::new(0)],
            calls: Atomic::new(0),
            posted: Atomic::new(0),
            pins: Atomic::new(0),
            attaches: Atomic::new(0),
            bytes_copied: Atomic::new(0),
        }
    }

    /// A queue has interrupted.
    pub(in crate::driver) fn interrupted(&self, queue: usize) {
        if let Some(counter) = self.interrupts.get(queue) {
            counter.fetch_add(1, Relaxed);
        }
    }
}
