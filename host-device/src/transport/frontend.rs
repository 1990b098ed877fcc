// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Requests of the VMM, the frontend in vhost-user's terms.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use protocol::wire::NUM_QUEUES;
use protocol::wire::config::VIRTIO_V4L2_F_PINNED_WHILE_CACHED;
use protocol::wire::sg::Uuid;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Backend, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};
use zerocopy::IntoBytes;

use super::link::{Link, QUEUE_SIZE};
use super::ring::Ring;

const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | 1 << VIRTIO_RING_F_INDIRECT_DESC
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_V4L2_F_PINNED_WHILE_CACHED
    | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// The VMM's view of a region, in which it gives the addresses of rings.
struct VmmRange {
    vmm: Range<u64>,
    guest: u64,
}

/// The VMM, as far as it concerns us.
pub(super) struct Frontend {
    link: Arc<Link>,
    ranges: Vec<VmmRange>,
    owned: bool,
    acked_features: u64,
    acked_protocol_features: u64,
    /// The socket that comes with the request that is handled next.
    offered: Option<UnixStream>,
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}

impl Frontend {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            ranges: Vec::new(),
            owned: false,
            acked_features: 0,
            acked_protocol_features: 0,
            offered: None,
        }
    }

    /// Takes the socket that comes with the next request.
    pub(super) fn offer(&mut self, socket: UnixStream) {
        self.offered = Some(socket);
    }

    fn ring(&self, index: u32) -> Result<&Ring> {
        self.link.ring(index).ok_or(Error::InvalidParam)
    }

    /// The guest's address of what the VMM has at `address`.
    fn guest_address(&self, address: u64) -> Result<GuestAddress> {
        self.ranges
            .iter()
            .find(|range| range.vmm.contains(&address))
            .map(|range| GuestAddress(address - range.vmm.start + range.guest))
            .ok_or_else(|| other("a ring is outside of the guest's memory"))
    }

    fn region(region: &VhostUserMemoryRegion, file: File) -> Result<(GuestRegionMmap, VmmRange)> {
        let (start, size, guest) = (region.user_addr, region.memory_size, region.guest_phys_addr);
        tracing::trace!("memory: {size:#x} bytes at {guest:#x}");
        let end = start.checked_add(size).ok_or(Error::InvalidParam)?;
        guest.checked_add(size).ok_or(Error::InvalidParam)?;
        let mapped = GuestRegionMmap::new(region.mmap_region(file)?, GuestAddress(guest))
            .ok_or(Error::InvalidParam)?;
        let range = VmmRange {
            vmm: start..end,
            guest,
        };
        Ok((mapped, range))
    }

    /// Changes a ring's state, and has the ring thread look at it.
    fn change<T>(
        &self,
        index: u32,
        change: impl FnOnce(&mut super::ring::State) -> T,
    ) -> Result<T> {
        let changed = self.ring(index)?.configure(change);
        self.link.wake();
        Ok(changed)
    }
}

impl VhostUserBackendReqHandlerMut for Frontend {
    fn set_owner(&mut self) -> Result<()> {
        if self.owned {
            return Err(Error::InvalidOperation("already claimed"));
        }
        self.owned = true;
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.owned = false;
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        tracing::debug!("reset");
        for ring in self.link.rings() {
            ring.configure(super::ring::State::disable);
        }
        self.acked_features = 0;
        self.link.reset();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !FEATURES != 0 {
            return Err(Error::InvalidParam);
        }
        self.acked_features = features;
        let keeps_pages = features & 1 << VIRTIO_V4L2_F_PINNED_WHILE_CACHED != 0;
        self.link.vm.set_keeps_pages(keeps_pages);
        let event_idx = features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        // Without protocol features there is no SET_VRING_ENABLE.
        let enabled = features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        for ring in self.link.rings() {
            ring.configure(|ring| {
                ring.queue().set_event_idx(event_idx);
                if enabled {
                    ring.set_enabled(true);
                }
            });
        }
        self.link.wake();
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        let mut features = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::BACKEND_SEND_FD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::SHARED_OBJECT;
        if self.link.region.size() > 0 {
            features |= VhostUserProtocolFeatures::SHMEM;
        }
        Ok(features)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.acked_protocol_features = features;
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(u64::from(NUM_QUEUES))
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        if postcopy_listening.is_some() {
            return Err(Error::InvalidOperation("no postcopy"));
        }
        let (mapped, ranges): (Vec<_>, Vec<_>) = regions
            .iter()
            .zip(files)
            .map(|(region, file)| Self::region(region, file))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let memory = GuestMemoryMmap::from_regions(mapped).map_err(other)?;
        self.link.vm.replace_guest(memory);
        tracing::debug!("{} memory regions", regions.len());
        self.link.region.set_regions(regions.len());
        self.ranges = ranges;
        Ok(None)
    }

    // No CONFIGURE_MEM_SLOTS: QEMU 11.1 then keeps a table of regions in which mappings in the shared memory region
    // stay after a reset, and crashes on them when the device starts again.

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Err(Error::InvalidOperation("no memory slots"))
    }

    fn add_mem_region(
        &mut self,
        _: &VhostUserSingleMemoryRegion,
        _: File,
        _: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        Err(Error::InvalidOperation("no memory slots"))
    }

    fn remove_mem_region(&mut self, _: &VhostUserSingleMemoryRegion) -> Result<()> {
        Err(Error::InvalidOperation("no memory slots"))
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num).map_err(|_| Error::InvalidParam)?;
        if !size.is_power_of_two() || size > QUEUE_SIZE {
            return Err(other(format!(
                "a queue has {num} descriptors; want a power of two up to {QUEUE_SIZE}"
            )));
        }
        self.change(index, |ring| ring.queue().set_size(size))
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let descriptor = self.guest_address(descriptor)?;
        let available = self.guest_address(available)?;
        let used = self.guest_address(used)?;
        let memory = &self.link.memory;
        self.change(index, |ring| {
            let queue = ring.queue();
            queue.try_set_desc_table_address(descriptor)?;
            queue.try_set_avail_ring_address(available)?;
            queue.try_set_used_ring_address(used)?;
            ring.resume(memory)
        })?
        .map_err(other)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.change(index, |ring| ring.queue().set_next_avail(base))
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let next = self.link.stop(self.ring(index)?);
        self.link.wake();
        tracing::debug!("queue {index} stopped");
        Ok(VhostUserVringState::new(index, u32::from(next)))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.link.start_ring(self.ring(u32::from(index))?, file);
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.change(u32::from(index), |ring| ring.set_call(file))
    }

    fn set_vring_err(&mut self, index: u8, _file: Option<File>) -> Result<()> {
        self.ring(u32::from(index)).map(|_| ())
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.change(index, |ring| ring.set_enabled(enable))?;
        if enable {
            self.link.region.start();
        }
        Ok(())
    }

    fn get_config(&mut self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let config = self.link.device.config();
        let range = offset as usize..(offset as usize).saturating_add(size as usize);
        Ok(config.as_bytes().get(range).unwrap_or_default().to_vec())
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        // All of it is read-only. A guest that writes there all the same is none of the VMM's doing: an error
        // would end the connection.
        Ok(())
    }

    fn set_backend_req_fd(&mut self, _: Backend) {
        if let Some(socket) = self.offered.take() {
            self.link.channel.set(socket, self.acked_protocol_features);
        }
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Ok(VhostUserShMemConfig::new(1, &[self.link.region.size()]))
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        Err(Error::InvalidOperation("not a GPU"))
    }

    fn get_shared_object(&mut self, object: VhostUserSharedMsg) -> Result<File> {
        // The VMM hands it on to a device that looks for it. Without a file the answer says that there is none.
        self.link
            .vm
            .object_fd(Uuid(object.uuid.into_bytes()))
            .map(File::from)
            .ok_or_else(|| other("no such object"))
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        Err(Error::InvalidOperation("no in-flight record"))
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        Err(Error::InvalidOperation("no in-flight record"))
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidOperation("no migration"))
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidOperation("no migration"))
    }

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        Err(Error::InvalidOperation("no migration"))
    }
}
