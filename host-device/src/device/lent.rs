// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From what a guest names to memory.

use nix::errno::Errno;

use super::api::{Lent, Result};
use crate::memory::{Lending, PlaneMemory};

impl Lent {
    /// The memory that it names, for buffer `index` of the queue that `lending` is of. `lengths`
    /// are those of its planes; there are none if it needs no memory. `room` is as many pieces as
    /// the queue keeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not what it should be, or what the memory layer refuses it with.
    pub fn memory(
        self,
        lending: &Lending,
        index: u32,
        lengths: &[u32],
        room: usize,
    ) -> Result<Vec<PlaneMemory>> {
        if lengths.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Pages(lists) if lists.len() >= lengths.len() => lists
                .into_iter()
                .zip(lengths)
                .enumerate()
                .map(|(plane, (entries, length))| {
                    let covered: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
                    if covered != u64::from(*length) {
                        return Err(Errno::EINVAL);
                    }
                    lending.pages((index, plane), entries, room)
                })
                .collect(),
            Self::Objects(uuids) if uuids.len() >= lengths.len() => uuids
                .into_iter()
                .zip(lengths)
                .enumerate()
                .map(|(plane, (uuid, length))| lending.object((index, plane), uuid, *length, room))
                .collect(),
            _ => Err(Errno::EINVAL),
        }
    }
}
