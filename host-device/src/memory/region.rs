// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Shared memory region 0: where the guest sees MMAP buffers.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::buffer::{HostBuffer, PAGE_SIZE};

/// Most mappings that stand at one time. QEMU counts each as a region of guest memory, of which vhost-user has 509;
/// this leaves some for the memory itself.
pub const MAX_MAPPINGS: usize = 480;

/// Who can put host memory into the region: the VMM.
///
/// Calls wait for its answer.
pub trait Mapper: Send + Sync {
    /// Maps `len` bytes of `fd` from its start at `offset` into the region.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the VMM has no shared memory regions, `EIO` if it refused or is gone.
    fn map(&self, fd: BorrowedFd<'_>, offset: u64, len: u64, writable: bool) -> Result<(), Errno>;

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
    Mapped(Arc<HostBuffer>),
}

#[derive(Debug, Default)]
struct State {
    /// Length and mapping by address.
    mappings: BTreeMap<u64, (u64, Mapping)>,
    /// Whether the VMM can be asked.
    started: bool,
    /// Counts resets. A mapping that was asked for before one is not wanted any more.
    epoch: u64,
}

/// The region's addresses, and what is mapped where.
pub struct Region {
    size: u64,
    mapper: Box<dyn Mapper>,
    state: Mutex<State>,
}

impl Region {
    /// A region of `size` bytes with nothing in it.
    pub fn new(size: u64, mapper: impl Mapper + 'static) -> Self {
        Self {
            size,
            mapper: Box::new(mapper),
            state: Mutex::default(),
        }
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
        state.mappings.clear();
    }

    /// Maps `buffer` at the first free address and returns that. Each call makes a mapping of its own.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room, `EIO` while the device is stopped, or whatever the VMM refuses it with.
    pub fn map(&self, buffer: Arc<HostBuffer>, writable: bool) -> Result<u64, Errno> {
        let len = buffer.mapped_len() as u64;
        let (offset, epoch) = {
            let mut state = self.state();
            if !state.started {
                return Err(Errno::EIO);
            }
            let offset = first_fit(&state.mappings, self.size, len).ok_or(Errno::ENOMEM)?;
            state.mappings.insert(offset, (len, Mapping::Pending));
            (offset, state.epoch)
        };
        let result = self.mapper.map(buffer.fd(), offset, len, writable);
        let mut state = self.state();
        if state.epoch != epoch {
            return Err(Errno::EIO);
        }
        match result {
            Ok(()) => {
                state
                    .mappings
                    .insert(offset, (len, Mapping::Mapped(buffer)));
                Ok(offset)
            }
            Err(errno) => {
                state.mappings.remove(&offset);
                Err(errno)
            }
        }
    }

    /// Undoes the mapping that starts at `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if none starts there, `EIO` while the device is stopped, or whatever the VMM refuses it with; its
    /// address is then not used again before a reset.
    pub fn unmap(&self, offset: u64) -> Result<(), Errno> {
        let (len, buffer, epoch) = {
            let mut state = self.state();
            if !state.started {
                return Err(Errno::EIO);
            }
            let epoch = state.epoch;
            let (len, mapping) = state.mappings.get_mut(&offset).ok_or(Errno::EINVAL)?;
            match std::mem::replace(mapping, Mapping::Pending) {
                Mapping::Mapped(buffer) => (*len, buffer, epoch),
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

/// The lowest address with `len` free bytes. Lengths are whole pages, so addresses are too.
fn first_fit(mappings: &BTreeMap<u64, (u64, Mapping)>, size: u64, len: u64) -> Option<u64> {
    debug_assert_eq!(len % PAGE_SIZE as u64, 0);
    if mappings.len() >= MAX_MAPPINGS {
        return None;
    }
    let mut free = 0;
    for (&offset, (taken, _)) in mappings {
        if offset.checked_sub(free)? >= len {
            return Some(free);
        }
        free = offset.checked_add(*taken)?;
    }
    (size.checked_sub(free)? >= len).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct Vmm {
        calls: Mutex<Vec<String>>,
        refuse: AtomicBool,
    }

    impl Mapper for Arc<Vmm> {
        fn map(&self, _: BorrowedFd<'_>, offset: u64, len: u64, rw: bool) -> Result<(), Errno> {
            if self.refuse.load(Ordering::SeqCst) {
                return Err(Errno::EIO);
            }
            let mut calls = self.calls.lock().unwrap();
            calls.push(format!("map {offset:#x} {len:#x} {rw}"));
            Ok(())
        }

        fn unmap(&self, offset: u64, len: u64) -> Result<(), Errno> {
            let mut calls = self.calls.lock().unwrap();
            calls.push(format!("unmap {offset:#x} {len:#x}"));
            Ok(())
        }
    }

    fn started(size: u64, vmm: Arc<Vmm>) -> Region {
        let region = Region::new(size, vmm);
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
        region.map(Arc::clone(&buffer), true).unwrap();
        assert_eq!(Arc::strong_count(&buffer), 3);
        region.reset();
        assert_eq!(Arc::strong_count(&buffer), 1);
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
