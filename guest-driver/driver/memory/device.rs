// SPDX-License-Identifier: GPL-2.0

//! Memory of the guest that the device can reach, and memory of the device that processes map.

use super::mappings::Mappings;
use crate::driver::channel::Channel;
use crate::media::revocable::Revocable;
use crate::virtio::{self, ShmRegion};
use crate::wire;
use kernel::device::Bound;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{new_mutex, Arc, Mutex};

/// What buffers are aligned to in the device's shared memory region: a kernel with larger pages
/// cannot map them.
const REGION_PAGE: usize = 4096;

/// The memory of a device, and its access to the guest's.
#[pin_data]
pub(in crate::driver) struct DeviceMemory {
    channel: Arc<Channel>,
    #[pin]
    mappings: Mutex<Mappings>,
    shm: Option<ShmRegion>,
    /// Whether the device can reach memory of the guest by its physical address.
    imports: bool,
    dma_device: ARef<kernel::device::Device>,
    revocable: Arc<Revocable>,
}

impl DeviceMemory {
    /// The memory of the device that `channel` leads to.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::driver) fn new(
        dev: &virtio::Device<Bound>,
        channel: Arc<Channel>,
    ) -> Result<Arc<Self>> {
        let mut shm = dev.shm_region(wire::SHM_REGION_MMAP);
        if shm.is_some() && PAGE_SIZE != REGION_PAGE {
            dev_warn!(
                dev,
                "pages are of {} KiB here, and of 4 in the device's shared memory: \
                 MMAP buffers are pages of the guest\n",
                PAGE_SIZE / 1024
            );
            shm = None;
        }
        let imports = !dev.has_feature(virtio::F_ACCESS_PLATFORM);
        dev.take_any_segment();
        let dma_device = dev.dma_device();
        let revocable = Revocable::new()?;
        Arc::pin_init(
            pin_init!(Self {
                channel,
                mappings <- new_mutex!(Mappings::new()),
                shm,
                imports,
                dma_device,
                revocable,
            }),
            GFP_KERNEL,
        )
    }

    /// The way to the device.
    pub(in crate::driver) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Shared memory region 0, if the device has it.
    pub(in crate::driver) fn shm(&self) -> Option<ShmRegion> {
        self.shm
    }

    /// Whether the device can reach memory of the guest by its physical address. If not, the log
    /// says so.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: it is behind an IOMMU, or memory is encrypted (`VIRTIO_F_ACCESS_PLATFORM`).
    pub(in crate::driver) fn check_import(&self) -> Result {
        if self.imports {
            return Ok(());
        }
        if virtio::may_log() {
            dev_warn!(
                self.channel.dev(),
                "with VIRTIO_F_ACCESS_PLATFORM the guest's memory cannot be imported: \
                 use MMAP buffers\n"
            );
        }
        Err(Error::from_errno(-(kernel::bindings::EOPNOTSUPP as i32)))
    }

    /// The device that dmabufs are attached to.
    pub(super) fn dma_device(&self) -> &ARef<kernel::device::Device> {
        &self.dma_device
    }

    /// What processes map of its shared memory.
    pub(in crate::driver) fn revocable(&self) -> &Arc<Revocable> {
        &self.revocable
    }

    /// The list of mappings.
    pub(super) fn mappings(&self) -> &Mutex<Mappings> {
        &self.mappings
    }

    /// How many buffers of the device are mapped.
    pub(in crate::driver) fn mapped(&self) -> usize {
        self.mappings.lock().len()
    }

    /// The device goes away: nothing new is mapped, and touching what is mapped is `SIGBUS`. May
    /// sleep.
    pub(in crate::driver) fn close(&self) {
        self.mappings.lock().close();
        self.revocable.end();
    }

    /// Unmaps all that processes have mapped, and waits a little until the device has answered
    /// everything: QEMU 11.1 does not survive the reset of a device that has something mapped into
    /// its shared memory, nor a change of it in the middle of the reset.
    ///
    /// No process touches a mapping any more. May sleep.
    pub(in crate::driver) fn end_mappings(&self, alive: bool) {
        for munmap in self.mappings.lock().end() {
            self.channel.post(munmap);
        }
        self.channel.flush(alive);
    }
}
