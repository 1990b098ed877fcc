// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How much of a ring is worked off at a time.
//!
//! The guest can add buffers as fast as they are taken, and by a ring that is written where it is
//! read a buffer that goes back can even add the next one. So nobody works on a ring until it is
//! empty: each call has a turn, and the ring thread goes on in the next one, after everything else
//! that waits for it.

/// Descriptors in a turn. A chain that is under way is read to its end.
const DESCRIPTORS: usize = 4096;

/// Commands in a turn, if they are short.
const COMMANDS: usize = 64;

/// What is left of a turn.
#[derive(Debug)]
pub(super) struct Turn(usize);

impl Turn {
    pub(super) fn new() -> Self {
        Self(DESCRIPTORS)
    }

    /// A command was taken off the ring.
    pub(super) fn command(&mut self) {
        self.spend(DESCRIPTORS / COMMANDS);
    }

    /// A descriptor was looked at, and so many bytes of it were copied: a page costs as much as
    /// another descriptor.
    pub(super) fn descriptor(&mut self, bytes: usize) {
        self.spend(1 + (bytes >> 12));
    }

    fn spend(&mut self, cost: usize) {
        self.0 = self.0.saturating_sub(cost);
    }

    /// Whether it is over. There may be more to do.
    pub(super) fn is_over(&self) -> bool {
        self.0 == 0
    }
}
