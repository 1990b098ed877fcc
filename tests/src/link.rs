// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The VMM's side of vhost-user.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use protocol::wire::config::{Config, VIRTIO_V4L2_F_PINNED_WHILE_CACHED};
use protocol::wire::{COMMAND_QUEUE, EVENT_QUEUE, NUM_QUEUES};
use vhost::VhostBackend;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag};
use vhost::vhost_user::{
    Frontend, FrontendReqHandler, VhostUserFrontend, VhostUserProtocolFeatures,
    VhostUserVirtioFeatures,
};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EventFd};
use zerocopy::FromBytes;

use crate::memory::{Backing, GuestMemory, SharedRegion};
use crate::ring::Ring;
use crate::vmm::{Before, Message, Vmm};

/// `VIRTIO_F_VERSION_1`.
const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_INDIRECT_DESC`.
const INDIRECT_DESC: u64 = 1 << 28;
/// `VIRTIO_F_EVENT_IDX`.
const EVENT_IDX: u64 = 1 << 29;

/// What the VMM and the driver in it are like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it speaks vhost-user.
    pub vmm: Vmm,
    /// Runs of guest memory: address and length.
    pub memory: Vec<(u64, usize)>,
    /// What the files of that are.
    pub backing: Backing,
    /// Descriptors in each queue.
    pub queue_size: u16,
    /// Take `VIRTIO_F_EVENT_IDX` if the device offers it.
    pub event_idx: bool,
    /// Take `VIRTIO_F_INDIRECT_DESC` if the device offers it.
    pub indirect: bool,
    /// Take shared memory regions, if the VMM does.
    pub shmem: bool,
    /// Take shared objects, if the VMM does.
    pub objects: bool,
    /// Index at which the queues begin, as if they had been in use.
    pub first_index: u16,
    /// Buffers that the driver leaves on the event queue.
    pub event_buffers: usize,
    /// Promise to keep the pages of imported memory, if the device asks for that.
    pub keeps_pages: bool,
}

impl Default for Options {
    /// Two runs of memory with a hole between them, a region for shared memory, and a driver that
    /// takes all features.
    fn default() -> Self {
        Self {
            vmm: Vmm::Qemu,
            memory: vec![(0, 32 << 20), (1 << 32, 1 << 20)],
            backing: Backing::Sealed,
            queue_size: 256,
            event_idx: true,
            indirect: true,
            shmem: true,
            objects: true,
            first_index: 0,
            event_buffers: 64,
            keeps_pages: true,
        }
    }
}

impl Options {
    /// A VMM of this kind, with more memory, as the programs in it may have to do without the
    /// device's.
    pub fn of(vmm: Vmm) -> Self {
        Self {
            vmm,
            memory: vec![(0, 64 << 20), (1 << 32, 16 << 20)],
            backing: vmm.backing(),
            queue_size: vmm.queue_size(),
            indirect: vmm != Vmm::Crosvm,
            ..Self::default()
        }
    }
}

/// A connection to the daemon, with both rings running.
pub struct Link {
    frontend: Frontend,
    vmm: Vmm,
    /// What the guest has.
    pub memory: Arc<GuestMemory>,
    /// What the daemon maps.
    pub shared: Arc<SharedRegion>,
    /// Queue 0.
    pub commands: Ring,
    /// Queue 1.
    pub events: Ring,
    /// Virtio feature bits that were taken.
    pub features: u64,
    /// vhost-user features that were taken.
    pub protocol_features: VhostUserProtocolFeatures,
    stop: EventFd,
    requests: Option<JoinHandle<()>>,
}

impl Link {
    /// Negotiates over `stream`, shares memory and starts the rings.
    ///
    /// # Errors
    ///
    /// The daemon refused something, or went away.
    pub fn new(stream: UnixStream, options: &Options) -> io::Result<Self> {
        let vmm = options.vmm;
        let mut frontend = Frontend::from_stream(stream, u64::from(NUM_QUEUES));
        if vmm.owns_at_once() {
            frontend.set_owner().map_err(io::Error::other)?;
        }
        let offered = frontend.get_features().map_err(io::Error::other)?;
        let mut wanted = VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        if options.event_idx {
            wanted |= EVENT_IDX;
        }
        if options.indirect {
            wanted |= INDIRECT_DESC;
        }
        if options.keeps_pages {
            wanted |= 1 << VIRTIO_V4L2_F_PINNED_WHILE_CACHED;
        }
        let features = offered & wanted;

        let offered = frontend.get_protocol_features().map_err(io::Error::other)?;
        let mut wanted = vmm.protocol_features();
        wanted.set(
            VhostUserProtocolFeatures::SHMEM,
            options.shmem && wanted.contains(VhostUserProtocolFeatures::SHMEM),
        );
        wanted.set(
            VhostUserProtocolFeatures::SHARED_OBJECT,
            options.objects && wanted.contains(VhostUserProtocolFeatures::SHARED_OBJECT),
        );
        let protocol_features = offered & wanted;
        frontend
            .set_protocol_features(protocol_features)
            .map_err(io::Error::other)?;
        if protocol_features.contains(VhostUserProtocolFeatures::REPLY_ACK)
            && vmm.asks_for_replies()
        {
            // A refusal is seen where it happens.
            frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }

        let shared = Arc::new(SharedRegion::new(vmm.keeps_mappings()));
        let stop = EventFd::new(EFD_CLOEXEC)?;
        let mut requests = None;
        if protocol_features.contains(VhostUserProtocolFeatures::BACKEND_REQ) {
            let mut handler = FrontendReqHandler::new(shared.clone()).map_err(io::Error::other)?;
            handler.set_reply_ack_flag(
                protocol_features.contains(VhostUserProtocolFeatures::REPLY_ACK),
            );
            frontend
                .set_backend_request_fd(&handler.get_tx_raw_fd())
                .map_err(io::Error::other)?;
            requests = Some(serve_requests(handler, &shared, &stop)?);
        }
        if protocol_features.contains(VhostUserProtocolFeatures::SHMEM) {
            let config = frontend.get_shmem_config().map_err(io::Error::other)?;
            shared.set_size(config.memory_sizes[0]);
        }

        let memory = GuestMemory::new(&options.memory, options.backing, vmm.one_file())?;
        if protocol_features.contains(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS) {
            frontend.get_max_mem_slots().map_err(io::Error::other)?;
            for region in memory.table() {
                frontend.add_mem_region(&region).map_err(io::Error::other)?;
            }
        }
        let event_idx = features & EVENT_IDX != 0;
        let ring = || Ring::new(&memory, options.queue_size, event_idx, options.first_index);
        let mut link = Self {
            commands: ring()?,
            events: ring()?,
            frontend,
            vmm,
            memory,
            shared,
            features,
            protocol_features,
            stop,
            requests,
        };
        if vmm.one_call() {
            link.events.share_call(&link.commands)?;
        }
        link.activate([options.first_index; 2])?;
        Ok(link)
    }

    /// What a VMM says when the guest's driver starts the device.
    fn activate(&self, bases: [u16; 2]) -> io::Result<()> {
        let mut frontend = self.frontend.clone();
        let slots = VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
        for before in self.vmm.before() {
            match before {
                Before::Owner => frontend.set_owner(),
                Before::Features => frontend.set_features(self.features),
                Before::Memory if self.protocol_features.contains(slots) => Ok(()),
                Before::Memory => frontend.set_mem_table(&self.memory.table()).map(drop),
            }
            .map_err(io::Error::other)?;
        }
        let rings = [&self.commands, &self.events];
        for messages in self.vmm.order() {
            for (index, (ring, base)) in rings.into_iter().zip(bases).enumerate() {
                for message in *messages {
                    match message {
                        Message::Num => frontend.set_vring_num(index, ring.size()),
                        Message::Base => frontend.set_vring_base(index, base),
                        Message::Addr => frontend.set_vring_addr(index, &ring.config()),
                        Message::Call => frontend.set_vring_call(index, ring.call_fd()),
                        Message::Kick => frontend.set_vring_kick(index, ring.kick_fd()),
                        Message::Enable => frontend.set_vring_enable(index, true),
                    }
                    .map_err(io::Error::other)?;
                }
            }
        }
        Ok(())
    }

    /// Stops the rings in the VMM's way. Returns where they are to go on, or zeros if it does not
    /// ask.
    fn halt(&mut self) -> io::Result<[u16; 2]> {
        let mut bases = [0; 2];
        for (base, index) in bases.iter_mut().zip([COMMAND_QUEUE, EVENT_QUEUE]) {
            let index = usize::from(index);
            if self.vmm.disables() {
                let disabled = self.frontend.set_vring_enable(index, false);
                disabled.map_err(io::Error::other)?;
            }
            if self.vmm.gets_bases() {
                let stopped = self.frontend.get_vring_base(index);
                *base =
                    u16::try_from(stopped.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
            self.shared.stop();
        }
        Ok(bases)
    }

    /// vhost-user itself, for what the rest does not cover.
    pub fn frontend(&self) -> Frontend {
        self.frontend.clone()
    }

    /// Whether the device's memory can be seen in a shared memory region.
    pub fn has_region(&self) -> bool {
        let shmem = VhostUserProtocolFeatures::SHMEM;
        self.protocol_features.contains(shmem)
    }

    /// Whether indirect descriptors may be used.
    pub fn indirect(&self) -> bool {
        self.features & INDIRECT_DESC != 0
    }

    /// Resets the device as a guest's reboot does: rings stop, and start again empty.
    ///
    /// # Errors
    ///
    /// The daemon refused something, or went away.
    pub fn restart(&mut self) -> io::Result<()> {
        self.halt()?;
        let reset = VhostUserProtocolFeatures::RESET_DEVICE;
        if self.protocol_features.contains(reset) {
            self.frontend.reset_device().map_err(io::Error::other)?;
        }
        self.shared.start(true);
        let event_idx = self.features & EVENT_IDX != 0;
        // At the same addresses again, or not.
        for ring in [&mut self.commands, &mut self.events] {
            *ring = Ring::new(&self.memory, ring.size(), event_idx, 0)?;
        }
        if self.vmm.one_call() {
            self.events.share_call(&self.commands)?;
        }
        self.activate([0; 2])
    }

    /// Stops the rings, as a VMM does that pauses the guest. Returns where they are to go on.
    ///
    /// # Errors
    ///
    /// The daemon refused something, or went away.
    pub fn pause(&mut self) -> io::Result<[u16; 2]> {
        self.halt()
    }

    /// Goes on after [`pause`](Self::pause), with the same rings.
    ///
    /// # Errors
    ///
    /// The daemon refused something, or went away.
    pub fn resume(&mut self, bases: [u16; 2]) -> io::Result<()> {
        self.shared.start(false);
        if self.vmm.gets_bases() {
            return self.activate(bases);
        }
        for index in [COMMAND_QUEUE, EVENT_QUEUE] {
            let enabled = self.frontend.set_vring_enable(usize::from(index), true);
            enabled.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Reads `size` bytes from `offset` of the configuration space.
    ///
    /// # Errors
    ///
    /// The daemon refused, or went away.
    pub fn config_bytes(&mut self, offset: u32, size: u32) -> io::Result<Vec<u8>> {
        let empty = vec![0; size as usize];
        self.frontend
            .get_config(offset, size, VhostUserConfigFlags::empty(), &empty)
            .map(|(_, bytes)| bytes)
            .map_err(io::Error::other)
    }

    /// Reads the configuration space.
    ///
    /// # Errors
    ///
    /// The daemon refused, or went away.
    pub fn config(&mut self) -> io::Result<Config> {
        let bytes = self.config_bytes(0, size_of::<Config>() as u32)?;
        Config::read_from_bytes(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

/// Answers the daemon's requests until `stop` is signalled or the daemon hangs up.
fn serve_requests(
    mut handler: FrontendReqHandler<SharedRegion>,
    shared: &Arc<SharedRegion>,
    stop: &EventFd,
) -> io::Result<JoinHandle<()>> {
    let epoll = Epoll::new()?;
    let stop = stop.try_clone()?;
    let shared = Arc::clone(shared);
    for (fd, data) in [(handler.as_raw_fd(), 0), (stop.as_raw_fd(), 1)] {
        let event = EpollEvent::new(EventSet::IN, data);
        epoll.ctl(ControlOperation::Add, fd, event)?;
    }
    std::thread::Builder::new()
        .name("vmm-requests".into())
        .spawn(move || {
            loop {
                let mut events = [EpollEvent::default()];
                match epoll.wait(-1, &mut events) {
                    Ok(1) if events[0].data() == 0 => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    _ => break,
                }
                match shared.objects.serve(handler.as_raw_fd()) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(_) => break,
                }
                match handler.handle_request() {
                    // A refusal is the daemon's to handle.
                    Ok(_) | Err(vhost::vhost_user::Error::ReqHandlerError(_)) => {}
                    Err(_) => break,
                }
            }
            drop(stop);
        })
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.requests.take() {
            let _ = thread.join();
        }
    }
}
