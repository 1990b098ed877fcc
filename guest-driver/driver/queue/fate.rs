// SPDX-License-Identifier: GPL-2.0

//! Whether the device may remember memory that a buffer was queued with.
//!
//! A device keeps what it has made of a buffer's memory, for the next time. It has forgotten it
//! when it has taken the buffer with other memory, and has said so.

/// What has become of the QBUFs and PREPARE_BUFs of a buffer. They have numbers, which grow.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::driver) struct Fate {
    /// The last that is not under way any more.
    resolved: u64,
    /// The last that the device has accepted.
    accepted: u64,
}

impl Fate {
    /// Number `number` is not under way: the device has answered, or it was never sent.
    pub(in crate::driver) fn resolve(&mut self, number: u64, accepted: bool) {
        self.resolved = self.resolved.max(number);
        if accepted {
            self.accepted = self.accepted.max(number);
        }
    }
}

/// The commands that named some memory, from the first to the last. Those in between named no
/// other.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::driver) struct Span(Option<(u64, u64)>);

impl Span {
    /// Number `number` names it.
    pub(in crate::driver) fn extend(&mut self, number: u64) {
        let first = self.0.map_or(number, |(first, _)| first);
        self.0 = Some((first, number));
    }

    /// Whether the device may remember the memory.
    pub(in crate::driver) fn is_remembered(&self, fate: Fate) -> bool {
        self.0.is_some_and(|(first, last)| {
            let replaced = fate.accepted > last;
            let refused = fate.accepted < first && fate.resolved >= last;
            !replaced && !refused
        })
    }
}
