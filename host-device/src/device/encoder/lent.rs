// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory that clients lend with their buffers.

use crate::device::api::{Lent, Result};
use crate::memory::{Access, Form, Lending, PlaneMemory, Vm};
use crate::v4l2::core::uapi::*;

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
            output: Lending::new(vm, Access::Read, Form::Any),
            capture: Lending::new(vm, Access::ReadWrite, Form::Any),
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

    /// The memory behind `lent`, with which buffer `index` of a queue of `count` is queued.
    /// `lengths` are those of its planes; there are none if it needs no memory.
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
        // Each buffer may take turns with a second piece of memory.
        let room = 2 * count as usize * lengths.len();
        lent.memory(self.of(buf_type), index, lengths, room)
    }
}
