// SPDX-License-Identifier: GPL-2.0

//! Memory of the guest: pages of a process, pages of one's own, and where they are.

use super::changes::Changes;
use crate::bindings;
use core::ops::Range;
use kernel::page::{Page, PAGE_SIZE};
use kernel::prelude::*;

/// Where memory is, in runs of guest-physical addresses. Neighbours are one run.
#[derive(Default)]
pub(crate) struct Runs(KVVec<Range<u64>>);

impl Runs {
    /// No memory.
    pub(crate) const fn new() -> Self {
        Self(KVVec::new())
    }

    /// Adds `len` bytes from guest-physical address `start` on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` at the end of the address space.
    pub(crate) fn push(&mut self, start: u64, len: u64) -> Result {
        let end = start.checked_add(len).ok_or(EINVAL)?;
        match self.0.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ if start == end => {}
            _ => self.0.push(start..end, GFP_KERNEL_ACCOUNT)?,
        }
        Ok(())
    }

    /// The runs, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }
}

/// Adds the part of `pages` that starts after `offset` bytes and has `len`.
fn add_pages(
    runs: &mut Runs,
    pages: impl Iterator<Item = *mut bindings::page>,
    offset: usize,
    len: usize,
) -> Result {
    let (mut offset, mut left) = (offset, len);
    for page in pages {
        let part = (PAGE_SIZE - offset).min(left);
        // SAFETY: The callers own the pages.
        let start = unsafe { bindings::v4l2_helper_page_to_phys(page) };
        runs.push(start + offset as u64, part as u64)?;
        left -= part;
        offset = 0;
    }
    Ok(())
}

/// Memory of a process that stays where it is, until this is dropped.
///
/// As with videobuf2 it does not count against `RLIMIT_MEMLOCK`, whose usual 8 MiB are a few
/// frames.
///
/// # Invariants
///
/// Each of `pages` has a pin of `pin_user_pages_fast` with `FOLL_LONGTERM`.
pub(crate) struct PinnedPages {
    pages: KVVec<*mut bindings::page>,
    addr: usize,
    offset: usize,
    len: usize,
    writable: bool,
    changes: Changes,
}

// SAFETY: Pins may be given back by any task.
unsafe impl Send for PinnedPages {}
// SAFETY: There is nothing to be changed.
unsafe impl Sync for PinnedPages {}

impl PinnedPages {
    /// Pins `len` bytes from `addr` on of the calling process's memory, for a device that reads it
    /// or, if `writable`, writes to it.
    ///
    /// # Errors
    ///
    /// - `EFAULT`: the process has no such memory, or may not write to it, or it is of a device.
    /// - `EINVAL`: `len` is 0.
    /// - `ENOMEM`.
    pub(crate) fn new(addr: usize, len: usize, writable: bool) -> Result<Self> {
        if len == 0 {
            return Err(EINVAL);
        }
        let offset = addr % PAGE_SIZE;
        addr.checked_add(len).ok_or(EFAULT)?;
        let count = (offset + len).div_ceil(PAGE_SIZE);
        // First: what changes from here on is seen.
        let changes = Changes::watch(addr - offset, count * PAGE_SIZE)?;
        let mut this = Self {
            pages: KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?,
            addr,
            offset,
            len,
            writable,
            changes,
        };
        let mut flags = bindings::FOLL_LONGTERM;
        if writable {
            flags |= bindings::FOLL_WRITE;
        }
        while this.pages.len() < count {
            let have = this.pages.len();
            let spare = this.pages.spare_capacity_mut();
            let wanted = (count - have).min(spare.len()).min(i32::MAX as usize);
            // SAFETY: There is capacity for as many pointers. The function checks addresses.
            let got = unsafe {
                bindings::pin_user_pages_fast(
                    addr - offset + have * PAGE_SIZE,
                    wanted as i32,
                    flags,
                    spare.as_mut_ptr().cast(),
                )
            };
            // Dropping `this` undoes what has been pinned so far.
            let got = match got {
                1.. => (got as usize).min(wanted),
                0 => return Err(EFAULT),
                error => return Err(Error::from_errno(error)),
            };
            // SAFETY: So many were written. INVARIANT: They have been pinned.
            unsafe { this.pages.inc_len(got) };
        }
        Ok(this)
    }

    /// Whether it is the memory of these addresses: `len` bytes from `addr` on.
    pub(crate) fn is_at(&self, addr: usize, len: usize) -> bool {
        (self.addr, self.len) == (addr, len)
    }

    /// Whether the calling process may have other pages at these addresses: it is another process,
    /// or has unmapped the memory (as `free(3)` does), or written to what was shared before.
    pub(crate) fn are_stale(&self) -> bool {
        self.changes.seen() || !self.changes.is_of_caller()
    }

    /// Adds where the memory is.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn runs(&self, runs: &mut Runs) -> Result {
        add_pages(runs, self.pages.iter().copied(), self.offset, self.len)
    }
}

impl Drop for PinnedPages {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. May sleep, as pages that a device wrote to are locked.
        unsafe {
            bindings::unpin_user_pages_dirty_lock(
                self.pages.as_mut_ptr(),
                self.pages.len(),
                self.writable,
            );
        }
    }
}

/// Pages of the driver's own, zero at first.
pub(crate) struct OwnPages(KVVec<Page>);

impl OwnPages {
    /// Pages for `len` bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let count = len.div_ceil(PAGE_SIZE);
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        while pages.len() < count {
            let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
            pages.push(page, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self(pages))
    }

    /// How many bytes of such pages make sense at once: half of the memory that there is.
    pub(crate) fn limit() -> u64 {
        // SAFETY: May always be called.
        let pages = unsafe { bindings::v4l2_helper_ram_pages() };
        pages as u64 * PAGE_SIZE as u64 / 2
    }

    /// How many pages there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The pages in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = *mut bindings::page> + '_ {
        self.0.iter().map(Page::as_ptr)
    }

    /// The pages in order, as the C side wants them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn list(&self) -> Result<KVVec<*mut bindings::page>> {
        let mut list = KVVec::with_capacity(self.count(), GFP_KERNEL_ACCOUNT)?;
        for page in self.iter() {
            list.push(page, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(list)
    }

    /// Adds where the first `len` bytes are.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn runs(&self, len: usize, runs: &mut Runs) -> Result {
        add_pages(runs, self.iter(), 0, len)
    }
}
