// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory of the VM that a session serves: the guest's, the shared region, objects, the account.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use protocol::wire::sg::{SgEntry, Uuid};
use tokio::runtime::Handle;
use vm_memory::{
    GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    MemoryRegionAddress,
};

use super::buffer::HostBuffer;
use super::cache::Caches;
use super::costs::Costs;
use super::fence::{self, Fence};
use super::ledger::Ledger;
use super::mapping::Access;
use super::object::{Lookup, Object, Objects};
use super::plane::PlaneMemory;
use super::scatter;
use super::truncated::{Guard, seal};
use super::udmabuf::probe as probe_udmabuf;
use super::view::{ImportAs, View};
use crate::counters::Counters;

/// Guest memory as the VMM describes it; replaced as a whole when that changes.
pub type GuestMemory = GuestMemoryAtomic<GuestMemoryMmap>;

/// Guest memory that the VMM can cut short: what guards it, and then what keeps it mapped.
type Guarded = (Vec<Guard>, Option<Arc<GuestMemoryMmap>>);

#[derive(Debug)]
struct Inner {
    guest: GuestMemory,
    guarded: Mutex<Guarded>,
    caches: Caches,
    objects: Arc<Objects>,
    runtime: Option<Handle>,
    /// The driver keeps imported pages where they are until the device has answered that it forgot
    /// them.
    keeps_pages: AtomicBool,
    /// The log says that there are no udmabufs of its memory.
    warned: AtomicBool,
}

/// How a device reaches the memory of its VM; clones are handles of the same session.
#[derive(Clone, Debug)]
pub struct Vm {
    inner: Arc<Inner>,
    costs: Costs,
}

impl Vm {
    /// A VM with this memory, which spends what is on `ledger`, and whose other devices' objects
    /// `lookup` knows. Fences are awaited on `runtime`.
    pub fn new(
        guest: GuestMemory,
        ledger: Arc<Ledger>,
        lookup: impl Lookup + 'static,
        counters: Arc<Counters>,
        runtime: Option<Handle>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                guest,
                guarded: Mutex::default(),
                caches: Caches::default(),
                objects: Objects::new(lookup),
                runtime,
                keeps_pages: AtomicBool::new(false),
                warned: AtomicBool::new(false),
            }),
            costs: Costs::new(ledger, counters),
        }
    }

    /// A VM without memory, so that devices can be tested on their own.
    pub fn without_guest() -> Self {
        Self::new(
            GuestMemory::new(GuestMemoryMmap::new()),
            Ledger::new(4 << 30, None),
            (),
            Arc::default(),
            None,
        )
    }

    /// A handle for one more session, with its own share of the kernel's mappings.
    pub fn session(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            costs: Costs::new(Arc::clone(self.ledger()), Arc::clone(self.counters())),
        }
    }

    /// What is counted of this VM.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.costs.counters
    }

    /// Whether the driver has promised what `VIRTIO_V4L2_F_PINNED_WHILE_CACHED` says. Until then it
    /// has not.
    pub fn set_keeps_pages(&self, keeps: bool) {
        self.inner.keeps_pages.store(keeps, Ordering::Relaxed);
    }

    pub(super) fn keeps_pages(&self) -> bool {
        self.inner.keeps_pages.load(Ordering::Relaxed)
    }

    /// What this VM makes the host spend.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.costs.ledger
    }

    pub(super) fn caches(&self) -> &Caches {
        &self.inner.caches
    }

    /// The VMM has changed the guest's memory. Views of what was are forgotten; those in use live
    /// on until they are not.
    pub fn replace_guest(&self, memory: GuestMemoryMmap) {
        let guard = self.inner.guest.lock();
        guard
            .unwrap_or_else(PoisonError::into_inner)
            .replace(memory);
        let now = self.inner.guest.memory().into_inner();
        let guarded = (guards(&now), Some(now));
        let unsealed = guarded.0.len();
        if unsealed > 0 && probe_udmabuf() && !self.inner.warned.swap(true, Ordering::Relaxed) {
            tracing::info!(
                "guest frames: mapped, not udmabuf: {unsealed} memory regions of the VMM are no \
                 memfd that can be sealed"
            );
        }
        let old = std::mem::replace(
            &mut *self
                .inner
                .guarded
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            guarded,
        );
        drop(old);
        self.inner.caches.forget_pages();
    }

    /// A buffer of the host's that the guest can map, all zero.
    ///
    /// # Errors
    ///
    /// `EINVAL` for length 0; `ENOMEM` when it would exceed the VM's limit, or the host has no
    /// memory.
    pub fn buffer(&self, len: usize) -> Result<Arc<HostBuffer>, Errno> {
        HostBuffer::new_on(self.ledger(), len, false)
    }

    /// As [`buffer`](Self::buffer), for raw frames: a dmabuf, where the host can make one.
    ///
    /// # Errors
    ///
    /// As [`buffer`](Self::buffer).
    pub fn frame(&self, len: usize) -> Result<Arc<HostBuffer>, Errno> {
        let buffer = HostBuffer::new_on(self.ledger(), len, true)?;
        if buffer.dmabuf().is_some() {
            Counters::add(&self.counters().udmabufs, 1);
        }
        Ok(buffer)
    }

    /// Whether such buffers are parts of one mapping, unless that is full.
    pub fn has_arena(&self) -> bool {
        self.ledger().arena().is_some()
    }

    /// The dmabuf of the buffer that was exported as `uuid`. `None` if none was, or the host can
    /// make no dmabufs.
    pub fn object_fd(&self, uuid: Uuid) -> Option<OwnedFd> {
        let buffer = self.inner.objects.buffer(uuid)?;
        buffer.dmabuf()?.try_clone_to_owned().ok()
    }

    /// The UUID by which `buffer` is found in the VM: always the same for the same buffer.
    ///
    /// # Errors
    ///
    /// `EIO` if the system has no random numbers.
    pub fn export(&self, buffer: &Arc<HostBuffer>) -> Result<Uuid, Errno> {
        self.inner.objects.name(buffer)
    }

    pub(super) fn object(&self, uuid: Uuid) -> Result<Object, Errno> {
        self.inner.objects.find(uuid)
    }

    pub(super) fn costs(&self) -> &Costs {
        &self.costs
    }

    /// What must happen before `memory` is used for `access`: dmabufs of other devices may not be
    /// ready yet. `then` is called when that has happened, or failed. `None` if there is nothing to
    /// wait for.
    ///
    /// # Errors
    ///
    /// `EIO` if it has failed already; or the system is out of file descriptors or memory.
    pub fn fence(
        &self,
        memory: &[PlaneMemory],
        access: Access,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<Option<Fence>, Errno> {
        let dmabufs = memory.iter().filter_map(|memory| match memory {
            PlaneMemory::Import(import) => Some(import.fd()),
            _ => None,
        });
        fence::of(dmabufs, access, self.inner.runtime.as_ref(), then)
    }

    /// Fills `data` with what is at `entries`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they have less; `EFAULT` if the guest has no memory there.
    pub fn read(&self, entries: &[SgEntry], data: &mut [u8]) -> Result<(), Errno> {
        scatter::read(&self.inner.guest.memory(), entries, data)
    }

    /// Copies `data` to `entries`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&self, entries: &[SgEntry], data: &[u8]) -> Result<(), Errno> {
        scatter::write(&self.inner.guest.memory(), entries, data)
    }

    /// Imports guest memory as one run. It is a dmabuf only if the driver keeps the pages,
    /// or the form asks for one: a udmabuf has the pages that were there when it was made, a
    /// mapping those that are there now.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is to be a dmabuf and the host can make none of it, or if `entries` have a
    /// page in part, but for the start of the first and the end of the last, or more than 1 GiB;
    /// `EFAULT` if there is no memory where they are; `ENOMEM` if they are so scattered that the
    /// kernel has no mappings left for them, or it would exceed the VM's limit.
    pub fn view(
        &self,
        entries: &[SgEntry],
        access: Access,
        form: ImportAs,
    ) -> Result<Arc<View>, Errno> {
        let guest = self.inner.guest.memory();
        let costs = (self.keeps_pages(), &self.costs);
        View::new(&guest, entries, (access, form), costs)
    }
}

/// Guards for those regions of `memory` whose files can be cut short.
fn guards(memory: &Arc<GuestMemoryMmap>) -> Vec<Guard> {
    let unsealed = memory
        .iter()
        .filter(|region| region.file_offset().is_some_and(|file| !seal(file.file())));
    let guards = unsealed.filter_map(|region| {
        let start = region.get_host_address(MemoryRegionAddress(0)).ok()?;
        // SAFETY: Guest memory is accessed as volatile only, and `Guarded` keeps it for longer than
        // the guards.
        let guard = unsafe { Guard::new(start.expose_provenance(), region.len() as usize) };
        guard.ok()
    });
    guards.collect()
}
