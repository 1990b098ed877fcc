// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory of the guest that a program has the device import, scattered as an old kernel's is.

use std::sync::Arc;

use protocol::wire::sg::SgEntry;
use zerocopy::IntoBytes;

use crate::memory::{Block, GuestMemory};

/// Size of a page in bytes.
pub const PAGE: usize = 4096;

/// Pages of the guest, in an order of their own.
pub struct Pages {
    memory: Arc<GuestMemory>,
    /// Given back with it.
    _block: Option<Block>,
    /// Where they are, in order.
    pub entries: Vec<SgEntry>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Pages {
    /// `len` bytes in one run that begins `offset` bytes into a page.
    pub fn in_a_row(memory: &Arc<GuestMemory>, len: usize, offset: usize) -> Self {
        let block = memory.alloc(offset + len, PAGE as u64);
        let entries = vec![SgEntry::new(block.addr + offset as u64, len as u32)];
        Self {
            memory: memory.clone(),
            _block: Some(block),
            entries,
        }
    }

    /// `len` bytes in single pages, no two of which follow each other; the first byte is `offset`
    /// bytes into its page.
    pub fn scattered(memory: &Arc<GuestMemory>, len: usize, offset: usize) -> Self {
        let count = (offset + len).div_ceil(PAGE);
        let block = memory.alloc(count * PAGE, PAGE as u64);
        Self::scattered_at(memory, block.addr, len, offset).keeping(block)
    }

    /// As [`scattered`](Self::scattered), in the pages from `start`, which nobody else is to use.
    pub fn scattered_at(memory: &Arc<GuestMemory>, start: u64, len: usize, offset: usize) -> Self {
        let count = (offset + len).div_ceil(PAGE);
        // From the last to the first, the odd ones before the even ones.
        let order = (0..count)
            .rev()
            .filter(|n| n % 2 == 1)
            .chain((0..count).rev().filter(|n| n % 2 == 0));
        let mut left = len;
        let entries = order
            .enumerate()
            .map(|(at, page)| {
                let skip = if at == 0 { offset } else { 0 };
                let now = left.min(PAGE - skip);
                left -= now;
                SgEntry::new(start + (page * PAGE + skip) as u64, now as u32)
            })
            .collect();
        Self {
            memory: memory.clone(),
            _block: None,
            entries,
        }
    }

    fn keeping(mut self, block: Block) -> Self {
        self._block = Some(block);
        self
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|entry| entry.len as usize).sum()
    }

    /// As the wire has it.
    pub fn as_bytes(&self) -> &[u8] {
        self.entries.as_bytes()
    }

    /// Writes `bytes` from the start.
    pub fn write(&self, mut bytes: &[u8]) {
        for entry in &self.entries {
            let (now, later) = bytes.split_at(bytes.len().min(entry.len as usize));
            self.memory.write(entry.start, now);
            bytes = later;
        }
        assert!(bytes.is_empty(), "more than there is space for");
    }

    /// Reads `len` bytes from `start`.
    pub fn read(&self, start: usize, len: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        for entry in &self.entries {
            all.extend(self.memory.read(entry.start, entry.len as usize));
        }
        all[start..start + len].to_vec()
    }
}
