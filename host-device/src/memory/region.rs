// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Shared memory region 0: where the guest sees MMAP buffers.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::buffer::{HostBuffer, PAGE_SIZE};

/// Most mappings that stand at one time. Each costs the VMM a memory region.
pub const MAX_MAPPINGS: usize = 8192;

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
struct Mapping {
    len: u64,
    /// The buffer, kept for as long as the guest sees it. `None` while the VMM is being asked.
    buffer: Option<Arc<HostBuffer>>,
}

#[derive(Debug, Default)]
struct State {
    mappings: BTreeMap<u64, Mapping>,
    /// Counts resets. A mapping that was asked for before one is not wanted any more.
    epoch: u64,
}

/// The region's addresses, and what is mapped where.
pub struct Region {
    size: u64,
    mapper: Box<dyn Mapper>,
    state: Mutex<State>,
}

/// Mappings that a reset left behind.
#[must_use = "they stay until they are unmapped"]
pub struct Stale(Vec<(u64, u64)>);

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

    /// Maps `buffer` at the first free address and returns that. Each call makes a mapping of its own.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room, or whatever the VMM refuses it with.
    pub fn map(&self, buffer: Arc<HostBuffer>, writable: bool) -> Result<u64, Errno> {
        let len = buffer.mapped_len() as u64;
        let (offset, epoch) = {
            let mut state = self.state();
            let offset = first_fit(&state.mappings, self.size, len).ok_or(Errno::ENOMEM)?;
            state.mappings.insert(offset, Mapping { len, buffer: None });
            (offset, state.epoch)
        };
        let result = self.mapper.map(buffer.fd(), offset, len, writable);
        let mut state = self.state();
        match result {
            Ok(()) if epoch == state.epoch => {
                if let Some(mapping) = state.mappings.get_mut(&offset) {
                    mapping.buffer = Some(buffer);
                }
                Ok(offset)
            }
            Ok(()) => {
                drop(state);
                self.unmap_stale(Stale(vec![(offset, len)]));
                Err(Errno::EINVAL)
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
    /// `EINVAL` if none starts there, or whatever the VMM refuses it with; its address is then not used again.
    pub fn unmap(&self, offset: u64) -> Result<(), Errno> {
        let (len, buffer) = {
            let mut state = self.state();
            let mapping = state.mappings.get_mut(&offset).ok_or(Errno::EINVAL)?;
            (mapping.len, mapping.buffer.take().ok_or(Errno::EINVAL)?)
        };
        self.mapper.unmap(offset, len)?;
        self.state().mappings.remove(&offset);
        drop(buffer);
        Ok(())
    }

    /// Lets go of all mappings, as after a reset of the device. Their addresses stay taken until
    /// [`unmap_stale`](Self::unmap_stale), which waits for the VMM.
    pub fn reset(&self) -> Stale {
        let mut state = self.state();
        state.epoch += 1;
        let stale = state.mappings.iter_mut().filter_map(|(offset, mapping)| {
            // Those without a buffer are being mapped or unmapped, which deals with them.
            mapping.buffer.take().map(|_| (*offset, mapping.len))
        });
        Stale(stale.collect())
    }

    /// Undoes what a reset left behind, and frees its addresses. If the VMM refuses, it has done that itself.
    pub fn unmap_stale(&self, stale: Stale) {
        for (offset, len) in stale.0 {
            if let Err(errno) = self.mapper.unmap(offset, len) {
                tracing::debug!("unmap at {offset:#x} after reset: {errno}");
            }
            self.state().mappings.remove(&offset);
        }
    }

    /// Forgets all mappings: the VMM that had them is gone.
    pub fn forget_all(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.mappings.clear();
    }
}

/// The lowest address with `len` free bytes. Lengths are whole pages, so addresses are too.
fn first_fit(mappings: &BTreeMap<u64, Mapping>, size: u64, len: u64) -> Option<u64> {
    debug_assert_eq!(len % PAGE_SIZE as u64, 0);
    if mappings.len() >= MAX_MAPPINGS {
        return None;
    }
    let mut free = 0;
    for (&offset, mapping) in mappings {
        if offset.checked_sub(free)? >= len {
            return Some(free);
        }
        free = offset.checked_add(mapping.len)?;
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

    fn buffer(pages: usize) -> Arc<HostBuffer> {
        HostBuffer::new(pages * PAGE_SIZE - 1).unwrap()
    }

    #[test]
    fn first_fit_reuses_gaps() {
        let vmm = Arc::new(Vmm::default());
        let region = Region::new(0x6000, Arc::clone(&vmm));
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
        let region = Region::new(0x10000, Arc::new(Vmm::default()));
        let address = region.map(buffer(2), true).unwrap();
        assert_eq!(region.unmap(address + 0x1000), Err(Errno::EINVAL));
        assert_eq!(region.unmap(u64::MAX), Err(Errno::EINVAL));
        assert_eq!(region.unmap(address), Ok(()));
        assert_eq!(region.unmap(address), Err(Errno::EINVAL));
    }

    #[test]
    fn mapping_keeps_the_buffer_until_unmapped() {
        let region = Region::new(0x10000, Arc::new(Vmm::default()));
        let buffer = buffer(1);
        let address = region.map(Arc::clone(&buffer), true).unwrap();
        assert_eq!(Arc::strong_count(&buffer), 2);
        region.unmap(address).unwrap();
        assert_eq!(Arc::strong_count(&buffer), 1);
        region.map(Arc::clone(&buffer), true).unwrap();
        region.map(Arc::clone(&buffer), true).unwrap();
        assert_eq!(Arc::strong_count(&buffer), 3);
        let stale = region.reset();
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert_eq!(region.map(Arc::clone(&buffer), true), Ok(0x2000));
        region.unmap(0x2000).unwrap();
        region.unmap_stale(stale);
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert_eq!(region.map(Arc::clone(&buffer), true), Ok(0));
    }

    #[test]
    fn refusal_of_the_vmm_frees_the_address() {
        let vmm = Arc::new(Vmm::default());
        let region = Region::new(0x1000, Arc::clone(&vmm));
        vmm.refuse.store(true, Ordering::SeqCst);
        assert_eq!(region.map(buffer(1), true), Err(Errno::EIO));
        vmm.refuse.store(false, Ordering::SeqCst);
        assert_eq!(region.map(buffer(1), true), Ok(0));
    }
}
