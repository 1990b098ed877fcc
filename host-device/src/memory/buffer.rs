// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Buffers of the host that the guest maps.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::mman::munmap;
use nix::unistd::{Whence, lseek};

use super::arena::{Arena, Part};
use super::bytes::{Bytes, Mapped, MappedDmabuf};
use super::ledger::{Ledger, MemoryCharge};
use super::mapping::{PAGE_SIZE, map_shared, sealed_file};
use super::name::ObjectName;
use super::udmabuf;

/// What keeps the mapping of a buffer.
#[derive(Debug)]
enum Backing {
    /// A file and a mapping of its own, made by the buffer.
    Own(OwnedFd),
    /// A part of the file of all buffers of the VM.
    Part(Part),
    /// A dmabuf of a device of the host, and a mapping of its own.
    Exported(OwnedFd),
}

/// One plane of an MMAP buffer: pages of a file whose size is sealed or a dmabuf, mapped once for
/// as long as it lives.
///
/// The guest maps the same pages and may write to them at any time.
///
/// # Invariants
///
/// `bytes` is a shared, read-write mapping of whole pages that lives as long as `self`; the file
/// behind it cannot shrink. But for `Backing::Part` that is a mapping of its own, of just these
/// bytes. `len` is no more than `bytes` has.
#[derive(Debug)]
pub struct HostBuffer {
    bytes: Bytes,
    /// The same memory as a dmabuf, if it was wanted and the host can make one. It goes before the
    /// memory does.
    dmabuf: Option<OwnedFd>,
    backing: Backing,
    len: usize,
    /// What it is called as an object, if it was exported.
    name: Mutex<Option<ObjectName>>,
    _charge: Arc<MemoryCharge>,
}

impl HostBuffer {
    /// A buffer of `len` bytes, all zero, in a file of its own, of no VM.
    #[cfg(test)]
    pub(crate) fn new(len: usize) -> Result<Arc<Self>, Errno> {
        Self::new_on(&Ledger::new(1 << 30, None), len, false)
    }

    /// A buffer of `len` bytes, all zero, charged to `ledger`. It takes whole pages: a part of the
    /// ledger's arena, if that has free space, else of a file of its own. It is a dmabuf if
    /// `dmabuf` says so and the host can make one.
    ///
    /// # Errors
    ///
    /// `EINVAL` for length 0; `ENOMEM` when it would exceed the limit, or the host has no memory.
    pub(super) fn new_on(
        ledger: &Arc<Ledger>,
        len: usize,
        dmabuf: bool,
    ) -> Result<Arc<Self>, Errno> {
        let mapped = len
            .checked_next_multiple_of(PAGE_SIZE)
            .ok_or(Errno::ENOMEM)?;
        let size = NonZeroUsize::new(mapped).ok_or(Errno::EINVAL)?;
        let dmabuf = dmabuf && udmabuf::probe();
        let kernel = if dmabuf { udmabuf::cost(mapped) } else { 0 };
        let charge = Arc::new(ledger.charge(mapped.saturating_add(kernel))?);
        let part = ledger.arena().and_then(|arena| arena.take(mapped as u64));
        let (address, backing) = match part {
            Some(part) => (part.address(), Backing::Part(part)),
            None => {
                let fd = sealed_file(size)?;
                (map_shared(&fd, size)?, Backing::Own(fd))
            }
        };
        // SAFETY: As the type's invariants say, which `backing` sees to.
        let bytes = unsafe { Bytes::new(address.cast(), mapped, true) };
        let piece = match &backing {
            Backing::Own(fd) | Backing::Exported(fd) => (fd.as_fd(), 0, mapped),
            Backing::Part(part) => (part.arena.fd(), part.offset, mapped),
        };
        let dmabuf = dmabuf.then(|| udmabuf::create(&[piece])).flatten();
        Ok(Arc::new(Self {
            bytes,
            dmabuf,
            backing,
            len,
            name: Mutex::default(),
            _charge: charge,
        }))
    }

    /// The buffer of a device of the host, of `len` bytes, that it has exported as `dmabuf`. What
    /// it takes has been charged.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the dmabuf is shorter, or does not have whole pages; what the exporter refuses
    /// to be mapped with.
    pub fn exported(
        dmabuf: OwnedFd,
        len: usize,
        charge: Arc<MemoryCharge>,
    ) -> Result<Arc<Self>, Errno> {
        let size = lseek(&dmabuf, 0, Whence::SeekEnd)?;
        let size = usize::try_from(size)
            .ok()
            .and_then(NonZeroUsize::new)
            .filter(|size| size.get() >= len && size.get() % PAGE_SIZE == 0)
            .ok_or(Errno::EINVAL)?;
        let address = map_shared(&dmabuf, size)?;
        Ok(Arc::new(Self {
            // SAFETY: As the type's invariants say: the size of a dmabuf is fixed.
            bytes: unsafe { Bytes::new(address.cast(), size.get(), true) },
            dmabuf: None,
            backing: Backing::Exported(dmabuf),
            len,
            name: Mutex::default(),
            _charge: charge,
        }))
    }

    /// Length in bytes, as it was asked for.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Length in bytes of the file and of a mapping of it: whole pages.
    pub fn mapped_len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn dmabuf(&self) -> Option<BorrowedFd<'_>> {
        match &self.backing {
            Backing::Exported(fd) => Some(fd.as_fd()),
            _ => self.dmabuf.as_ref().map(AsFd::as_fd),
        }
    }

    pub(super) fn name(&self) -> MutexGuard<'_, Option<ObjectName>> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that it is in.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.backing {
            Backing::Own(fd) | Backing::Exported(fd) => fd.as_fd(),
            Backing::Part(part) => part.arena.fd(),
        }
    }

    /// Where in the file it begins, in bytes.
    pub fn fd_offset(&self) -> u64 {
        match &self.backing {
            Backing::Own(_) | Backing::Exported(_) => 0,
            Backing::Part(part) => part.offset,
        }
    }

    /// Whether it is a part of `arena`.
    pub(super) fn is_in(&self, arena: &Arc<Arena>) -> bool {
        matches!(&self.backing, Backing::Part(part) if Arc::ptr_eq(&part.arena, arena))
    }

    /// Copies `data` into the buffer at `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it does not fit into its pages.
    pub fn write_at(&self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.bytes.write_at(offset, data)
    }

    /// Copies from the buffer at `offset` into `data`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when its pages end before.
    pub fn read_at(&self, offset: usize, data: &mut [u8]) -> Result<(), Errno> {
        self.bytes.read_at(offset, data)
    }

    /// A range of its pages. `EINVAL` when the range is empty or not inside.
    pub(super) fn mapped(&self, range: &Range<usize>) -> Result<Mapped<'_>, Errno> {
        let dmabuf = self.dmabuf().map(|fd| MappedDmabuf {
            fd,
            base: self.bytes.address(),
            foreign: matches!(self.backing, Backing::Exported(_)),
        });
        self.bytes.mapped(range, dmabuf)
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if !matches!(self.backing, Backing::Part(_)) {
            // SAFETY: The mapping is ours (type invariant) and nobody holds a pointer into it any
            // more: whoever uses one holds a reference to `self`.
            let _ = unsafe { munmap(self.bytes.address().cast(), self.bytes.len()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::ftruncate;

    use super::*;

    #[test]
    fn copies_in_and_out_within_bounds() {
        let buffer = HostBuffer::new(5000).unwrap();
        assert_eq!((buffer.len(), buffer.mapped_len()), (5000, 8192));
        buffer.write_at(4990, &[7; 10]).unwrap();
        let mut data = [0; 11];
        buffer.read_at(4989, &mut data).unwrap();
        assert_eq!(data, [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert_eq!(buffer.write_at(8183, &[7; 10]), Err(Errno::EINVAL));
        assert_eq!(buffer.write_at(usize::MAX, &[7; 10]), Err(Errno::EINVAL));
        assert_eq!(buffer.read_at(8192, &mut [0]), Err(Errno::EINVAL));
    }

    #[test]
    fn parts_of_an_arena() {
        let arena = Arena::new(3 * PAGE_SIZE).unwrap();
        let outside = HostBuffer::new(PAGE_SIZE).unwrap();
        assert!(!outside.is_in(&arena));
        let ledger = Ledger::new(1 << 20, Some(Arc::clone(&arena)));
        let make = |len| HostBuffer::new_on(&ledger, len, false).unwrap();
        let [first, second] = [PAGE_SIZE, PAGE_SIZE + 1].map(make);
        assert_eq!((first.fd_offset(), second.fd_offset()), (0, 0x1000));
        assert!(second.is_in(&arena));
        first.write_at(0, b"first").unwrap();
        second.write_at(PAGE_SIZE, b"2").unwrap();
        let mut data = [0; 5];
        first.read_at(0, &mut data).unwrap();
        assert_eq!(&data, b"first");
        // The arena is full: a file of its own.
        assert!(!make(1).is_in(&arena));
        drop(first);
        let first = make(PAGE_SIZE);
        assert_eq!((first.fd_offset(), first.is_in(&arena)), (0, true));
        first.read_at(0, &mut data).unwrap();
        assert_eq!(data, [0; 5]);
    }

    #[test]
    fn what_a_device_exported() {
        let charge = Arc::new(MemoryCharge::default());
        // A memfd for a dmabuf: it has a size and can be mapped.
        let file = |size| sealed_file(NonZeroUsize::new(size).unwrap()).unwrap();
        let make = |size, len| HostBuffer::exported(file(size), len, Arc::clone(&charge));
        let buffer = make(2 * PAGE_SIZE, 5000).unwrap();
        assert_eq!((buffer.len(), buffer.mapped_len()), (5000, 2 * PAGE_SIZE));
        assert!(buffer.dmabuf().is_some());
        buffer.write_at(0, b"frame").unwrap();
        let mut data = [0; 5];
        buffer.read_at(0, &mut data).unwrap();
        assert_eq!(&data, b"frame");
        assert_eq!(make(PAGE_SIZE, 5000).unwrap_err(), Errno::EINVAL);
        assert_eq!(make(5000, 5000).unwrap_err(), Errno::EINVAL);
        assert_eq!(Arc::strong_count(&charge), 2);
    }

    #[test]
    fn size_is_sealed() {
        let buffer = HostBuffer::new(4096).unwrap();
        assert_eq!(ftruncate(buffer.fd(), 0), Err(Errno::EPERM));
        assert_eq!(ftruncate(buffer.fd(), 8192), Err(Errno::EPERM));
    }

    #[test]
    fn refuses_absurd_sizes() {
        assert_eq!(HostBuffer::new(0).unwrap_err(), Errno::EINVAL);
        assert_eq!(HostBuffer::new(usize::MAX).unwrap_err(), Errno::ENOMEM);
        assert_eq!(HostBuffer::new(1 << 40).unwrap_err(), Errno::ENOMEM);
    }
}
