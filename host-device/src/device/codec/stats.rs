// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a session did, for the line in the log when it ends.

use std::time::Instant;

/// Counts of a session.
#[derive(Debug, Default)]
pub struct Stats {
    /// Frames that were given to a codec.
    pub taken: u64,
    /// Frames that came back encoded.
    pub coded: u64,
    /// Frames that a codec failed on: their CAPTURE buffers carry `V4L2_BUF_FLAG_ERROR`.
    pub failed: u64,
    /// Coded frames that were too large for their CAPTURE buffer.
    pub overflowed: u64,
    /// Frames that STREAMOFF threw away, as it is meant to.
    pub discarded: u64,
    /// Times that a frame was encoded once more, as it was too large for its CAPTURE buffer.
    pub again: u64,
    /// Bytes of coded frames.
    pub bytes: u64,
    span: Option<(Instant, Instant)>,
}

impl Stats {
    /// A frame was encoded to so many bytes, by `now`.
    pub fn frame(&mut self, bytes: usize, now: Instant) {
        self.coded += 1;
        self.bytes += bytes as u64;
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
    }

    /// The last frame, of so many bytes, is encoded once more.
    pub fn unframe(&mut self, bytes: usize) {
        self.coded = self.coded.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.again += 1;
    }

    /// Logs the summary. `interval` is the frame interval in seconds.
    pub fn log(&self, interval: f64) {
        if self.taken == 0 {
            tracing::debug!("session ends without a frame");
            return;
        }
        let seconds = self
            .span
            .map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        let fps = if seconds > 0.0 {
            (self.coded.saturating_sub(1)) as f64 / seconds
        } else {
            0.0
        };
        let kbits = if self.coded > 0 {
            self.bytes as f64 * 8.0 / (self.coded as f64 * interval) / 1000.0
        } else {
            0.0
        };
        tracing::info!(
            "session ends: {} frames, {fps:.1} frames/s, {kbits:.0} kbit/s, {} failed, \
             {} overflowed, {} encoded again, {} discarded by STREAMOFF, dropped {}",
            self.coded,
            self.failed,
            self.overflowed,
            self.again,
            self.discarded,
            self.taken
                .saturating_sub(self.coded + self.failed + self.discarded),
        );
    }
}
