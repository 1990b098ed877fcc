// SPDX-License-Identifier: GPL-2.0

//! What the device has mapped into its shared memory region.

use crate::driver::channel::CommandRequest;
use kernel::prelude::*;

/// The MUNMAPs of all mappings, made when there was memory for them.
pub(super) struct Mappings {
    list: KVec<(u64, CommandRequest)>,
    next: u64,
    /// The device goes away: no more mappings.
    ended: bool,
}

impl Mappings {
    pub(super) const fn new() -> Self {
        Self {
            list: KVec::new(),
            next: 0,
            ended: false,
        }
    }

    /// Adds a mapping. Returns its ID, or the request if the device goes away.
    pub(super) fn add(&mut self, munmap: CommandRequest) -> Result<u64, CommandRequest> {
        if self.ended || self.list.reserve(1, GFP_KERNEL_ACCOUNT).is_err() {
            return Err(munmap);
        }
        let id = self.next;
        self.next += 1;
        // There is capacity.
        let _ = self.list.push_within_capacity((id, munmap));
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<CommandRequest> {
        let at = self.list.iter().position(|entry| entry.0 == id)?;
        self.list.remove(at).ok().map(|entry| entry.1)
    }

    /// How many mappings there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// From now on there are no new mappings.
    pub(super) fn close(&mut self) {
        self.ended = true;
    }

    /// Ends all mappings: returns the MUNMAPs, which the mappings do not send any more.
    pub(super) fn end(&mut self) -> impl Iterator<Item = CommandRequest> {
        let list = core::mem::replace(&mut self.list, KVec::new());
        list.into_iter().map(|entry| entry.1)
    }
}
