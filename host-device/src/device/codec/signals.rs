// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! When the guest is notified of buffers that the codec thread gave back.
//!
//! Before the thread waits for anything it signals everything, so nobody waits for a signal that
//! does not come. While it has frames to go on with, a signal may wait until more are done than
//! still wait, or one is left: a client with one frame at a time gets one for each, a client with
//! many gets one for several, and the codec has something to do until the client is back.

use std::time::{Duration, Instant};

use crate::events::Events;

/// The longest that a buffer may wait for its signal behind the next frame: about a frame at 50
/// frames a second. Only buffers wait behind which more frames are queued, which will wait for
/// longer.
const MAX_DELAY: Duration = Duration::from_millis(20);

/// What was delivered and not signalled.
#[derive(Debug)]
pub struct Signals {
    events: Events,
    /// When the coded frames came out of the codec.
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

    /// A coded frame was delivered that came out of the codec at `coded`.
    pub fn delivered(&mut self, coded: Instant) {
        self.coded.push(coded);
        self.since.get_or_insert(coded);
    }

    /// A frame goes into the codec, and with it so many still wait.
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

    /// The codec has taken the frame, and gave back so many.
    pub fn coded(&mut self, returned: usize) {
        let now = Instant::now();
        self.frame.1 = now - self.frame.0;
        self.returned += returned;
        if returned > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// Signals everything.
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

/// Whether the signal for `done` buffers, of which the oldest is done since `age`, cannot wait for
/// another frame that takes `frame`, with `waiting` frames to code.
fn due(done: usize, waiting: usize, age: Duration, frame: Duration) -> bool {
    done > waiting || waiting <= 1 || age + frame > MAX_DELAY
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);

    /// Done and waiting of `depth` frames when the first signal is due.
    fn first(depth: usize) -> (usize, usize) {
        (1..depth)
            .map(|done| (done, depth - done))
            .find(|&(done, waiting)| due(done, waiting, FAST, FAST))
            .unwrap_or((depth, 0))
    }

    #[test]
    fn more_than_half_of_what_waits_shares_a_signal() {
        assert_eq!(first(1), (1, 0));
        assert_eq!(first(2), (1, 1), "the codec is not left with nothing");
        assert_eq!(first(3), (2, 1));
        assert_eq!(first(4), (3, 1));
        assert_eq!(first(8), (5, 3));
    }

    #[test]
    fn a_slow_codec_holds_nothing_back() {
        assert!(due(1, 30, Duration::ZERO, MAX_DELAY + FAST));
        assert!(!due(1, 30, MAX_DELAY - 2 * FAST, FAST));
        assert!(due(1, 30, MAX_DELAY, FAST), "it has waited long enough");
    }
}
