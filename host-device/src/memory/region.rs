// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Shared memory region 0: where the guest sees MMAP buffers.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::arena::{Arena, first_fit};
use super::buffer::HostBuffer;

/// Most buffers that are mapped on their own at one time. Each costs the VMM a memory region.
pub const MAX_MAPPINGS: usize = 480;

/// Most memory regions that a VMM can tell a vhost-user backend of that has no memory slots.
const MAX_REGIONS: usize = 8;

/// Who can put host memory into the region: the VMM.
///
/// Calls wait for its answer.
pub trait Mapper: Send + Sync {
    /// Maps `len` bytes of `fd` from `fd_offset` at `offset` into the region.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the VMM has no shared memory regions, `EIO` if it refused or is gone.
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        offset: u64,
        len: u64,
        writable: bool,
    ) -> Result<(), Errno>;

    /// Undoes a mapping as a whole.
    ///
    /// # Errors
    ///
    /// As `map`.
    fn unmap(&self, offset: u64, len: u64) -> Result<(), Errno>;
}

#[derive(Debug)]
enum Mapping {
    /// The VMM is being asked to map or unmap it.
    Pending,
    /// The guest sees this buffer, which is kept for as long.
    Mapped {
        buffer: Arc<HostBuffer>,
        writable: bool,
        /// How often it was asked for.
        count: usize,
    },
}

#[derive(Debug, Default)]
struct State {
    /// Length and mapping by address, of buffers that are mapped on their own.
    mappings: BTreeMap<u64, (u64, Mapping)>,
    /// Whether the arena is mapped.
    arena_mapped: bool,
    /// Buffers in the arena that the guest has mapped, and how often, by address.
    shown: BTreeMap<u64, (usize, Arc<HostBuffer>)>,
    /// Whether the VMM can be asked.
    started: bool,
    /// Counts resets. A mapping that was asked for before one is not wanted any more.
    epoch: u64,
}

impl State {
    /// Where `buffer` is mapped on its own already; counts it once more.
    fn again(&mut self, buffer: &Arc<HostBuffer>, wanted: bool) -> Option<u64> {
        self.mappings
            .iter_mut()
            .find_map(|(&offset, (_, mapping))| match mapping {
                Mapping::Mapped {
                    buffer: mapped,
                    writable,
                    count,
                } if Arc::ptr_eq(mapped, buffer) && *writable == wanted => {
                    *count += 1;
                    Some(offset)
                }
                _ => None,
            })
    }
}

/// The region's addresses, and what is mapped where.
///
/// The lower part is for the arena, which is mapped as a whole when the first buffer in it is: then
/// all of them are at the address that is their offset in it, without another word to the VMM.
/// Other buffers, and those that the guest wants read-only, are mapped on their own behind it.
pub struct Region {
    size: u64,
    arena: Option<Arc<Arena>>,
    mapper: Box<dyn Mapper>,
    state: Mutex<State>,
    /// Held while the arena is being mapped.
    mapping_arena: Mutex<()>,
    /// Memory regions that the VMM last told of. QEMU 11.1 counts what is mapped here, and in other
    /// devices' regions.
    regions: AtomicUsize,
    /// The log says that there are too many.
    warned: AtomicBool,
}

impl Region {
    /// A region of `size` bytes with nothing in it, its beginning being for `arena`.
    pub fn new(size: u64, arena: Option<Arc<Arena>>, mapper: impl Mapper + 'static) -> Self {
        Self {
            size,
            arena: arena.filter(|arena| arena.size() <= size),
            mapper: Box::new(mapper),
            state: Mutex::default(),
            mapping_arena: Mutex::default(),
            regions: AtomicUsize::default(),
            warned: AtomicBool::default(),
        }
    }

    /// The VMM has told of so many memory regions.
    pub fn set_regions(&self, count: usize) {
        self.regions.store(count, Ordering::Relaxed);
    }

    /// Has the VMM map something, as [`Mapper::map`]. `ENOMEM` if it could not tell of one more
    /// memory region: QEMU 11.1 does not ask itself that, and fails.
    fn have_mapped(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        offset: u64,
        len: u64,
        writable: bool,
    ) -> Result<(), Errno> {
        if self.regions.load(Ordering::Relaxed) < MAX_REGIONS {
            return self.mapper.map(fd, fd_offset, offset, len, writable);
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the VMM has {MAX_REGIONS} memory regions and no room for a mapping: --shm-size 0 \
                 does without (docs/proxy.md)"
            );
        }
        Err(Errno::ENOMEM)
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device starts: from now on the VMM can be asked.
    pub fn start(&self) {
        self.state().started = true;
    }

    /// The device stops: the VMM must not be asked (QEMU 11.1 crashes). Mappings stay.
    pub fn stop(&self) {
        self.state().started = false;
    }

    /// The device is reset: lets go of all mappings. The VMM undoes them by itself.
    pub fn reset(&self) {
        let mut state = self.state();
        state.started = false;
        state.epoch += 1;
        state.arena_mapped = false;
        state.shown.clear();
        state.mappings.clear();
    }

    /// Maps `buffer` and returns the address. Each call is to be undone by an
    /// [`unmap`](Self::unmap).
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the region is full, `EIO` while the device is stopped, or whatever the VMM
    /// refuses it with.
    pub fn map(&self, buffer: Arc<HostBuffer>, writable: bool) -> Result<u64, Errno> {
        if let Some(arena) = &self.arena
            && writable
            && buffer.is_in(arena)
            // A VMM that refuses the arena may still take a buffer.
            && let Ok(offset) = self.show(arena, &buffer)
        {
            return Ok(offset);
        }
        let len = buffer.mapped_len() as u64;
        let behind = self.arena.as_ref().map_or(0, |arena| arena.size());
        let (offset, epoch) = {
            let mut state = self.state();
            if !state.started {
                return Err(Errno::EIO);
            }
            if let Some(offset) = state.again(&buffer, writable) {
                return Ok(offset);
            }
            let mappings = state.mappings.iter().map(|(&at, &(len, _))| (at, len));
            let offset = Some(mappings)
                .filter(|mappings| mappings.len() < MAX_MAPPINGS)
                .and_then(|mappings| first_fit(mappings, behind..self.size, len))
                .ok_or(Errno::ENOMEM)?;
            state.mappings.insert(offset, (len, Mapping::Pending));
            (offset, state.epoch)
        };
        let result = self.have_mapped(buffer.fd(), buffer.fd_offset(), offset, len, writable);
        let mut state = self.state();
        if state.epoch != epoch {
            return Err(Errno::EIO);
        }
        match result {
            Ok(()) => {
                let mapping = Mapping::Mapped {
                    buffer,
                    writable,
                    count: 1,
                };
                state.mappings.insert(offset, (len, mapping));
                Ok(offset)
            }
            Err(errno) => {
                state.mappings.remove(&offset);
                Err(errno)
            }
        }
    }

    /// Shows the guest a buffer in the arena: has that mapped if it is not yet.
    fn show(&self, arena: &Arc<Arena>, buffer: &Arc<HostBuffer>) -> Result<u64, Errno> {
        let mut epoch = None;
        // One asks the VMM, others wait for the outcome. A reset does not wait for them.
        let _turn = (!self.state().arena_mapped).then(|| {
            let turn = self.mapping_arena.lock();
            turn.unwrap_or_else(PoisonError::into_inner)
        });
        {
            let state = self.state();
            if !state.started {
                return Err(Errno::EIO);
            }
            if !state.arena_mapped {
                epoch = Some(state.epoch);
            }
        }
        if epoch.is_some() {
            self.have_mapped(arena.fd(), 0, 0, arena.size(), true)?;
        }
        let mut state = self.state();
        if epoch.is_some_and(|epoch| epoch != state.epoch) {
            return Err(Errno::EIO);
        }
        state.arena_mapped = true;
        let offset = buffer.fd_offset();
        let shown = state.shown.entry(offset);
        let (count, _) = shown.or_insert_with(|| (0, Arc::clone(buffer)));
        *count += 1;
        Ok(offset)
    }

    /// Undoes the mapping that starts at `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if none starts there, `EIO` while the device is stopped, or whatever the VMM
    /// refuses it with; its address is then not used again before a reset.
    pub fn unmap(&self, offset: u64) -> Result<(), Errno> {
        let (len, buffer, epoch) = {
            let mut state = self.state();
            if !state.started {
                return Err(Errno::EIO);
            }
            if let Some((count, _)) = state.shown.get_mut(&offset) {
                *count -= 1;
                let last = *count == 0;
                let hidden = last.then(|| state.shown.remove(&offset));
                // Its memory goes back without the lock.
                drop(state);
                drop(hidden);
                return Ok(());
            }
            let epoch = state.epoch;
            let (len, mapping) = state.mappings.get_mut(&offset).ok_or(Errno::EINVAL)?;
            if let Mapping::Mapped { count, .. } = mapping
                && *count > 1
            {
                *count -= 1;
                return Ok(());
            }
            match std::mem::replace(mapping, Mapping::Pending) {
                Mapping::Mapped { buffer, .. } => (*len, buffer, epoch),
                other => {
                    *mapping = other;
                    return Err(Errno::EINVAL);
                }
            }
        };
        self.mapper.unmap(offset, len)?;
        let mut state = self.state();
        if state.epoch == epoch {
            state.mappings.remove(&offset);
        }
        drop(state);
        drop(buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Ledger, PAGE_SIZE};

    #[derive(Default)]
    struct Vmm {
        calls: Mutex<Vec<String>>,
        refuse: AtomicBool,
    }

    impl Mapper for Arc<Vmm> {
        fn map(
            &self,
            _: BorrowedFd<'_>,
            fd_offset: u64,
            offset: u64,
            len: u64,
            rw: bool,
        ) -> Result<(), Errno> {
            if self.refuse.load(Ordering::SeqCst) {
                return Err(Errno::EIO);
            }
            let mut calls = self.calls.lock().unwrap();
            let part = if fd_offset > 0 { " of a part" } else { "" };
            calls.push(format!("map {offset:#x} {len:#x} {rw}{part}"));
            Ok(())
        }

        fn unmap(&self, offset: u64, len: u64) -> Result<(), Errno> {
            let mut calls = self.calls.lock().unwrap();
            calls.push(format!("unmap {offset:#x} {len:#x}"));
            Ok(())
        }
    }

    fn started(size: u64, vmm: Arc<Vmm>) -> Region {
        let region = Region::new(size, None, vmm);
        region.start();
        region
    }

    fn buffer(pages: usize) -> Arc<HostBuffer> {
        HostBuffer::new(pages * PAGE_SIZE - 1).unwrap()
    }

    #[test]
    fn first_fit_reuses_gaps() {
        let vmm = Arc::new(Vmm::default());
        let region = started(0x6000, Arc::clone(&vmm));
        assert_eq!(region.map(buffer(2), true), Ok(0));
        assert_eq!(region.map(buffer(1), false), Ok(0x2000));
        assert_eq!(region.map(buffer(3), true), Ok(0x3000));
        assert_eq!(region.map(buffer(1), true), Err(Errno::ENOMEM));
        region.unmap(0).unwrap();
        assert_eq!(region.map(buffer(1), true), Ok(0));
        assert_eq!(region.map(buffer(2), true), Err(Errno::ENOMEM));
        assert_eq!(region.map(buffer(1), true), Ok(0x1000));
        assert_eq!(
            vmm.calls.lock().unwrap()[..4],
            [
                "map 0x0 0x2000 true",
                "map 0x2000 0x1000 false",
                "map 0x3000 0x3000 true",
                "unmap 0x0 0x2000",
            ]
        );
    }

    #[test]
    fn unknown_addresses_are_refused() {
        let region = started(0x10000, Arc::new(Vmm::default()));
        let address = region.map(buffer(2), true).unwrap();
        assert_eq!(region.unmap(address + 0x1000), Err(Errno::EINVAL));
        assert_eq!(region.unmap(u64::MAX), Err(Errno::EINVAL));
        assert_eq!(region.unmap(address), Ok(()));
        assert_eq!(region.unmap(address), Err(Errno::EINVAL));
    }

    #[test]
    fn mapping_keeps_the_buffer_until_unmapped() {
        let region = started(0x10000, Arc::new(Vmm::default()));
        let buffer = buffer(1);
        let address = region.map(Arc::clone(&buffer), true).unwrap();
        assert_eq!(Arc::strong_count(&buffer), 2);
        region.unmap(address).unwrap();
        assert_eq!(Arc::strong_count(&buffer), 1);
        region.map(Arc::clone(&buffer), true).unwrap();
        region.map(Arc::clone(&buffer), false).unwrap();
        assert_eq!(Arc::strong_count(&buffer), 3);
        region.reset();
        assert_eq!(Arc::strong_count(&buffer), 1);
    }

    #[test]
    fn a_buffer_that_is_mapped_again_is_where_it_was() {
        let vmm = Arc::new(Vmm::default());
        let region = started(0x10000, Arc::clone(&vmm));
        let buffer = buffer(1);
        for _ in 0..3 {
            assert_eq!(region.map(Arc::clone(&buffer), true), Ok(0));
        }
        assert_eq!(region.map(Arc::clone(&buffer), false), Ok(0x1000));
        for _ in 0..2 {
            assert_eq!(region.unmap(0), Ok(()));
        }
        assert_eq!(vmm.calls.lock().unwrap().len(), 2);
        assert_eq!(region.unmap(0), Ok(()));
        assert_eq!(region.unmap(0), Err(Errno::EINVAL));
        assert_eq!(vmm.calls.lock().unwrap().len(), 3);
        assert_eq!(Arc::strong_count(&buffer), 2);
    }

    #[test]
    fn buffers_in_the_arena_are_mapped_once_and_for_all() {
        let vmm = Arc::new(Vmm::default());
        let arena = Arena::new(4 * PAGE_SIZE).unwrap();
        let region = Region::new(0x10000, Some(Arc::clone(&arena)), Arc::clone(&vmm));
        let ledger = Ledger::new(1 << 20, Some(arena));
        let [first, second] =
            [1, 2].map(|pages| HostBuffer::new_on(&ledger, pages * PAGE_SIZE - 1, false).unwrap());
        assert_eq!(region.map(Arc::clone(&first), true), Err(Errno::EIO));
        region.start();
        assert_eq!(region.map(Arc::clone(&first), true), Ok(0));
        assert_eq!(region.map(Arc::clone(&second), true), Ok(0x1000));
        assert_eq!(region.map(Arc::clone(&second), true), Ok(0x1000));
        // Read-only, and a buffer of its own: behind the arena.
        assert_eq!(region.map(Arc::clone(&second), false), Ok(0x4000));
        assert_eq!(region.map(buffer(1), true), Ok(0x6000));
        assert_eq!(
            *vmm.calls.lock().unwrap(),
            [
                "map 0x0 0x4000 true",
                "map 0x4000 0x2000 false of a part",
                "map 0x6000 0x1000 true",
            ]
        );
        assert_eq!(Arc::strong_count(&second), 3);
        assert_eq!(region.unmap(0x1000), Ok(()));
        assert_eq!(Arc::strong_count(&second), 3);
        assert_eq!(region.unmap(0x1000), Ok(()));
        assert_eq!(region.unmap(0x1000), Err(Errno::EINVAL));
        assert_eq!(region.unmap(0x4000), Ok(()));
        assert_eq!(Arc::strong_count(&second), 1);
        region.reset();
        assert_eq!(Arc::strong_count(&first), 1);
        region.start();
        assert_eq!(region.unmap(0), Err(Errno::EINVAL));
        assert_eq!(region.map(first, true), Ok(0));
        assert_eq!(vmm.calls.lock().unwrap().len(), 5);
    }

    #[test]
    fn nothing_is_mapped_that_the_vmm_cannot_tell_of() {
        let vmm = Arc::new(Vmm::default());
        let arena = Arena::new(PAGE_SIZE).unwrap();
        let region = Region::new(0x10000, Some(Arc::clone(&arena)), Arc::clone(&vmm));
        region.start();
        let ledger = Ledger::new(1 << 20, Some(arena));
        let part = HostBuffer::new_on(&ledger, PAGE_SIZE, false).unwrap();
        region.set_regions(8);
        assert_eq!(region.map(Arc::clone(&part), true), Err(Errno::ENOMEM));
        assert_eq!(region.map(buffer(1), true), Err(Errno::ENOMEM));
        assert_eq!(vmm.calls.lock().unwrap().len(), 0);
        region.set_regions(7);
        assert_eq!(region.map(part, true), Ok(0));
    }

    #[test]
    fn nothing_is_asked_while_stopped() {
        let vmm = Arc::new(Vmm::default());
        let region = started(0x3000, Arc::clone(&vmm));
        assert_eq!(region.map(buffer(1), true), Ok(0));
        region.stop();
        assert_eq!(region.map(buffer(1), true), Err(Errno::EIO));
        assert_eq!(region.unmap(0), Err(Errno::EIO));
        assert_eq!(vmm.calls.lock().unwrap().len(), 1);
        region.start();
        assert_eq!(region.map(buffer(1), true), Ok(0x1000));
        assert_eq!(region.unmap(0), Ok(()));
        region.reset();
        region.start();
        assert_eq!(region.unmap(0x1000), Err(Errno::EINVAL));
        assert_eq!(region.map(buffer(3), true), Ok(0));
    }

    #[test]
    fn refusal_of_the_vmm_frees_the_address() {
        let vmm = Arc::new(Vmm::default());
        let region = started(0x1000, Arc::clone(&vmm));
        vmm.refuse.store(true, Ordering::SeqCst);
        assert_eq!(region.map(buffer(1), true), Err(Errno::EIO));
        vmm.refuse.store(false, Ordering::SeqCst);
        assert_eq!(region.map(buffer(1), true), Ok(0));
    }
}
