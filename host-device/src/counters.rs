// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the data path of one VMM did: counts and latencies since the VMM connected.
//!
//! Relaxed atomics, written where the work is done: they order nothing, and reading them while the
//! path runs gives values of slightly different moments.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

mod latency;
pub use latency::Latency;

/// Every set of counters whose VMM is still served, for [`log_all`].
static ALL: Mutex<Vec<Weak<Counters>>> = Mutex::new(Vec::new());

/// Counts of one VMM. All of them only grow.
#[derive(Debug)]
pub struct Counters {
    /// Coded frames that were delivered; of a device of the host: buffers with data from it.
    pub frames: AtomicU64,
    /// Bytes of raw frames that the daemon copied.
    pub raw_bytes_copied: AtomicU64,
    /// Bytes of coded frames that the daemon copied into buffers of the guest.
    pub coded_bytes_copied: AtomicU64,
    /// Bytes of coded frames.
    pub coded_bytes: AtomicU64,
    /// Mappings that were made for buffers.
    pub maps: AtomicU64,
    /// Mappings that were undone.
    pub unmaps: AtomicU64,
    /// dmabufs that were made by `/dev/udmabuf`.
    pub udmabufs: AtomicU64,
    /// Wakes of the ring thread by a kick.
    pub kicks: AtomicU64,
    /// Signals to the guest: writes of a call file.
    pub interrupts: AtomicU64,
    /// Buffers that a device of the host was done with.
    pub dequeues: AtomicU64,
    /// Calls of such a device that are about its buffers, streams and events.
    pub device_calls: AtomicU64,
    /// From the kick with which a raw frame came to the push into the encoder.
    pub kick_to_push: Latency,
    /// From a coded frame to the signal that tells of it.
    pub coded_to_signal: Latency,
    start: Instant,
    /// When the ring thread last looked for commands, in nanoseconds since `start`.
    looked: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            frames: AtomicU64::default(),
            raw_bytes_copied: AtomicU64::default(),
            coded_bytes_copied: AtomicU64::default(),
            coded_bytes: AtomicU64::default(),
            maps: AtomicU64::default(),
            unmaps: AtomicU64::default(),
            udmabufs: AtomicU64::default(),
            kicks: AtomicU64::default(),
            interrupts: AtomicU64::default(),
            dequeues: AtomicU64::default(),
            device_calls: AtomicU64::default(),
            kick_to_push: Latency::default(),
            coded_to_signal: Latency::default(),
            start: Instant::now(),
            looked: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// Counters of a VMM, all zero. [`log_all`] knows them for as long as they live.
    pub fn new() -> Arc<Self> {
        let counters = Arc::new(Self::default());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|counters| counters.strong_count() > 0);
        all.push(Arc::downgrade(&counters));
        counters
    }

    /// Adds `count` to one of the counters.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// The ring thread looks for commands: what it finds came with this kick.
    pub fn look(&self) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.looked.store(now, Ordering::Relaxed);
    }

    /// When the ring thread last looked for commands.
    pub fn looked(&self) -> Instant {
        self.start + Duration::from_nanos(self.looked.load(Ordering::Relaxed))
    }

    /// Logs all of them in one line.
    pub fn log(&self) {
        tracing::info!("stats: {self}");
    }

    /// As [`log`](Self::log), of what any program in a guest can cause: only for those who ask.
    pub fn log_for_debugging(&self) {
        tracing::debug!("stats: {self}");
    }
}

/// Logs a line for every VMM that is served.
pub fn log_all() {
    let all: Vec<_> = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    if all.is_empty() {
        tracing::info!("stats: no VMM is connected");
    }
    for counters in all {
        counters.log();
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, counter) in [
            ("frames", &self.frames),
            ("raw_bytes_copied", &self.raw_bytes_copied),
            ("coded_bytes_copied", &self.coded_bytes_copied),
            ("coded_bytes", &self.coded_bytes),
            ("maps", &self.maps),
            ("unmaps", &self.unmaps),
            ("udmabufs", &self.udmabufs),
            ("kicks", &self.kicks),
            ("interrupts", &self.interrupts),
            ("dequeues", &self.dequeues),
            ("device_calls", &self.device_calls),
        ] {
            write!(f, "{name}={} ", counter.load(Ordering::Relaxed))?;
        }
        self.kick_to_push.write(f, "latency_in")?;
        f.write_str(" ")?;
        self.coded_to_signal.write(f, "latency_out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_keys_and_values() {
        let counters = Counters::default();
        Counters::add(&counters.frames, 2);
        counters.kick_to_push.add(Duration::from_nanos(1000));
        let line = counters.to_string();
        let value = |key: &str| {
            line.split(' ')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.parse::<u64>().unwrap())
        };
        assert_eq!(value("frames"), Some(2));
        assert_eq!(value("interrupts"), Some(0));
        assert_eq!(value("latency_in_sum"), Some(1000));
        assert_eq!(value("latency_in_count"), Some(1));
        assert_eq!(value("latency_in_max"), Some(1000));
        assert_eq!(value("latency_out_count"), Some(0));
    }

    #[test]
    fn the_last_look_is_in_the_past_and_moves_on() {
        let counters = Counters::default();
        counters.look();
        let first = counters.looked();
        counters.look();
        assert!(counters.looked() >= first && counters.looked() <= Instant::now());
    }
}
