// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory that clients lend with their buffers.

use nix::errno::Errno;

use super::uapi::*;
use crate::device::{Lent, Result};
use crate::memory::{Access, Lending, PlaneMemory, Vm};

/// What the two queues of a session were lent.
#[derive(Debug)]
pub struct LentMemory {
    output: Lending,
    capture: Lending,
}

impl LentMemory {
    /// Nothing yet, for a session of `vm`.
    pub fn new(vm: &Vm) -> Self {
        Self {
            output: Lending::new(vm, Access::Read),
            capture: Lending::new(vm, Access::ReadWrite),
        }
    }

    /// That of the queue of type `buf_type`.
    pub fn of(&self, buf_type: u32) -> &Lending {
        if buf_type == OUTPUT {
            &self.output
        } else {
            &self.capture
        }
    }

    /// The memory behind `lent`, with which buffer `index` of a queue of `count` is queued. `lengths` are those of its
    /// planes; there are none if it needs no memory.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `lent` is not what it should be, or what the memory layer refuses it with.
    pub fn get(
        &self,
        (buf_type, count): (u32, u32),
        index: u32,
        lent: Lent,
        lengths: &[u32],
    ) -> Result<Vec<PlaneMemory>> {
        if lengths.is_empty() {
            return Ok(Vec::new());
        }
        let lending = self.of(buf_type);
        // Each buffer may take turns with a second piece of memory.
        let room = 2 * count as usize * lengths.len();
        match lent {
            Lent::Nothing => Err(Errno::EINVAL),
            Lent::Pages(lists) if lists.len() >= lengths.len() => lists
                .into_iter()
                .zip(lengths)
                .map(|(entries, length)| {
                    let covered: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
                    if covered != u64::from(*length) {
                        return Err(Errno::EINVAL);
                    }
                    lending.pages(index, entries, room)
                })
                .collect(),
            Lent::Objects(uuids) if uuids.len() >= lengths.len() => uuids
                .into_iter()
                .zip(lengths)
                .map(|(uuid, length)| lending.object(index, uuid, *length, room))
                .collect(),
            Lent::Pages(_) | Lent::Objects(_) => Err(Errno::EINVAL),
        }
    }
}
