// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Mapped memory that others change at any time.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BS;

/// A run of mapped memory, without the mapping itself. The owner of the mapping embeds this.
///
/// Guest, VMM or another process may write to it at any time. So the host never forms a reference
/// to its content: it copies in and out, or hands the address to code that expects memory to
/// change.
///
/// # Invariants
///
/// `address` is the start of `len` bytes of a shared mapping, which is readable, and writable if
/// `writable` says so, for as long as `self` lives.
#[derive(Debug)]
pub(super) struct Bytes {
    address: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: The content is only touched as memory that others may change at any time.
unsafe impl Send for Bytes {}
// SAFETY: As above; no method needs exclusive access.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// The `len` bytes at `address`.
    ///
    /// # Safety
    ///
    /// They must be what the type's invariants say, for as long as the result lives.
    pub(super) unsafe fn new(address: NonNull<u8>, len: usize, writable: bool) -> Self {
        Self {
            address,
            len,
            writable,
        }
    }

    pub(super) fn address(&self) -> NonNull<u8> {
        self.address
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies `data` in at `offset`. `EINVAL` when it does not fit, `EACCES` if this is only for
    /// reading.
    pub(super) fn write_at(&self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        if !self.writable {
            return Err(Errno::EACCES);
        }
        self.slice(offset, data.len())?.copy_from(data);
        Ok(())
    }

    /// Copies out to `data` from `offset`. `EINVAL` when there is less.
    pub(super) fn read_at(&self, offset: usize, data: &mut [u8]) -> Result<(), Errno> {
        self.slice(offset, data.len())?.copy_to(data);
        Ok(())
    }

    fn slice(&self, offset: usize, len: usize) -> Result<VolatileSlice<'_, BS<'_, ()>>, Errno> {
        let range = offset..offset.checked_add(len).ok_or(Errno::EINVAL)?;
        self.check(&range)?;
        // SAFETY: `check` found the range inside the mapping, which lives as long as `self` (type
        // invariant). The memory is accessed as volatile only, and written to only by `write_at`,
        // which checks that it may be.
        Ok(unsafe { VolatileSlice::new(self.address.as_ptr().add(range.start), len) })
    }

    /// The length of `range`. `EINVAL` if it is not inside.
    fn check(&self, range: &Range<usize>) -> Result<usize, Errno> {
        if range.end > self.len {
            return Err(Errno::EINVAL);
        }
        range.end.checked_sub(range.start).ok_or(Errno::EINVAL)
    }

    /// A range of it, as a part of the mapping of `dmabuf` if there is one. `EINVAL` when the range
    /// is empty or not inside.
    pub(super) fn mapped<'a>(
        &'a self,
        range: &Range<usize>,
        dmabuf: Option<MappedDmabuf<'a>>,
    ) -> Result<Mapped<'a>, Errno> {
        let len = self.check(range)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Mapped {
            // SAFETY: `check` found the range inside the mapping (type invariant).
            address: unsafe { self.address.add(range.start) },
            len,
            dmabuf,
        })
    }
}

/// A dmabuf and its standing mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappedDmabuf<'a> {
    /// The dmabuf.
    pub(crate) fd: BorrowedFd<'a>,
    /// Where it is mapped, from its start.
    pub(crate) base: NonNull<u8>,
    /// A device may have written to it: the CPU must synchronise before it reads.
    pub(crate) foreign: bool,
}

/// A range of mapped memory. Others may change its content at any time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped<'a> {
    /// The first byte.
    pub(crate) address: NonNull<u8>,
    /// Length in bytes.
    pub(crate) len: usize,
    /// The dmabuf whose mapping the range is a part of, if there is one.
    pub(crate) dmabuf: Option<MappedDmabuf<'a>>,
}
