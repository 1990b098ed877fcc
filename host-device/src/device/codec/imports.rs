// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory that is imported with clients' buffers.

use crate::device::api::{Result, WireMemory};
use crate::memory::{Access, ImportAs, ImportCache, PlaneMemory, Vm};
use crate::v4l2::core::uapi::*;

/// What the two queues of a session have imported.
#[derive(Debug)]
pub struct Imports {
    output: ImportCache,
    capture: ImportCache,
}

impl Imports {
    /// Nothing yet, for a session of `vm`.
    pub fn new(vm: &Vm) -> Self {
        Self {
            output: ImportCache::new(vm, Access::Read, ImportAs::Any),
            capture: ImportCache::new(vm, Access::ReadWrite, ImportAs::Any),
        }
    }

    /// That of the queue of type `buf_type`.
    pub fn of(&self, buf_type: u32) -> &ImportCache {
        if buf_type == OUTPUT {
            &self.output
        } else {
            &self.capture
        }
    }

    /// The memory behind `wire`, with which buffer `index` of a queue of `count` is queued.
    /// `lengths` are those of its planes; there are none if it needs no memory.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `wire` is not what it should be, or what the memory layer refuses it with.
    pub fn get(
        &self,
        (buf_type, count): (u32, u32),
        index: u32,
        wire: WireMemory,
        lengths: &[u32],
    ) -> Result<Vec<PlaneMemory>> {
        // A client may alternate between two pieces of memory with each buffer.
        let capacity = 2 * count as usize * lengths.len();
        wire.import(self.of(buf_type), index, lengths, capacity)
    }
}
