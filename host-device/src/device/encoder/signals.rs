// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! When the guest is told of buffers that the encoder thread gave back.
//!
//! Before the thread waits for anything it tells of everything, so nobody waits for a signal that does not come. While
//! it has frames to go on with, a signal may wait until as many are done as still wait: a client with one frame at a
//! time gets one for each, a client with many gets one for several and finds the encoder at work when it is back.

use std::time::{Duration, Instant};

use crate::events::Events;

/// The longest that a buffer may wait for its signal behind the next frame.
const MAX_DELAY: Duration = Duration::from_millis(10);

/// What was delivered and not signalled.
#[derive(Debug)]
pub struct Signals {
    events: Events,
    /// When the coded frames came out of the encoder.
    coded: Vec<Instant>,
    /// Raw frames.
    returned: usize,
    /// Of the oldest.
    since: Option<Instant>,
    /// When the last frame went in, and how long it took.
    frame: (Instant, Duration),
}

impl Signals {
    /// Nothing was delivered.
    pub fn new(events: &Events) -> Self {
        Self {
            events: events.quiet(),
            coded: Vec::new(),
            returned: 0,
            since: None,
            frame: (Instant::now(), Duration::ZERO),
        }
    }

    /// Where the thread delivers.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// A coded frame was delivered that came out of the encoder at `coded`.
    pub fn delivered(&mut self, coded: Instant) {
        self.coded.push(coded);
        self.since.get_or_insert(coded);
    }

    /// A frame goes into the encoder, and with it so many still wait.
    pub fn before(&mut self, waiting: usize) {
        let now = Instant::now();
        if let Some(since) = self.since {
            let done = self.coded.len().max(self.returned);
            if due(done, waiting, now - since, self.frame.1) {
                self.signal();
            }
        }
        self.frame.0 = now;
    }

    /// The encoder has taken the frame, and gave back so many.
    pub fn encoded(&mut self, returned: usize) {
        let now = Instant::now();
        self.frame.1 = now - self.frame.0;
        self.returned += returned;
        if returned > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// Tells the guest of everything.
    pub fn signal(&mut self) {
        self.events.signal();
        self.returned = 0;
        self.since = None;
        if !self.coded.is_empty() {
            let now = Instant::now();
            let latency = &self.events.counters().coded_to_signal;
            for coded in self.coded.drain(..) {
                latency.add(now - coded);
            }
        }
    }
}

/// Whether the signal for `done` buffers, of which the oldest is done since `age`, cannot wait for another frame that
/// takes `frame`, with `waiting` frames to encode.
fn due(done: usize, waiting: usize, age: Duration, frame: Duration) -> bool {
    done >= waiting || age + frame > MAX_DELAY
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);

    #[test]
    fn half_of_what_waits_shares_a_signal() {
        assert!(due(1, 1, FAST, FAST), "one frame at a time");
        assert!(!due(1, 3, FAST, FAST));
        assert!(due(2, 2, FAST, FAST));
        assert!(due(1, 0, FAST, FAST));
    }

    #[test]
    fn a_slow_encoder_holds_nothing_back() {
        assert!(due(1, 30, Duration::ZERO, MAX_DELAY + FAST));
        assert!(!due(1, 30, MAX_DELAY - 2 * FAST, FAST));
        assert!(due(1, 30, MAX_DELAY, FAST), "it has waited long enough");
    }
}
