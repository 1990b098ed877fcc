// SPDX-License-Identifier: GPL-2.0

//! Mappings of buffers into the memory of processes.

use super::pages::OwnPages;
use super::revocable::Revocable;
use crate::bindings;
use core::marker::PhantomData;
use kernel::error::to_result;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::Arc;

const VM_WRITE: usize = 0x2;
const VM_SHARED: usize = 0x8;
const VM_MAYWRITE: usize = 0x20;

/// An area of a process's memory that `mmap(2)` is setting up.
///
/// # Invariants
///
/// The pointer is valid for `'a`, and nobody else uses the area.
pub(crate) struct Vma<'a> {
    vma: *mut bindings::vm_area_struct,
    _lifetime: PhantomData<&'a mut bindings::vm_area_struct>,
}

impl Vma<'_> {
    /// # Safety
    ///
    /// The invariants hold.
    pub(super) unsafe fn new(vma: *mut bindings::vm_area_struct) -> Self {
        Self {
            vma,
            _lifetime: PhantomData,
        }
    }

    /// Offset into the file, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        // SAFETY: By the type invariant.
        let pages = unsafe { (*self.vma).vm_pgoff } as u64;
        pages.saturating_mul(PAGE_SIZE as u64)
    }

    /// Length in bytes, a multiple of the page size.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe {
            let area = &(*self.vma).__bindgen_anon_1.__bindgen_anon_1;
            area.vm_end - area.vm_start
        }
    }

    fn flags(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.vma).__bindgen_anon_2.vm_flags }
    }

    /// Whether writes go to the device: `MAP_SHARED`.
    pub(crate) fn is_shared(&self) -> bool {
        self.flags() & VM_SHARED != 0
    }

    /// Whether writes go, or could go, to copies of the process's own: `MAP_PRIVATE` of what may be
    /// written to.
    pub(crate) fn copies(&self) -> bool {
        self.flags() & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
    }

    /// Whether the process may write: `PROT_WRITE`.
    pub(crate) fn is_writable(&self) -> bool {
        self.flags() & VM_WRITE != 0
    }

    /// Has the area mapped, cached, to guest-physical memory from `addr` on, which is part of
    /// `memory`, when it is touched. The area's file is one that `memory` has
    /// [adopted](Revocable::adopt), and writes do not go to copies.
    ///
    /// `keep` lives until the last area that this one becomes is gone: areas are split, and copied
    /// by `fork(2)`. An area without `PROT_WRITE` cannot get it later.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `addr` is not the start of a page, or writes go to copies; `ENOMEM`.
    pub(crate) fn map<M: Send + Sync + 'static>(
        &mut self,
        memory: &Arc<Revocable>,
        addr: u64,
        keep: Arc<M>,
    ) -> Result {
        if addr % PAGE_SIZE as u64 != 0 || self.copies() {
            return Err(EINVAL);
        }
        let frame = usize::try_from(addr / PAGE_SIZE as u64).map_err(|_| EINVAL)?;
        let count = self.len() / PAGE_SIZE;
        // SAFETY: By the type invariant.
        let first = unsafe { (*self.vma).vm_pgoff };
        first.checked_add(count).ok_or(EINVAL)?;
        frame.checked_add(count).ok_or(EINVAL)?;
        let part = Part {
            memory: memory.clone(),
            frame,
            first,
            count,
            _keep: keep,
        };
        let part = Arc::new(part, GFP_KERNEL_ACCOUNT)?;
        self.protect();
        // SAFETY: By the type invariant.
        unsafe { bindings::v4l2_helper_vma_device(self.vma) };
        self.keep(part, &Keep::<Part<M>>::DEVICE);
        Ok(())
    }

    /// What is not writable now never will be.
    fn protect(&mut self) {
        if !self.is_writable() {
            // SAFETY: By the type invariant.
            unsafe { bindings::v4l2_helper_vma_no_write(self.vma) };
        }
    }
}

impl Vma<'_> {
    /// Maps the area to pages of the driver's, from the `first` on.
    ///
    /// `keep` and protection are as in [`Self::map`]. The pages themselves live as long as they are
    /// mapped.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are too few pages; `ENOMEM`.
    pub(crate) fn insert<M: Send + Sync + 'static>(
        &mut self,
        pages: &OwnPages,
        first: usize,
        keep: Arc<M>,
    ) -> Result {
        let count = self.len() / PAGE_SIZE;
        if first
            .checked_add(count)
            .is_none_or(|end| end > pages.count())
        {
            return Err(EINVAL);
        }
        self.protect();
        for (index, page) in pages.iter().skip(first).take(count).enumerate() {
            // SAFETY: By the type invariant; the pages are valid.
            to_result(unsafe { bindings::v4l2_helper_insert_page(self.vma, index, page) })?;
        }
        self.keep(keep, &Keep::<M>::OPS);
        Ok(())
    }

    fn keep<M: Send + Sync + 'static>(
        &mut self,
        keep: Arc<M>,
        operations: &'static bindings::vm_operations_struct,
    ) {
        // SAFETY: By the type invariant. `Keep` gives the reference back.
        unsafe {
            (*self.vma).vm_ops = operations;
            (*self.vma).vm_private_data = Arc::into_raw(keep).cast_mut().cast();
        }
    }
}

/// The part of a device's memory that an area shows.
struct Part<M> {
    memory: Arc<Revocable>,
    /// Where it starts, in pages.
    frame: usize,
    /// Where it starts in the file, in pages: areas are split, and moved by `mremap(2)`.
    first: usize,
    /// Its length in pages.
    count: usize,
    _keep: Arc<M>,
}

/// Areas whose private data is an `Arc<M>`.
struct Keep<M>(PhantomData<M>);

impl<M: Send + Sync + 'static> Keep<M> {
    const OPS: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        ..pin_init::zeroed()
    };

    /// There is another area.
    ///
    /// # Safety
    ///
    /// As called by the memory management, for an area that [`Vma::map`] set up or a copy of one.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: `Vma::map` has stored the pointer, and the area that was copied has its reference
        // still. The new area takes over the reference that is made here.
        unsafe {
            let keep = kernel::sync::ArcBorrow::from_raw((*vma).vm_private_data.cast::<M>());
            let _ = Arc::into_raw(Arc::from(keep));
        }
    }

    /// An area is gone.
    ///
    /// # Safety
    ///
    /// As for [`Self::open`].
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The area's reference ends here.
        drop(unsafe { Arc::from_raw((*vma).vm_private_data.cast::<M>()) });
    }
}

impl<M: Send + Sync + 'static> Keep<Part<M>> {
    const DEVICE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        ..Self::OPS
    };

    /// A page of the area is touched that is not mapped.
    ///
    /// # Safety
    ///
    /// As called by the memory management, for an area that [`Vma::map`] set up or a copy of one.
    unsafe extern "C" fn fault(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The area has a reference to its part.
        let part = unsafe { &*bindings::v4l2_helper_fault_data(fault).cast::<Part<M>>() };
        let mapped = part.memory.alive(|| {
            // SAFETY: The area is of `v4l2_helper_vma_device`, and the memory is there.
            Ok(unsafe { bindings::v4l2_helper_fault(fault, part.frame, part.first, part.count) })
        });
        mapped.unwrap_or(bindings::vm_fault_reason_VM_FAULT_SIGBUS)
    }
}
