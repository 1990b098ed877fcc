// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One file for all MMAP buffers of a VM, which the VMM maps once.
//!
//! A mapping of each buffer on its own costs a round trip through the VMM, a memory slot of KVM and
//! one of vhost-user; and QEMU 11.1 does not survive a reset of a device that has such slots.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::mman::munmap;
use nix::sys::stat::fstat;

use super::mapping::{PAGE_SIZE, map_shared, sealed_file};

/// A sparse file of fixed size, mapped once, from which buffers take parts.
///
/// The guest sees all of it, and can write where no part is: it can make the host spend memory on
/// all of it, and no more. What it writes there is given back when memory is charged next, when a
/// part is taken there, and with the last part.
///
/// # Invariants
///
/// `address` is the start of a shared, read-write mapping of all `size` bytes of the file that
/// lives as long as `self`; the file cannot shrink.
#[derive(Debug)]
pub struct Arena {
    address: NonNull<c_void>,
    size: NonZeroUsize,
    fd: OwnedFd,
    taken: Mutex<Taken>,
}

/// Parts that are in use.
#[derive(Debug, Default)]
struct Taken {
    /// Length by offset.
    parts: BTreeMap<u64, u64>,
    /// Bytes of all of them.
    total: u64,
}

// SAFETY: The mapping belongs to `self` alone, and its content is only touched as memory that
// others may change at any time.
unsafe impl Send for Arena {}
// SAFETY: As above; no method needs exclusive access.
unsafe impl Sync for Arena {}

/// A part of an arena, free again on drop.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) arena: Arc<Arena>,
    pub(super) offset: u64,
    len: u64,
}

impl Arena {
    /// An arena of `size` bytes, in whole pages. It takes memory as it is written to.
    ///
    /// # Errors
    ///
    /// `EINVAL` for size 0, and whatever the system refuses it with.
    pub fn new(size: usize) -> Result<Arc<Self>, Errno> {
        let size = NonZeroUsize::new(size).ok_or(Errno::EINVAL)?;
        let fd = sealed_file(size)?;
        Ok(Arc::new(Self {
            address: map_shared(&fd, size)?,
            size,
            fd,
            taken: Mutex::default(),
        }))
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size.get() as u64
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part of `len` bytes, which are whole pages, all zero. `None` if no free range is long
    /// enough.
    pub(super) fn take(self: &Arc<Self>, len: u64) -> Option<Part> {
        let mut taken = self.taken();
        let parts = taken.parts.iter().map(|(&offset, &len)| (offset, len));
        let offset = first_fit(parts, 0..self.size(), len)?;
        // The guest may have written there.
        self.punch(offset, len).ok()?;
        taken.parts.insert(offset, len);
        taken.total += len;
        Some(Part {
            arena: Arc::clone(self),
            offset,
            len,
        })
    }

    /// Bytes that the file holds beyond those of its parts, after giving back what is in none.
    pub(super) fn excess(&self) -> usize {
        let taken = self.taken();
        if self.held() > taken.total {
            let mut free = 0;
            for (&offset, &len) in &taken.parts {
                if offset > free {
                    let _ = self.punch(free, offset - free);
                }
                free = offset + len;
            }
            if self.size() > free {
                let _ = self.punch(free, self.size() - free);
            }
        }
        usize::try_from(self.held().saturating_sub(taken.total)).unwrap_or(usize::MAX)
    }

    /// Bytes of memory that the file holds. All of it, if the system does not say.
    fn held(&self) -> u64 {
        fstat(&self.fd).map_or(self.size(), |stat| stat.st_blocks.cast_unsigned() * 512)
    }

    /// Gives the memory of a range back: it is zero from now on. No udmabuf of it may be read any
    /// more, which would show what was there.
    fn punch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (offset, len) = (offset.cast_signed(), len.cast_signed());
        fallocate(&self.fd, flags, offset, len)
            .inspect_err(|errno| tracing::warn!("cannot give back memory of buffers: {errno}"))
    }
}

impl Part {
    /// Where it is mapped.
    pub(super) fn address(&self) -> NonNull<c_void> {
        // SAFETY: The offset is inside the mapping of the arena, which this part keeps.
        unsafe { self.arena.address.byte_add(self.offset as usize) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.arena.taken();
        taken.parts.remove(&self.offset);
        taken.total -= self.len;
        // Fails with a line in the log; whoever gets the part next tries again.
        let _ = if taken.parts.is_empty() {
            self.arena.punch(0, self.arena.size())
        } else {
            self.arena.punch(self.offset, self.len)
        };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours (type invariant), and no part is left: each keeps the arena.
        let _ = unsafe { munmap(self.address, self.size.get()) };
    }
}

/// The lowest address in `space` with `len` bytes that none of `taken` (address and length, in
/// order) has. Lengths are whole pages, so addresses are too.
pub(super) fn first_fit(
    taken: impl Iterator<Item = (u64, u64)>,
    space: Range<u64>,
    len: u64,
) -> Option<u64> {
    debug_assert_eq!(len % PAGE_SIZE as u64, 0);
    let mut free = space.start;
    for (offset, taken) in taken {
        if offset.checked_sub(free)? >= len {
            return Some(free);
        }
        free = offset.checked_add(taken)?;
    }
    (space.end.checked_sub(free)? >= len).then_some(free)
}
