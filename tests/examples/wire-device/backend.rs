// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A vhost-user backend for one VMM: rings and the shared memory region, and nothing that knows the
//! bytes.

use std::fs::File;
use std::io::{Error as IoError, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::wire::{COMMAND_QUEUE, EVENT_QUEUE, NUM_QUEUES};
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMMap, VhostUserMMapFlags, VhostUserMemoryRegion,
    VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Backend, BackendReqHandler, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut,
    VhostUserFrontendReqHandler, VhostUserVirtioFeatures,
};
use virtio_queue::{Queue, QueueT};
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap, GuestRegionMmap,
};

/// `VIRTIO_F_VERSION_1` and `VIRTIO_RING_F_INDIRECT_DESC`.
const FEATURES: u64 = 1 << 32 | 1 << 28 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// Size of the shared memory region, in bytes.
pub const REGION: u64 = 64 << 20;

/// What an answer is made of.
pub struct Answer {
    /// The response. What there is no space for is cut off.
    pub bytes: Vec<u8>,
    /// How long the device says that it is, if not as long as it is.
    pub claims: Option<u32>,
}

/// A device, as bytes.
pub trait Device {
    /// The configuration space.
    fn config(&self) -> Vec<u8>;
    /// Carries out a command, for whose response there is so much space.
    fn run(&mut self, command: Vec<u8>, capacity: usize) -> Answer;
    /// The events that it has since it was last asked.
    fn events(&mut self) -> Vec<Vec<u8>>;
    /// The guest has reset it.
    fn reset(&mut self);
}

struct Ring {
    queue: Queue,
    kick: Option<Arc<File>>,
    call: Option<File>,
    running: bool,
}

/// The VMM.
pub struct Vmm {
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    rings: [Mutex<Ring>; NUM_QUEUES as usize],
    backend: Mutex<Option<Backend>>,
    config: Mutex<Vec<u8>>,
    /// How often the command queue was stopped.
    stops: AtomicU32,
    /// A ring has changed.
    wake: EventFd,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::ReqHandlerError(IoError::other(error.to_string()))
}

impl Vmm {
    fn new() -> Arc<Self> {
        let ring = || {
            Mutex::new(Ring {
                queue: Queue::new(1024).expect("a size"),
                kick: None,
                call: None,
                running: false,
            })
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Arc::new(Self {
            memory: GuestMemoryAtomic::new(GuestMemoryMmap::new()),
            rings: [ring(), ring()],
            backend: Mutex::default(),
            config: Mutex::default(),
            stops: AtomicU32::new(0),
            wake: EventFd::from_flags(flags).expect("an eventfd"),
        })
    }

    /// Has the VMM map `len` bytes of `file` at `offset` of the shared memory region.
    pub fn map(&self, file: BorrowedFd<'_>, offset: u64, len: u64, writable: bool) -> bool {
        let flags = if writable {
            VhostUserMMapFlags::WRITABLE.bits()
        } else {
            0
        };
        let request = mapping(offset, len, flags);
        self.ask(|backend| backend.shmem_map(&request, &file))
    }

    /// Undoes [`Self::map`].
    pub fn unmap(&self, offset: u64, len: u64) -> bool {
        let request = mapping(offset, len, 0);
        self.ask(|backend| backend.shmem_unmap(&request))
    }

    fn ask(&self, request: impl FnOnce(&Backend) -> std::io::Result<u64>) -> bool {
        // Not locked while the VMM is asked: it may ask us something first.
        let backend = locked(&self.backend).clone();
        backend.is_some_and(|backend| request(&backend).is_ok())
    }

    fn ring(&self, index: u32) -> Result<MutexGuard<'_, Ring>> {
        let ring = self.rings.get(index as usize).ok_or(Error::InvalidParam)?;
        Ok(locked(ring))
    }

    /// Takes a buffer off a ring, fills it with what `answer` makes of its content and its space,
    /// and gives it back. False if there is none.
    fn serve_one(&self, index: u16, answer: impl FnOnce(Vec<u8>, usize) -> Answer) -> bool {
        let memory = self.memory.memory();
        let chain = {
            let mut ring = locked(&self.rings[usize::from(index)]);
            let next = ring
                .running
                .then(|| ring.queue.pop_descriptor_chain(memory.clone()));
            match next.flatten() {
                Some(chain) => chain,
                None => return false,
            }
        };
        let mut readable = Vec::new();
        if let Ok(mut reader) = chain.clone().reader(&memory) {
            let _ = reader.read_to_end(&mut readable);
        }
        let capacity = chain.clone().writer(&memory);
        let answer = answer(
            readable,
            capacity.map_or(0, |writer| writer.available_bytes()),
        );
        let mut written = 0;
        // The VMM may have given us other memory meanwhile, which has this buffer, too.
        let memory = self.memory.memory();
        if let Ok(mut writer) = chain.clone().writer(&memory) {
            let len = answer.bytes.len().min(writer.available_bytes());
            let _ = writer.write_all(&answer.bytes[..len]);
            written = len as u32;
        }
        let mut ring = locked(&self.rings[usize::from(index)]);
        if ring.running {
            let written = answer.claims.unwrap_or(written);
            let _ = ring.queue.add_used(&*memory, chain.head_index(), written);
            if let Some(mut call) = ring.call.as_ref() {
                let _ = call.write_all(&1_u64.to_ne_bytes());
            }
        }
        true
    }

    /// Waits until a ring is kicked or has changed. False if the VMM is gone.
    fn wait(&self) {
        let kicks: Vec<_> = self
            .rings
            .iter()
            .filter_map(|ring| locked(ring).kick.clone())
            .collect();
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            kicks
                .iter()
                .map(|kick| PollFd::new(kick.as_fd(), PollFlags::POLLIN)),
        );
        let _ = poll(&mut fds, PollTimeout::NONE);
        let ready: Vec<_> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        if ready[0] {
            let _ = self.wake.read();
        }
        for (mut kick, ready) in kicks.iter().map(|kick| &**kick).zip(&ready[1..]) {
            if *ready {
                let _ = kick.read(&mut [0; 8]);
            }
        }
    }

    fn run(&self, device: &mut impl Device) {
        let mut waiting = std::collections::VecDeque::new();
        let mut stops = 0;
        loop {
            self.wait();
            let now = self.stops.load(Ordering::Acquire);
            if std::mem::replace(&mut stops, now) != now {
                device.reset();
                device.events();
                waiting.clear();
            }
            loop {
                let more = self.serve_one(COMMAND_QUEUE, |command, capacity| {
                    let answer = device.run(command, capacity);
                    waiting.extend(device.events());
                    // What a command causes is there before its answer.
                    self.deliver(&mut waiting);
                    answer
                });
                self.deliver(&mut waiting);
                if !more {
                    break;
                }
            }
        }
    }

    fn deliver(&self, waiting: &mut std::collections::VecDeque<Vec<u8>>) {
        while let Some(event) = waiting.front() {
            let bytes = event.clone();
            if !self.serve_one(EVENT_QUEUE, |_, _| Answer {
                bytes,
                claims: None,
            }) {
                break;
            }
            waiting.pop_front();
        }
    }
}

fn mapping(offset: u64, len: u64, flags: u64) -> VhostUserMMap {
    VhostUserMMap {
        shm_offset: offset,
        len,
        flags,
        ..VhostUserMMap::default()
    }
}

/// Serves a device at `path` to the first VMM that connects, until it is gone.
pub fn serve<D: Device>(path: &Path, device: impl FnOnce(Arc<Vmm>) -> D + Send + 'static) {
    let listener = UnixListener::bind(path).expect("a socket");
    let (stream, _) = listener.accept().expect("a VMM");
    let vmm = Vmm::new();
    let rings = Arc::clone(&vmm);
    std::thread::spawn(move || {
        let mut device = device(Arc::clone(&rings));
        *locked(&rings.config) = device.config();
        rings.run(&mut device);
    });
    let handler = RequestHandler {
        vmm,
        ranges: Vec::new(),
    };
    let mut requests = BackendReqHandler::from_stream(stream, Arc::new(Mutex::new(handler)));
    while requests.handle_request().is_ok() {}
}

/// Requests of the VMM.
struct RequestHandler {
    vmm: Arc<Vmm>,
    /// Where the VMM has the guest's memory, and where the guest has it.
    ranges: Vec<(Range<u64>, u64)>,
}

impl RequestHandler {
    fn guest_address(&self, address: u64) -> Result<GuestAddress> {
        self.ranges
            .iter()
            .find(|(range, _)| range.contains(&address))
            .map(|(range, guest)| GuestAddress(address - range.start + guest))
            .ok_or(Error::InvalidParam)
    }

    fn change(&self, index: u32, change: impl FnOnce(&mut Ring)) -> Result<()> {
        change(&mut *self.vmm.ring(index)?);
        let _ = self.vmm.wake.write(1);
        Ok(())
    }
}

macro_rules! without {
    ($($name:ident($($arg:ty),*) -> $ret:ty;)*) => {
        $(fn $name(&mut self, $(_: $arg),*) -> Result<$ret> {
            Err(Error::InvalidOperation(stringify!($name)))
        })*
    };
}

impl VhostUserBackendReqHandlerMut for RequestHandler {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::BACKEND_SEND_FD
            | VhostUserProtocolFeatures::SHMEM)
    }

    fn set_protocol_features(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(u64::from(NUM_QUEUES))
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let mut ranges = Vec::new();
        let mut mapped = Vec::new();
        for (region, file) in regions.iter().zip(files) {
            let (start, guest) = (region.user_addr, region.guest_phys_addr);
            ranges.push((start..start + region.memory_size, guest));
            let memory = GuestRegionMmap::new(region.mmap_region(file)?, GuestAddress(guest));
            mapped.push(memory.ok_or(Error::InvalidParam)?);
        }
        let memory = GuestMemoryMmap::from_regions(mapped).map_err(other)?;
        let lock = self.vmm.memory.lock().map_err(|_| Error::InvalidParam)?;
        lock.replace(memory);
        self.ranges = ranges;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        self.change(index, |ring| ring.queue.set_size(num as u16))
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _: u64,
    ) -> Result<()> {
        let descriptor = self.guest_address(descriptor)?;
        let available = self.guest_address(available)?;
        let used = self.guest_address(used)?;
        let memory = self.vmm.memory.memory();
        let mut ring = self.vmm.ring(index)?;
        let queue = &mut ring.queue;
        queue
            .try_set_desc_table_address(descriptor)
            .map_err(other)?;
        queue.try_set_avail_ring_address(available).map_err(other)?;
        queue.try_set_used_ring_address(used).map_err(other)?;
        let next = queue.used_idx(&*memory, Ordering::Acquire).map_err(other)?;
        queue.set_next_used(next.0);
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.change(index, |ring| ring.queue.set_next_avail(base as u16))
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let mut ring = self.vmm.ring(index)?;
        ring.running = false;
        ring.queue.set_ready(false);
        ring.kick = None;
        let next = u32::from(ring.queue.next_avail());
        drop(ring);
        if index == u32::from(COMMAND_QUEUE) {
            self.vmm.stops.fetch_add(1, Ordering::Release);
        }
        let _ = self.vmm.wake.write(1);
        Ok(VhostUserVringState::new(index, next))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.change(index.into(), |ring| {
            ring.kick = file.map(Arc::new);
            ring.queue.set_ready(true);
        })
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.change(index.into(), |ring| ring.call = file)
    }

    fn set_vring_err(&mut self, _: u8, _: Option<File>) -> Result<()> {
        Ok(())
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.change(index, |ring| ring.running = enable)
    }

    fn get_config(&mut self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let config = locked(&self.vmm.config);
        let range = offset as usize..offset as usize + size as usize;
        Ok(config.get(range).unwrap_or_default().to_vec())
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        Ok(())
    }

    fn set_backend_req_fd(&mut self, backend: Backend) {
        backend.set_reply_ack_flag(true);
        backend.set_shmem_flag(true);
        *locked(&self.vmm.backend) = Some(backend);
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Ok(VhostUserShMemConfig::new(1, &[REGION]))
    }

    without! {
        reset_owner() -> ();
        reset_device() -> ();
        set_gpu_socket(GpuBackend) -> ();
        get_shared_object(VhostUserSharedMsg) -> File;
        get_inflight_fd(&VhostUserInflight) -> (VhostUserInflight, File);
        set_inflight_fd(&VhostUserInflight, File) -> ();
        get_max_mem_slots() -> u64;
        add_mem_region(&VhostUserSingleMemoryRegion, File, Option<bool>) ->
            Option<VhostUserMemoryRegionBase>;
        remove_mem_region(&VhostUserSingleMemoryRegion) -> ();
        set_device_state_fd(VhostTransferStateDirection, VhostTransferStatePhase, File) ->
            Option<File>;
        check_device_state() -> ();
        set_log_base(&VhostUserLog, File) -> ();
    }
}
