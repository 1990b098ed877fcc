// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! dmabufs of other devices.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::mman::munmap;
use nix::sys::statfs::fstatfs;
use nix::unistd::{Whence, lseek};

use super::budget;
use super::bytes::{Bytes, Mapped, MappedDmabuf};
use super::costs::Costs;
use super::ledger::MemoryCharge;
use super::mapping::{Access, map_whole};
use super::truncated::is_sealed;
use crate::counters::Counters;

/// `DMA_BUF_MAGIC`: the file system that dmabufs are files of.
const DMA_BUF_MAGIC: u64 = 0x444d_4142;

/// A dmabuf of another device, mapped for as long as it lives.
///
/// # Invariants
///
/// `base` is the start of `bytes.len()` bytes of a mapping that is ours alone and lives as long as
/// `self`; the file behind it cannot shrink.
#[derive(Debug)]
pub struct Import {
    bytes: Bytes,
    base: NonNull<c_void>,
    fd: OwnedFd,
    counters: Arc<Counters>,
    _share: budget::MappingCharge,
    /// Its memory is another device's, but as long as it is mapped it stays.
    _charge: MemoryCharge,
}

// SAFETY: The mapping belongs to `self` alone, and its content is only touched as memory that
// others may change at any time.
unsafe impl Send for Import {}
// SAFETY: As above; no method needs exclusive access.
unsafe impl Sync for Import {}

/// Whether the file behind `fd` keeps its size: a dmabuf, or a memfd that is sealed.
fn keeps_its_size(fd: &OwnedFd) -> bool {
    let is_dmabuf =
        fstatfs(fd).is_ok_and(|file| file.filesystem_type().0.cast_unsigned() == DMA_BUF_MAGIC);
    is_dmabuf || is_sealed(fd)
}

impl Import {
    /// Maps all of `fd`. `EINVAL` if it is no dmabuf, or one that the CPU cannot read; `ENOMEM` if
    /// there is no room.
    pub(super) fn new(fd: OwnedFd, access: Access, costs: &Costs) -> Result<Arc<Self>, Errno> {
        if !keeps_its_size(&fd) {
            tracing::warn!("the VMM gave a file for an object that is no dmabuf");
            return Err(Errno::EINVAL);
        }
        let size = lseek(&fd, 0, Whence::SeekEnd)
            .ok()
            .and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?))
            .ok_or(Errno::EINVAL)?;
        let share = budget::MappingCharge::new(&costs.share, 1)?;
        let charge = costs.ledger.charge(size.get())?;
        let counters = Arc::clone(&costs.counters);
        Counters::add(&counters.maps, 1);
        let base = map_whole(&fd, size, access).map_err(|errno| {
            tracing::warn!("a dmabuf of another device cannot be mapped: {errno}");
            Errno::EINVAL
        })?;
        Ok(Arc::new(Self {
            // SAFETY: As the type's invariants say: it is unmapped when `self` is dropped.
            bytes: unsafe { Bytes::new(base.cast(), size.get(), access == Access::ReadWrite) },
            base,
            fd,
            counters,
            _share: share,
            _charge: charge,
        }))
    }

    /// The dmabuf.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A range of it. `EINVAL` when the range is empty or not inside.
    pub(super) fn mapped(&self, range: &Range<usize>) -> Result<Mapped<'_>, Errno> {
        let dmabuf = MappedDmabuf {
            fd: self.fd.as_fd(),
            base: self.base.cast(),
            foreign: true,
        };
        self.bytes.mapped(range, Some(dmabuf))
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        Counters::add(&self.counters.unmaps, 1);
        // SAFETY: The mapping is ours (type invariant) and nobody holds a pointer into it any more:
        // whoever uses one holds a reference to `self`.
        let _ = unsafe { munmap(self.base, self.bytes.len()) };
    }
}
