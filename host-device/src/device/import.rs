// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From the memory that a guest names to memory that is mapped.

use nix::errno::Errno;

use super::api::{Result, WireMemory};
use crate::memory::{ImportCache, PlaneMemory};

impl WireMemory {
    /// Imports the memory that it names, for buffer `index` of the queue whose cache `imports` is.
    /// `lengths` are those of its planes; there are none if it needs no memory. `capacity` is as
    /// many pieces as the queue keeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not what it should be, or what the memory layer refuses it with.
    pub fn import(
        self,
        imports: &ImportCache,
        index: u32,
        lengths: &[u32],
        capacity: usize,
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
                    imports.pages((index, plane), entries, capacity)
                })
                .collect(),
            Self::Objects(uuids) if uuids.len() >= lengths.len() => uuids
                .into_iter()
                .zip(lengths)
                .enumerate()
                .map(|(plane, (uuid, length))| {
                    imports.object((index, plane), uuid, *length, capacity)
                })
                .collect(),
            _ => Err(Errno::EINVAL),
        }
    }
}
