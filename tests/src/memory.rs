// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory of the guest, and the shared memory region that the daemon fills.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use vhost::VhostUserMemoryRegionInfo;
use vm_memory::{
    AtomicAccess, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion,
};

mod shared;
pub use shared::SharedRegion;

/// Guest-physical memory, in memfds that the daemon maps too.
///
/// # Panics
///
/// Its accessors panic on addresses outside the memory: the test is wrong then, not the daemon.
pub struct GuestMemory {
    map: GuestMemoryMmap,
    heap: Mutex<Heap>,
}

/// What the files of the guest's memory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// memfds, sealed against shrinking, as QEMU's and crosvm's are.
    Sealed,
    /// memfds that nobody has sealed.
    Unsealed,
    /// memfds that take no seals, as cloud-hypervisor's and libkrun's.
    Unsealable,
    /// Files without a name.
    File,
}

impl Backing {
    fn file(self, len: usize) -> io::Result<File> {
        let flags = match self {
            Self::Sealed | Self::Unsealed => MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
            Self::Unsealable | Self::File => MFdFlags::MFD_CLOEXEC,
        };
        let file = match self {
            Self::File => {
                static NUMBER: AtomicUsize = AtomicUsize::new(0);
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let name = format!("virtio-v4l2-guest-{}-{number}", std::process::id());
                let path = std::env::temp_dir().join(name);
                let file = File::create_new(&path)?;
                std::fs::remove_file(&path)?;
                file
            }
            _ => File::from(memfd_create("guest", flags)?),
        };
        file.set_len(len as u64)?;
        if self == Self::Sealed {
            let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
            fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        }
        Ok(file)
    }
}

/// Gives out addresses of the first run, first fit.
struct Heap {
    /// Runs in use: start and end, by start.
    used: Vec<(u64, u64)>,
    end: u64,
}

/// A piece of guest memory that a test or the client has for itself; given back when dropped.
pub struct Block {
    memory: Arc<GuestMemory>,
    /// Guest-physical address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
}

impl GuestMemory {
    /// Memory in `runs` of guest-physical address and length, which are multiples of a page, in
    /// `one_file` or a file each.
    ///
    /// # Errors
    ///
    /// The system has no memory, or runs overlap.
    pub fn new(runs: &[(u64, usize)], backing: Backing, one_file: bool) -> io::Result<Arc<Self>> {
        let sum = runs.iter().map(|run| run.1).sum();
        let whole = one_file.then(|| backing.file(sum)).transpose()?;
        let mut next = 0;
        let ranges = runs
            .iter()
            .map(|&(start, len)| {
                let file = match &whole {
                    Some(file) => FileOffset::new(file.try_clone()?, next),
                    None => FileOffset::new(backing.file(len)?, 0),
                };
                next += len as u64;
                Ok((GuestAddress(start), len, Some(file)))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let map = GuestMemoryMmap::from_ranges_with_files(ranges).map_err(io::Error::other)?;
        let (start, len) = runs.first().copied().unwrap_or_default();
        Ok(Arc::new(Self {
            map,
            heap: Mutex::new(Heap {
                // Address 0 is never given out: it looks too much like a mistake.
                used: vec![(start, start + 4096)],
                end: start + len as u64,
            }),
        }))
    }

    /// A fresh, zeroed block of `len` bytes at a multiple of `align`.
    pub fn alloc(self: &Arc<Self>, len: usize, align: u64) -> Block {
        let size = (len as u64).max(1);
        let mut heap = self.heap.lock().unwrap();
        let gap = heap.used.iter().enumerate().find_map(|(i, &(_, end))| {
            let start = end.next_multiple_of(align);
            let limit = heap.used.get(i + 1).map_or(heap.end, |next| next.0);
            (start + size <= limit).then_some((i, start))
        });
        let (i, addr) = gap.expect("guest memory is full: give the test more");
        heap.used.insert(i + 1, (addr, addr + size));
        drop(heap);
        self.write(addr, &vec![0; len]);
        Block {
            memory: self.clone(),
            addr,
            len: len as u32,
        }
    }

    /// A block that holds `bytes`.
    pub fn place(self: &Arc<Self>, bytes: &[u8]) -> Block {
        let block = self.alloc(bytes.len(), 16);
        self.write(block.addr, bytes);
        block
    }

    /// Writes `bytes` at `addr`.
    pub fn write(&self, addr: u64, bytes: &[u8]) {
        self.map.write_slice(bytes, GuestAddress(addr)).unwrap();
    }

    /// The `len` bytes at `addr`.
    pub fn read(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.map.read_slice(&mut bytes, GuestAddress(addr)).unwrap();
        bytes
    }

    /// Stores a field that the daemon may look at in the same moment.
    pub fn store<T: AtomicAccess>(&self, addr: u64, value: T) {
        self.map
            .store(value, GuestAddress(addr), Ordering::SeqCst)
            .unwrap();
    }

    /// Loads a field that the daemon may be writing.
    pub fn load<T: AtomicAccess>(&self, addr: u64) -> T {
        self.map.load(GuestAddress(addr), Ordering::SeqCst).unwrap()
    }

    /// What SET_MEM_TABLE says of this memory.
    pub(crate) fn table(&self) -> Vec<VhostUserMemoryRegionInfo> {
        self.map
            .iter()
            .map(|region| VhostUserMemoryRegionInfo::from_guest_region(region).unwrap())
            .collect()
    }

    /// What vhost-user says of the run that begins at `start`.
    ///
    /// # Panics
    ///
    /// None does.
    pub fn region(&self, start: u64) -> VhostUserMemoryRegionInfo {
        let mut table = self.table().into_iter();
        table
            .find(|region| region.guest_phys_addr == start)
            .unwrap()
    }

    /// The frontend's own address of `addr`, by which vhost-user names rings.
    pub(crate) fn user_address(&self, addr: u64) -> u64 {
        self.map.get_host_address(GuestAddress(addr)).unwrap() as u64
    }

    /// Empties the file behind the run that begins at `start`. Nobody may touch that any more.
    ///
    /// # Panics
    ///
    /// The file is sealed.
    pub fn cut_short(&self, start: u64) {
        let region = self.map.find_region(GuestAddress(start)).unwrap();
        region.file_offset().unwrap().file().set_len(0).unwrap();
    }

    /// First address after all memory: nothing is there.
    pub fn end(&self) -> u64 {
        self.map
            .iter()
            .map(|region| region.start_addr().0 + region.len())
            .max()
            .unwrap_or(0)
    }
}

impl Block {
    /// What it holds.
    pub fn bytes(&self) -> Vec<u8> {
        self.memory.read(self.addr, self.len as usize)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut heap = self.memory.heap.lock().unwrap();
        heap.used.retain(|&(start, _)| start != self.addr);
    }
}
