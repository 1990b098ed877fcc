// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Guest memory as one contiguous run, however scattered it is in the guest.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use protocol::wire::sg::SgEntry;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::budget;
use super::bytes::{Bytes, Mapped, MappedDmabuf};
use super::costs::Costs;
use super::ledger::MemoryCharge;
use super::mapping::{Access, PAGE_SIZE, map_whole};
use super::truncated::{Guard, is_sealed};
use super::udmabuf;
use crate::counters::Counters;

/// What the kernel notes of a mapping, and of each page in one.
const PER_MAPPING: usize = 256;
const PER_PAGE: usize = 8;

/// Most bytes that one view may have: a raw frame of 8192x8192 takes a quarter of it.
const MAX_LEN: usize = 1 << 30;

/// How pages of the guest are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportAs {
    /// A dmabuf where the host can make one, else a mapping.
    Any,
    /// A mapping whose pages a device of the host pins, which it cannot in that of a udmabuf.
    Mapped,
    /// A dmabuf.
    Dmabuf,
}

/// A run of whole pages of one file of the guest's memory.
#[derive(Debug)]
struct Run<'a> {
    file: &'a Arc<std::fs::File>,
    offset: u64,
    len: usize,
}

/// Imported guest memory, mapped in one piece for as long as it lives.
///
/// It is a mapping of the guest's files on its own: it stays valid, and the memory stays, when the
/// VMM takes the memory away from the guest.
///
/// # Invariants
///
/// `base` is the start of `mapped` bytes of mappings that are ours alone and live as long as
/// `self`; `bytes` lies inside.
#[derive(Debug)]
pub struct View {
    bytes: Bytes,
    base: NonNull<c_void>,
    mapped: usize,
    /// The same memory, where the host can make one.
    dmabuf: Option<OwnedFd>,
    counters: Arc<Counters>,
    /// Mappings of the kernel's.
    share: Option<budget::MappingCharge>,
    /// Memory.
    _charge: MemoryCharge,
    /// For files that can be cut short.
    guard: Option<Guard>,
}

// SAFETY: The mapping belongs to `self` alone, and its content is only touched as memory that
// others may change at any time.
unsafe impl Send for View {}
// SAFETY: As above; no method needs exclusive access.
unsafe impl Sync for View {}

/// Bytes of `address` into its page.
fn in_page(address: u64) -> usize {
    (address % PAGE_SIZE as u64) as usize
}

/// The files behind `entries`, in whole pages and as few runs as can be; where in the first page
/// they start; and how many bytes they have.
///
/// # Errors
///
/// `EINVAL` if they have a page in part, but for the start of the first and the end of the last;
/// `EFAULT` if there is no memory where they are.
fn runs<'a>(
    guest: &'a GuestMemoryMmap,
    entries: &[SgEntry],
) -> Result<(Vec<Run<'a>>, usize, usize), Errno> {
    let start = in_page(entries.first().ok_or(Errno::EINVAL)?.start);
    let last = entries.len() - 1;
    let mut runs: Vec<Run<'a>> = Vec::new();
    let mut len = 0_usize;
    for (at, entry) in entries.iter().enumerate() {
        let end = entry
            .start
            .checked_add(entry.len.into())
            .ok_or(Errno::EINVAL)?;
        if entry.len == 0
            || (at != 0 && in_page(entry.start) != 0)
            || (at != last && in_page(end) != 0)
        {
            return Err(Errno::EINVAL);
        }
        len = len
            .checked_add(entry.len as usize)
            .filter(|len| *len <= MAX_LEN)
            .ok_or(Errno::EINVAL)?;
        // Whole pages from here on.
        let mut page = entry.start - in_page(entry.start) as u64;
        let end = end
            .checked_next_multiple_of(PAGE_SIZE as u64)
            .ok_or(Errno::EINVAL)?;
        while page < end {
            let run = run(guest, page, end)?;
            page += run.len as u64;
            match runs.last_mut() {
                Some(before)
                    if Arc::ptr_eq(before.file, run.file)
                        && before.offset + before.len as u64 == run.offset =>
                {
                    before.len += run.len;
                }
                _ => runs.push(run),
            }
        }
    }
    Ok((runs, start, len))
}

/// As much of the guest's memory from `page` to `end` as is in one region.
fn run(guest: &GuestMemoryMmap, page: u64, end: u64) -> Result<Run<'_>, Errno> {
    let region = guest.find_region(GuestAddress(page)).ok_or(Errno::EFAULT)?;
    let file = region.file_offset().ok_or(Errno::EFAULT)?;
    let first = region.start_addr().0;
    let offset = file
        .start()
        .checked_add(page - first)
        .ok_or(Errno::EFAULT)?;
    let len = end.min(first + region.len()) - page;
    // A region of a VMM that does not care for pages.
    if in_page(offset) != 0 || in_page(len) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Run {
        file: file.arc(),
        offset,
        len: len as usize,
    })
}

/// Whether the VMM can cut one of the files short.
fn can_shrink(runs: &[Run<'_>]) -> bool {
    let mut sealed: Vec<&Arc<std::fs::File>> = Vec::new();
    runs.iter().any(|run| {
        let known = sealed.iter().any(|file| Arc::ptr_eq(file, run.file));
        if !known && is_sealed(run.file) {
            sealed.push(run.file);
        } else if !known {
            return true;
        }
        false
    })
}

/// Reserves `size` bytes of addresses.
fn reserve(size: NonZeroUsize) -> Result<NonNull<c_void>, Errno> {
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: A new mapping at an address of the kernel's choice touches nothing that exists.
    unsafe { mmap_anonymous(None, size, ProtFlags::PROT_NONE, flags) }
}

/// Bytes that the kernel takes for `count` mappings of so many bytes.
fn tables(bytes: usize, count: usize) -> usize {
    count * PER_MAPPING + bytes.div_ceil(PAGE_SIZE) * PER_PAGE
}

/// A udmabuf, where it is mapped, and what it costs: it keeps its pages, whatever becomes of them
/// in the guest.
type Udmabuf = (OwnedFd, NonNull<c_void>, MemoryCharge);

/// A udmabuf of `runs`. `None` if the host can make none, `ENOMEM` if that is more than the VM may
/// have.
fn dmabuf(
    runs: &[Run<'_>],
    size: NonZeroUsize,
    access: Access,
    costs: &Costs,
) -> Result<Option<Udmabuf>, Errno> {
    let pieces: Vec<_> = runs
        .iter()
        .map(|run| (run.file.as_fd(), run.offset, run.len))
        .collect();
    if !udmabuf::takes(&pieces) {
        return Ok(None);
    }
    let bytes = size.get();
    let cost = bytes + udmabuf::cost(bytes) + tables(bytes, 1);
    let charge = costs.ledger.charge(cost)?;
    let Some(fd) = udmabuf::create(&pieces) else {
        return Ok(None);
    };
    Counters::add(&costs.counters.udmabufs, 1);
    let base = map_whole(&fd, size, access).inspect_err(|errno| {
        tracing::debug!("a dmabuf of guest memory cannot be mapped: {errno}");
    });
    Ok(base.ok().map(|base| (fd, base, charge)))
}

/// Mappings that the kernel has of a view of `runs`: of its udmabuf, or of each run, and of the
/// addresses that were reserved for them.
fn mappings(runs: &[Run<'_>], is_dmabuf: bool) -> usize {
    if is_dmabuf { 1 } else { runs.len() + 1 }
}

/// What a view of `runs` is made of: a udmabuf that is mapped, or addresses that are reserved, and
/// what either costs.
fn back(
    runs: &[Run<'_>],
    size: NonZeroUsize,
    (access, form, keeps_pages): (Access, ImportAs, bool),
    costs: &Costs,
) -> Result<(Option<OwnedFd>, NonNull<c_void>, MemoryCharge), Errno> {
    let mapped = size.get();
    let may_pin = match form {
        ImportAs::Any => keeps_pages,
        ImportAs::Mapped => false,
        ImportAs::Dmabuf => true,
    };
    let dmabuf = match may_pin.then(|| dmabuf(runs, size, access, costs)) {
        Some(Err(errno)) if form == ImportAs::Dmabuf => return Err(errno),
        made => made.and_then(Result::ok).flatten(),
    };
    if let Some((fd, base, charge)) = dmabuf {
        return Ok((Some(fd), base, charge));
    }
    if form == ImportAs::Dmabuf {
        tracing::warn!(
            "no dmabuf of guest memory: {mapped} bytes in {} pieces (see parameters of udmabuf)",
            runs.len()
        );
        return Err(Errno::EINVAL);
    }
    let pinned = if form == ImportAs::Mapped { mapped } else { 0 };
    let tables = tables(mapped, mappings(runs, false));
    let charge = costs.ledger.charge(pinned + tables)?;
    Ok((None, reserve(size)?, charge))
}

impl View {
    /// Maps what `entries` name, for `access`, in that form, at these `costs`. `keeps_pages` says
    /// that the driver keeps the pages where they are, so that they may be pinned.
    ///
    /// # Errors
    ///
    /// As [`Vm::view`](super::Vm::view).
    pub(super) fn new(
        guest: &GuestMemoryMmap,
        entries: &[SgEntry],
        (access, form): (Access, ImportAs),
        (keeps_pages, costs): (bool, &Costs),
    ) -> Result<Arc<Self>, Errno> {
        let (runs, start, len) = runs(guest, entries)?;
        let mapped: usize = runs.iter().map(|run| run.len).sum();
        let size = NonZeroUsize::new(mapped).ok_or(Errno::EINVAL)?;
        let (dmabuf, base, charge) = back(&runs, size, (access, form, keeps_pages), costs)?;
        let count = mappings(&runs, dmabuf.is_some());
        let counters = &costs.counters;
        Counters::add(&counters.maps, count as u64);
        // From here on dropping it unmaps all of it, whatever is mapped there by then.
        let mut view = Self {
            // SAFETY: `runs` has `len` bytes from `start`, which is in the first page.
            // Nobody touches them before all runs are mapped: `view` does not leave this function
            // before.
            bytes: unsafe {
                let address = base.cast::<u8>().byte_add(start);
                Bytes::new(address, len, access == Access::ReadWrite)
            },
            base,
            mapped,
            dmabuf,
            counters: Arc::clone(counters),
            share: None,
            _charge: charge,
            guard: None,
        };
        view.share = Some(
            budget::MappingCharge::new(&costs.share, count).inspect_err(|_| {
                tracing::warn!(
                    "a buffer in {} pieces of guest memory needs more mappings than are left: \
                 raise vm.max_map_count",
                    runs.len()
                );
            })?,
        );
        if view.dmabuf.is_none() {
            view.map(&runs, access)?;
            if can_shrink(&runs) {
                // SAFETY: `Bytes` gives nobody a reference to the content, and `drop` ends the
                // guard before the mapping.
                let guard = unsafe { Guard::new(base.as_ptr().expose_provenance(), mapped) };
                view.guard = Some(guard?);
            }
        }
        Ok(Arc::new(view))
    }

    /// Maps `runs` in the place of the reserved addresses.
    fn map(&self, runs: &[Run<'_>], access: Access) -> Result<(), Errno> {
        let mut done = 0;
        for run in runs {
            let address = NonZeroUsize::new(self.base.as_ptr() as usize + done);
            let offset = i64::try_from(run.offset).map_err(|_| Errno::EFAULT)?;
            // SAFETY: It takes the place of a part of the mapping that `base` is the start of,
            // which is ours and nobody uses yet: `runs` has as many bytes as that.
            unsafe {
                mmap(
                    address,
                    NonZeroUsize::new(run.len).ok_or(Errno::EINVAL)?,
                    access.protection(),
                    MapFlags::MAP_SHARED | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE,
                    run.file,
                    offset,
                )
            }
            .inspect_err(|errno| tracing::warn!("cannot map memory of the guest: {errno}"))?;
            done += run.len;
        }
        Ok(())
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it keeps the pages that were there when it was made: a mapping has those that are
    /// there now.
    pub(super) fn pins(&self) -> bool {
        self.dmabuf.is_some()
    }

    /// The same memory from its first byte on as a dmabuf, if there is one, and that byte is the
    /// first of a page.
    pub(super) fn dmabuf(&self) -> Option<BorrowedFd<'_>> {
        let starts = self.bytes.address() == self.base.cast();
        self.dmabuf.as_ref().filter(|_| starts).map(AsFd::as_fd)
    }

    /// A range of it. `EINVAL` when the range is empty or not inside.
    pub(super) fn mapped(&self, range: &Range<usize>) -> Result<Mapped<'_>, Errno> {
        let dmabuf = self.dmabuf.as_ref().map(|fd| MappedDmabuf {
            fd: fd.as_fd(),
            base: self.base.cast(),
            foreign: false,
        });
        self.bytes.mapped(range, dmabuf)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        Counters::add(&self.counters.unmaps, 1);
        self.guard = None;
        // SAFETY: The mapping is ours (type invariant) and nobody holds a pointer into it any more:
        // whoever uses one holds a reference to `self`.
        let _ = unsafe { munmap(self.base, self.mapped) };
    }
}

#[cfg(test)]
mod tests;
