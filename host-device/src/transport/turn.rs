// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How much of a ring the ring thread serves at a time.
//!
//! The guest can add buffers as fast as they are taken; if its used ring overlapped the available
//! ring, returning a buffer would even add the next one. So a ring is not served until it is empty,
//! but for a bounded turn. Between two turns the ring thread does its other work.

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
