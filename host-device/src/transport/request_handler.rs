// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Requests of the VMM, the frontend in vhost-user's terms.

use std::fs::File;
use std::io;
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
use vm_memory::{GuestAddressSpace, GuestMemoryMmap};
use zerocopy::IntoBytes;

use super::connection::VmmConnection;
use super::regions::{Fault, MAX_SLOTS, Regions};
use super::ring::Ring;

const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | 1 << VIRTIO_RING_F_INDIRECT_DESC
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_V4L2_F_PINNED_WHILE_CACHED
    | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// The VMM, as far as it concerns us.
pub(super) struct RequestHandler {
    connection: Arc<VmmConnection>,
    regions: Regions,
    acked_features: u64,
    acked_protocol_features: u64,
    /// The socket that comes with the request that is handled next.
    offered: Option<UnixStream>,
    /// The request that was handled last failed, and the VMM waits for no answer but that.
    refused: bool,
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}

impl RequestHandler {
    pub(super) fn new(connection: Arc<VmmConnection>) -> Self {
        Self {
            connection,
            regions: Regions::default(),
            acked_features: 0,
            acked_protocol_features: 0,
            offered: None,
            refused: false,
        }
    }

    /// Whether the request that has just failed was one that this refuses: the conversation goes
    /// on.
    pub(super) fn has_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// The result of a request to which the VMM gets no answer but whether it was met, if it wants
    /// to know even that: a failure does not end the conversation.
    fn met<T>(&mut self, result: Result<T>) -> Result<T> {
        self.refused = result.is_err();
        result
    }

    /// Takes the socket that comes with the next request.
    pub(super) fn offer(&mut self, socket: UnixStream) {
        self.offered = Some(socket);
    }

    fn ring(&self, index: u32) -> Result<&Ring> {
        self.connection.ring(index).ok_or(Error::InvalidParam)
    }

    /// Changes a ring's state, and has the ring thread look at it.
    fn change<T>(
        &mut self,
        index: u32,
        change: impl FnOnce(&mut super::ring::State) -> Result<T>,
    ) -> Result<T> {
        let changed = self.ring(index).and_then(|ring| ring.configure(change));
        self.connection.changed();
        self.met(changed)
    }

    /// The VMM has changed the guest's memory.
    fn remember(&mut self, memory: std::result::Result<GuestMemoryMmap, Fault>) -> Result<()> {
        let (memory, result) = match memory {
            Ok(memory) => (Some(memory), Ok(())),
            // Without a table that can be, nobody knows where anything is.
            Err(fault) => {
                let none = (self.regions.len() == 0).then(GuestMemoryMmap::new);
                (none, Err(other(fault)))
            }
        };
        if let Some(memory) = memory {
            self.connection.vm.replace_guest(memory);
            tracing::debug!("{} memory regions", self.regions.len());
            self.connection.region.set_regions(self.regions.len());
            self.connection.changed();
        }
        self.met(result)
    }
}

impl VhostUserBackendReqHandlerMut for RequestHandler {
    fn set_owner(&mut self) -> Result<()> {
        // Once more is fine: libkrun says so whenever the device is activated.
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        tracing::debug!("reset");
        self.acked_features = 0;
        self.connection.reset_device();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !FEATURES != 0 {
            return self.met(Err(other("features that are not offered")));
        }
        self.acked_features = features;
        let keeps_pages = features & 1 << VIRTIO_V4L2_F_PINNED_WHILE_CACHED != 0;
        self.connection.vm.set_keeps_pages(keeps_pages);
        let event_idx = features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        // Without protocol features there is no SET_VRING_ENABLE.
        let enabled = features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        for ring in self.connection.rings() {
            ring.configure(|ring| {
                ring.queue().set_event_idx(event_idx);
                if enabled {
                    ring.enable();
                }
            });
        }
        self.connection.changed();
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
        // One or the other: with both, QEMU 11.1 keeps mappings in its table of regions when the
        // device is reset, and crashes on them when it starts again.
        features |= if self.connection.region.size() > 0 {
            VhostUserProtocolFeatures::SHMEM
        } else {
            VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        };
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
        let memory = self.regions.set(regions, files);
        self.remember(memory).map(|()| None)
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MAX_SLOTS as u64)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        if postcopy_listening.is_some() {
            return Err(Error::InvalidOperation("no postcopy"));
        }
        let memory = self.regions.add(region, file);
        self.remember(memory).map(|()| None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let memory = self.regions.remove(region);
        self.remember(memory)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        self.change(index, |ring| match ring.set_size(num) {
            true => Ok(()),
            false => Err(other(format!(
                "a queue of {num} descriptors; want a power of two up to 32768"
            ))),
        })
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
        let known = |address| self.regions.guest_address(address);
        let addresses = [descriptor, available, used].map(known);
        let addresses = match addresses {
            [Some(table), Some(available), Some(used)] => Some([table, available, used]),
            _ => None,
        };
        let memory = self.connection.memory.memory();
        self.change(index, |ring| match ring.set_addresses(addresses, &memory) {
            true => Ok(()),
            false => Err(other(
                "a queue outside of the guest's memory, or not aligned",
            )),
        })
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.change(index, |ring| {
            let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
            ring.queue().set_next_avail(base);
            Ok(())
        })
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let next = self.connection.stop(self.ring(index)?);
        self.connection.changed();
        tracing::debug!("queue {index} stopped");
        Ok(VhostUserVringState::new(index, u32::from(next)))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        if file.is_none() {
            tracing::warn!("queue {index} has no file for kicks: what the guest adds is not seen");
        }
        self.change(u32::from(index), |ring| {
            ring.start(file);
            Ok(())
        })
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.change(u32::from(index), |ring| {
            ring.set_call(file);
            Ok(())
        })
    }

    fn set_vring_err(&mut self, index: u8, _file: Option<File>) -> Result<()> {
        let known = self.ring(u32::from(index)).map(|_| ());
        self.met(known)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        if enable {
            return self.change(index, |ring| {
                ring.enable();
                Ok(())
            });
        }
        let disabled = self.ring(index).map(|ring| self.connection.disable(ring));
        self.met(disabled)
    }

    fn get_config(&mut self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        // Zeros where there is nothing: the guest may read anywhere, and a VMM may end if that
        // fails.
        let config = self.connection.device.config();
        let mut bytes = config
            .as_bytes()
            .get(offset as usize..)
            .unwrap_or_default()
            .to_vec();
        // At most VHOST_USER_CONFIG_SIZE: crate `vhost` has checked that.
        bytes.resize(size as usize, 0);
        Ok(bytes)
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        // All of it is read-only. A guest that writes there all the same is none of the VMM's
        // doing: an error would end the connection.
        Ok(())
    }

    fn set_backend_req_fd(&mut self, _: Backend) {
        if let Some(socket) = self.offered.take() {
            self.connection
                .channel
                .set(socket, self.acked_protocol_features);
        }
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Ok(VhostUserShMemConfig::new(
            1,
            &[self.connection.region.size()],
        ))
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        Err(Error::InvalidOperation("not a GPU"))
    }

    fn get_shared_object(&mut self, object: VhostUserSharedMsg) -> Result<File> {
        // The VMM hands it on to a device that looks for it. Without a file the answer says that
        // there is none.
        self.connection
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
