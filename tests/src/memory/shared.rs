// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Shared memory region 0, as QEMU would offer it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};

use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags, VhostUserSharedMsg};
use vhost::vhost_user::{HandlerResult, VhostUserFrontendReqHandler};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use crate::objects::Objects;

const PAGE: u64 = 4096;

/// A region in which the daemon has files mapped.
///
/// It is as strict as QEMU, or stricter: a mapping covers whole pages of its file, lies inside the
/// region, and overlaps no other; what is unmapped was mapped so. Whatever breaks this is refused,
/// and remembered in [`violations`](Self::violations).
pub struct SharedRegion {
    state: Mutex<State>,
    /// Mappings stay when the device is reset, and are replaced where they are mapped again.
    keeps: bool,
    /// Held by who answers a request to map.
    gate: Mutex<()>,
    waiting: AtomicBool,
    /// Objects of the VM's devices.
    pub objects: Objects,
}

/// Ends what [`SharedRegion::hold_requests`] began when it is dropped.
pub struct Held {
    _release: Sender<()>,
}

#[derive(Default)]
struct State {
    size: u64,
    mappings: BTreeMap<u64, Mapping>,
    stopped: bool,
    violations: Vec<String>,
    maps: u64,
    unmaps: u64,
}

struct Mapping {
    map: MmapRegion,
    len: u64,
    writable: bool,
}

impl SharedRegion {
    /// A region without size: nothing can be mapped until it has one.
    pub(crate) fn new(keeps: bool) -> Self {
        Self {
            state: Mutex::new(State::default()),
            keeps,
            gate: Mutex::default(),
            waiting: AtomicBool::default(),
            objects: Objects::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_size(&self, size: u64) {
        self.state().size = size;
    }

    /// Size of the region in bytes, as the daemon asked for it.
    pub fn size(&self) -> u64 {
        self.state().size
    }

    /// The device stops. QEMU 11.1 crashes on a request until it starts again: here it is a
    /// violation.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
    }

    /// The device starts again. If it was reset, all mappings are gone, as vhost-user has it; they
    /// stay if the VM was only paused.
    pub(crate) fn start(&self, was_reset: bool) {
        let mut state = self.state();
        state.stopped = false;
        if was_reset && !self.keeps {
            state.mappings.clear();
        }
    }

    /// Answers no request to map as long as the guard lives.
    pub fn hold_requests(self: &Arc<Self>) -> Held {
        let shared = self.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let _gate = shared.gate.lock().unwrap();
            let _ = ready.send(());
            // Until the other end is dropped.
            let _ = released.recv();
        });
        let _ = is_ready.recv();
        Held { _release: release }
    }

    /// Whether a request to map waits.
    pub fn is_holding(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How many mappings there are now.
    pub fn mapped(&self) -> usize {
        self.state().mappings.len()
    }

    /// How many requests to map and to unmap were served.
    pub fn requests(&self) -> (u64, u64) {
        let state = self.state();
        (state.maps, state.unmaps)
    }

    /// What the daemon asked for that no VMM would grant.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Whether the mapping that begins at `offset` is writable; `None` if none begins there.
    pub fn writable(&self, offset: u64) -> Option<bool> {
        self.state().mappings.get(&offset).map(|m| m.writable)
    }

    /// Reads `len` bytes from `offset` into the region, within one mapping.
    ///
    /// # Errors
    ///
    /// `EFAULT`, as a guest would meet a fault.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.access(offset, len, false, |map, at| {
            map.get_slice(at, len)
                .and_then(|slice| slice.read_slice(&mut bytes, 0))
        })?;
        Ok(bytes)
    }

    /// Writes `bytes` at `offset` into the region, within one mapping.
    ///
    /// # Errors
    ///
    /// `EFAULT`, as a guest would meet a fault.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.access(offset, bytes.len(), true, |map, at| {
            map.get_slice(at, bytes.len())
                .and_then(|slice| slice.write_slice(bytes, 0))
        })
    }

    fn access(
        &self,
        offset: u64,
        len: usize,
        write: bool,
        body: impl FnOnce(&MmapRegion, usize) -> Result<(), vm_memory::VolatileMemoryError>,
    ) -> io::Result<()> {
        let fault = || io::Error::from_raw_os_error(libc::EFAULT);
        let state = self.state();
        let (start, mapping) = state
            .mappings
            .range(..=offset)
            .next_back()
            .ok_or_else(fault)?;
        let at = offset - start;
        if at + len as u64 > mapping.len || (write && !mapping.writable) {
            return Err(fault());
        }
        body(&mapping.map, at as usize).map_err(io::Error::other)
    }
}

impl State {
    fn refuse<T>(&mut self, why: String) -> HandlerResult<T> {
        self.violations.push(why);
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }

    fn overlaps(&self, start: u64, len: u64) -> bool {
        self.mappings
            .range(..start + len)
            .next_back()
            .is_some_and(|(other, mapping)| other + mapping.len > start)
    }
}

impl VhostUserFrontendReqHandler for SharedRegion {
    fn shared_object_add(&self, object: &VhostUserSharedMsg) -> HandlerResult<u64> {
        self.objects.add(object.uuid.into_bytes());
        Ok(0)
    }

    fn shared_object_remove(&self, object: &VhostUserSharedMsg) -> HandlerResult<u64> {
        self.objects.remove(object.uuid.into_bytes());
        Ok(0)
    }

    fn shmem_map(&self, req: &VhostUserMMap, fd: &dyn AsRawFd) -> HandlerResult<u64> {
        let (id, start, len, fd_offset, flags) =
            (req.shmid, req.shm_offset, req.len, req.fd_offset, req.flags);
        self.waiting.store(true, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        self.waiting.store(false, Ordering::SeqCst);
        let what = format!("SHMEM_MAP {len:#x} at {start:#x} from {fd_offset:#x} of the file");
        let mut state = self.state();
        if state.stopped {
            return state.refuse(format!("{what}: the device is stopped"));
        }
        if id != 0 {
            return state.refuse(format!("{what}: there is no region {id}"));
        }
        if (start | len | fd_offset) % PAGE != 0 {
            return state.refuse(format!("{what}: not whole pages"));
        }
        if start + len > state.size {
            let size = state.size;
            return state.refuse(format!("{what}: the region ends at {size:#x}"));
        }
        if self.keeps && state.mappings.get(&start).is_some_and(|old| old.len == len) {
            state.mappings.remove(&start);
        }
        if state.overlaps(start, len) {
            return state.refuse(format!("{what}: something is mapped there"));
        }
        // SAFETY: the request handler owns the descriptor and keeps it open during this call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let file = File::from(borrowed.try_clone_to_owned()?);
        let size = file.metadata()?.len();
        if size < fd_offset + len {
            return state.refuse(format!("{what}: the file has only {size:#x}"));
        }
        let writable = flags & VhostUserMMapFlags::WRITABLE.bits() != 0;
        let mut prot = libc::PROT_READ;
        if writable {
            prot |= libc::PROT_WRITE;
        }
        let map = MmapRegion::build(
            Some(FileOffset::new(file, fd_offset)),
            len as usize,
            prot,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
        )
        .map_err(io::Error::other)?;
        state.mappings.insert(start, Mapping { map, len, writable });
        state.maps += 1;
        Ok(0)
    }

    fn shmem_unmap(&self, req: &VhostUserMMap) -> HandlerResult<u64> {
        let (id, start, len) = (req.shmid, req.shm_offset, req.len);
        let mut state = self.state();
        if state.stopped {
            return state.refuse(format!("SHMEM_UNMAP at {start:#x}: the device is stopped"));
        }
        let known = id == 0 && state.mappings.get(&start).is_some_and(|m| m.len == len);
        if !known {
            return state.refuse(format!("SHMEM_UNMAP {len:#x} at {start:#x}: not mapped so"));
        }
        state.mappings.remove(&start);
        state.unmaps += 1;
        Ok(0)
    }
}
