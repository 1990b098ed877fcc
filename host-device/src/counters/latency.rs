// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A distribution of times, in fixed memory and without locks.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each power of two of nanoseconds is cut into so many equal steps: a percentile is right to a
/// quarter.
const STEPS: usize = 4;
/// Powers of two: up to 2^40 ns, which are 18 minutes.
const OCTAVES: usize = 40;

/// Times that were measured: count, sum, most, and how they are distributed.
#[derive(Debug)]
pub struct Latency {
    count: AtomicU64,
    sum: AtomicU64,
    max: AtomicU64,
    steps: [AtomicU64; STEPS * OCTAVES],
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            count: AtomicU64::default(),
            sum: AtomicU64::default(),
            max: AtomicU64::default(),
            steps: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

/// The step that a time of so many nanoseconds falls into.
fn step(nanos: u64) -> usize {
    let octave = nanos.max(STEPS as u64).ilog2();
    let within = (nanos.max(STEPS as u64) >> (octave - 2)) as usize & (STEPS - 1);
    (octave as usize * STEPS + within).min(STEPS * OCTAVES - 1)
}

/// The longest time of a step, in nanoseconds.
fn end(step: usize) -> u64 {
    let (octave, within) = (step / STEPS, (step % STEPS) as u64);
    (((STEPS as u64 + within + 1) << octave) >> 2) - 1
}

impl Latency {
    /// Adds a time.
    pub fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
        if let Some(step) = self.steps.get(step(nanos)) {
            step.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A time that so many of a hundred do not exceed, in nanoseconds, to a quarter; 0 without any.
    fn percentile(&self, percent: u64) -> u64 {
        let counts = self
            .steps
            .each_ref()
            .map(|step| step.load(Ordering::Relaxed));
        let total: u64 = counts.iter().sum();
        let mut seen = 0;
        for (at, count) in counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen * 100 >= total * percent {
                return end(at).min(self.max.load(Ordering::Relaxed));
            }
        }
        0
    }

    /// Writes it as `NAME_sum=N NAME_count=N NAME_max=N NAME_p50=N NAME_p99=N`, in nanoseconds.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        write!(
            f,
            "{name}_sum={} {name}_count={} {name}_max={} {name}_p50={} {name}_p99={}",
            self.sum.load(Ordering::Relaxed),
            self.count.load(Ordering::Relaxed),
            self.max.load(Ordering::Relaxed),
            self.percentile(50),
            self.percentile(99),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_hold_what_falls_into_them() {
        for nanos in [0, 1, 4, 5, 7, 8, 1000, 1_000_000, 1 << 39, u64::MAX] {
            let step = step(nanos);
            assert!(step < STEPS * OCTAVES);
            if nanos < 1 << 40 {
                assert!(nanos <= end(step), "{nanos}");
                assert!(nanos < 8 || nanos > end(step - 1), "{nanos}");
            }
        }
    }

    #[test]
    fn percentiles_are_right_to_a_quarter() {
        let latency = Latency::default();
        assert_eq!(latency.percentile(50), 0);
        for micros in 1..=100 {
            latency.add(Duration::from_micros(micros));
        }
        for percent in [50, 99] {
            let (exact, found) = (percent * 1000, latency.percentile(percent));
            assert!((exact..=exact + exact / 4).contains(&found), "{found}");
        }
        assert_eq!(latency.percentile(100), 100_000);
    }
}
