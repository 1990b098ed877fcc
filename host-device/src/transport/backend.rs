// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The connection to one VMM.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use protocol::wire::{COMMAND_QUEUE, EVENT_QUEUE, NUM_QUEUES};
use tokio::runtime::Handle;
use vhost::vhost_user::Backend;
use vhost::vhost_user::message::{
    VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserVirtioFeatures,
};
use vhost_user_backend::{VhostUserBackend, VringMutex, VringT};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};
use zerocopy::IntoBytes;

use super::command::{self, Scratch};
use super::event;
use super::shmem::Channel;
use crate::config::Limits;
use crate::device::Device;
use crate::events::Outbox;
use crate::memory::Region;
use crate::session::Sessions;

/// Guest memory as the VMM describes it; replaced as a whole when that changes.
pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// Most descriptors of a queue.
const QUEUE_SIZE: usize = 1024;

/// One VMM: its memory, its rings, its sessions.
pub(super) struct Link {
    this: Weak<Self>,
    device: Arc<dyn Device>,
    memory: Memory,
    sessions: Sessions,
    outbox: Arc<Outbox>,
    region: Arc<Region>,
    channel: Channel,
    runtime: Handle,
    /// Rings, from the first time that one of them is used.
    vrings: OnceLock<[VringMutex; 2]>,
    /// Counts stops and resets. Commands of an earlier generation are not answered.
    generation: AtomicU64,
    scratch: Mutex<Scratch>,
}

impl Link {
    pub(super) fn new(
        device: Arc<dyn Device>,
        memory: Memory,
        limits: Limits,
        runtime: Handle,
    ) -> Arc<Self> {
        let channel = Channel::default();
        let region = Arc::new(Region::new(limits.shm_size, channel.clone()));
        Arc::new_cyclic(|this: &Weak<Self>| {
            let link = Weak::clone(this);
            let outbox = Outbox::new(move || {
                if let Some(link) = link.upgrade() {
                    link.flush_events();
                }
            });
            Self {
                this: Weak::clone(this),
                sessions: Sessions::new(
                    Arc::clone(&device),
                    Arc::clone(&outbox),
                    Arc::clone(&region),
                    runtime.clone(),
                    limits.max_sessions,
                ),
                device,
                memory,
                outbox,
                region,
                channel,
                runtime,
                vrings: OnceLock::new(),
                generation: AtomicU64::new(0),
                scratch: Mutex::default(),
            }
        })
    }

    pub(super) fn memory(&self) -> Memory {
        self.memory.clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn table(&self) -> &Sessions {
        &self.sessions
    }

    /// Sessions that hold resources.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.count()
    }

    fn flush_events(&self) {
        if let Some([_, vring]) = self.vrings.get() {
            event::flush(&self.outbox, vring, &self.memory);
        }
    }

    /// Ends all sessions; what they had in flight is not answered any more.
    fn end_sessions(&self) {
        {
            // Holding the ring keeps a response that is being written from coming after this.
            let ring = self.vrings.get().map(|[vring, _]| vring.get_mut());
            self.generation.fetch_add(1, Ordering::AcqRel);
            drop(ring);
        }
        self.sessions.end_all();
    }

    /// The VMM is gone.
    pub(super) fn end(&self) {
        self.end_sessions();
        self.region.forget_all();
    }

    /// The guest has reset the device, or the VMM stopped it.
    fn reset(&self) {
        self.end_sessions();
        // The VMM waits for our answer and may not answer us until it has it: do not wait for it here.
        let region = Arc::clone(&self.region);
        self.runtime.spawn_blocking(move || region.unmap_all());
    }
}

impl VhostUserBackend for Link {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        usize::from(NUM_QUEUES)
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::BACKEND_SEND_FD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::SHMEM
    }

    fn set_event_idx(&self, _enabled: bool) {
        // The rings know.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = self.device.config();
        let range = offset as usize..(offset as usize).saturating_add(size as usize);
        config.as_bytes().get(range).unwrap_or_default().to_vec()
    }

    fn set_config(&self, _offset: u32, _buf: &[u8]) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the configuration space is read-only",
        ))
    }

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        // `self.memory` is the same one.
        Ok(())
    }

    fn set_backend_req_fd(&self, backend: Backend) {
        self.channel.set(backend);
    }

    fn get_shmem_config(&self) -> io::Result<VhostUserShMemConfig> {
        Ok(VhostUserShMemConfig::new(1, &[self.region.size()]))
    }

    fn reset_device(&self) {
        tracing::debug!("reset");
        self.reset();
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        tracing::debug!("queue {index} stopped");
        self.reset();
        Ok(())
    }

    fn exit_event(&self, _thread_index: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::CLOEXEC | EventFlag::NONBLOCK)
            .inspect_err(|error| tracing::error!("cannot make an event file: {error}"))
            .ok()
    }

    fn handle_event(
        &self,
        device_event: u16,
        _evset: EventSet,
        vrings: &[VringMutex],
        _thread_id: usize,
    ) -> io::Result<()> {
        // An error from here would end the ring thread for good: there is none.
        let ([command, event], Some(this)) = (vrings, self.this.upgrade()) else {
            return Ok(());
        };
        let _ = self.vrings.set([command.clone(), event.clone()]);
        match device_event {
            COMMAND_QUEUE => {
                let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
                command::process(&this, command, &mut scratch);
            }
            EVENT_QUEUE => {
                // The flush asks for the next kick if it needs one.
                let _ = event.disable_notification();
                self.flush_events();
            }
            _ => {}
        }
        Ok(())
    }
}
