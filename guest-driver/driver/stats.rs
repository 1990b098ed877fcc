// SPDX-License-Identifier: GPL-2.0

//! Counters of what costs time, for `VIDIOC_LOG_STATUS`.

use super::device::MediaDevice;
use crate::wire::{COMMAND_QUEUE, EVENT_QUEUE};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

/// Counters of a device. They only grow.
pub(super) struct Stats {
    /// Interrupts, by queue.
    interrupts: [Atomic<u64>; 2],
    /// Round trips that somebody slept for.
    pub(super) calls: Atomic<u64>,
    /// QBUFs that nobody waited for.
    pub(super) posted: Atomic<u64>,
    /// Memory of processes pinned.
    pub(super) pins: Atomic<u64>,
    /// Dmabufs attached.
    pub(super) attaches: Atomic<u64>,
    /// Bytes of frames copied by the driver.
    pub(super) bytes_copied: Atomic<u64>,
}

impl Stats {
    pub(super) const fn new() -> Self {
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
    pub(super) fn interrupted(&self, queue: usize) {
        if let Some(counter) = self.interrupts.get(queue) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

impl MediaDevice {
    /// Writes the counters to the kernel log.
    pub(super) fn log_stats(&self) {
        let stats = self.stats();
        let interrupts = |queue: u16| stats.interrupts[usize::from(queue)].load(Relaxed);
        dev_info!(
            self.dev(),
            "virtio_v4l2 stats: kicks_command={} kicks_event={} interrupts_command={} interrupts_event={} \
             calls={} posted={} pins={} attaches={} bytes_copied={}\n",
            self.commands().kicks(),
            self.events().kicks(),
            interrupts(COMMAND_QUEUE),
            interrupts(EVENT_QUEUE),
            stats.calls.load(Relaxed),
            stats.posted.load(Relaxed),
            stats.pins.load(Relaxed),
            stats.attaches.load(Relaxed),
            stats.bytes_copied.load(Relaxed)
        );
    }
}
