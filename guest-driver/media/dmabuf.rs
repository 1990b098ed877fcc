// SPDX-License-Identifier: GPL-2.0

//! Buffers that are shared between devices: importing.
//!
//! C headers: `include/linux/dma-buf.h`, `include/linux/virtio_dma_buf.h`

use super::fence::Fence;
use super::pages::Runs;
use crate::bindings;
use core::ptr::NonNull;
use kernel::device::Device;
use kernel::dma::DataDirection;
use kernel::error::{from_err_ptr, to_result};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::aref::ARef;

/// A reference to a `struct dma_buf`. Two are equal if they are of the same buffer.
///
/// Dropping it may sleep.
///
/// # Invariants
///
/// The pointer is valid, and has a reference of its own.
#[derive(PartialEq, Eq)]
pub(crate) struct DmaBuf(NonNull<bindings::dma_buf>);

// SAFETY: A `struct dma_buf` may be used from any thread.
unsafe impl Send for DmaBuf {}
// SAFETY: As above; its functions take the locks that they need.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    /// The buffer that a file descriptor of the calling process stands for.
    ///
    /// # Errors
    ///
    /// - `EBADF`: no such file descriptor.
    /// - `EINVAL`: it is not of a dmabuf.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: May be called with any number.
        let raw = from_err_ptr(unsafe { bindings::dma_buf_get(fd) })?;
        // INVARIANT: The reference is the caller's.
        NonNull::new(raw).map(Self).ok_or(EINVAL)
    }

    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// The pointer is valid, and the caller gives up a reference to it.
    pub(super) unsafe fn from_raw(raw: NonNull<bindings::dma_buf>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(raw)
    }

    /// Makes it a file descriptor of the calling process. `flags` may have `O_CLOEXEC`.
    ///
    /// # Errors
    ///
    /// `EMFILE`: too many; `ENOMEM`.
    pub(crate) fn into_fd(self, flags: u32) -> Result<i32> {
        // SAFETY: By the type invariant.
        let fd = unsafe { bindings::dma_buf_fd(self.as_ptr(), flags as i32) };
        if fd < 0 {
            return Err(Error::from_errno(fd));
        }
        // The reference is the file descriptor's.
        core::mem::forget(self);
        Ok(fd)
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::dma_buf {
        self.0.as_ptr()
    }

    /// Its length in bytes.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: By the type invariant; the size does not change.
        unsafe { (*self.as_ptr()).size }
    }

    /// The UUID under which the host knows it, if it is from a virtio device that has told the
    /// host. May wait for that device.
    pub(crate) fn uuid(&self) -> Option<[u8; 16]> {
        let mut uuid = bindings::uuid_t::default();
        // SAFETY: By the type invariant. Other dmabufs than those of virtio are refused.
        let ret = unsafe { bindings::virtio_dma_buf_get_uuid(self.as_ptr(), &mut uuid) };
        (ret == 0).then_some(uuid.b)
    }

    /// The fence that must have signalled before the memory may be read or, if `writable`, written
    /// to; `None` if no other device uses the memory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn fence(&self, writable: bool) -> Result<Option<Fence>> {
        let usage = if writable {
            // A writer waits for readers, too.
            bindings::dma_resv_usage_DMA_RESV_USAGE_READ
        } else {
            bindings::dma_resv_usage_DMA_RESV_USAGE_WRITE
        };
        let mut fence = core::ptr::null_mut();
        // SAFETY: By the type invariant; without a context locking cannot fail.
        let ret = unsafe {
            let resv = (*self.as_ptr()).resv;
            bindings::dma_resv_lock(resv, core::ptr::null_mut());
            let ret = bindings::dma_resv_get_singleton(resv, usage, &mut fence);
            bindings::dma_resv_unlock(resv);
            ret
        };
        to_result(ret)?;
        // SAFETY: It comes with a reference.
        Ok(NonNull::new(fence).map(|fence| unsafe { Fence::from_raw(fence) }))
    }

    /// Gives `dev` access to the memory, to read it or, if `writable`, to write to it.
    ///
    /// # Errors
    ///
    /// The exporter's; `ENOMEM`.
    pub(crate) fn attach(&self, dev: ARef<Device>, writable: bool) -> Result<Attachment> {
        // The constants of the bindings are not called the same in 7.2 and 7.3.
        let direction = if writable {
            DataDirection::FromDevice
        } else {
            DataDirection::ToDevice
        };
        let direction = bindings::dma_data_direction::from(direction);
        // SAFETY: By the type invariant; the device is valid.
        let attachment = unsafe { bindings::dma_buf_attach(self.as_ptr(), raw(&dev)) };
        let attachment = from_err_ptr(attachment)?;
        // SAFETY: Just attached.
        let table = from_err_ptr(unsafe {
            bindings::dma_buf_map_attachment_unlocked(attachment, direction)
        })
        .and_then(|table| NonNull::new(table).ok_or(ENOMEM))
        // SAFETY: As above; nobody uses it.
        .inspect_err(|_| unsafe { bindings::dma_buf_detach(self.as_ptr(), attachment) })?;
        // SAFETY: There is a reference, so there may be another.
        unsafe { bindings::v4l2_helper_dma_buf_ref(self.as_ptr()) };
        // INVARIANT: All was made just now.
        Ok(Attachment {
            dmabuf: Self(self.0),
            dev,
            attachment,
            table,
            direction,
        })
    }
}

fn raw(dev: &Device) -> *mut bindings::device {
    // `Device` is a transparent wrapper.
    core::ptr::from_ref(dev).cast_mut().cast()
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; the reference ends here.
        unsafe { bindings::dma_buf_put(self.as_ptr()) };
    }
}

/// A buffer that a device has access to, until this is dropped, which may sleep.
///
/// # Invariants
///
/// `attachment` is one of `dev` to `dmabuf`, and mapped for `direction` as `table`.
pub(crate) struct Attachment {
    dmabuf: DmaBuf,
    dev: ARef<Device>,
    attachment: *mut bindings::dma_buf_attachment,
    table: NonNull<bindings::sg_table>,
    direction: bindings::dma_data_direction,
}

// SAFETY: An attachment may be used and ended by any thread.
unsafe impl Send for Attachment {}
// SAFETY: There is nothing to be changed.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// Adds where the first `len` bytes are.
    ///
    /// The table need not have pages, so it is the device's addresses that are used, translated
    /// back if there is an IOMMU.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are fewer; `ENOMEM`.
    pub(crate) fn runs(&self, len: usize, runs: &mut Runs) -> Result {
        let mut left = len as u64;
        // SAFETY: By the type invariant.
        let (mut entry, count) = unsafe { (self.table.as_ref().sgl, self.table.as_ref().nents) };
        for _ in 0..count {
            if entry.is_null() || left == 0 {
                break;
            }
            // SAFETY: It is one of the table's entries.
            let (mut addr, mut part) = unsafe {
                let len = u64::from(bindings::sg_dma_len(entry));
                (bindings::sg_dma_address(entry), len.min(left))
            };
            left -= part;
            while part > 0 {
                let in_page = PAGE_SIZE as u64 - addr % PAGE_SIZE as u64;
                let here = in_page.min(part);
                // SAFETY: The device is valid, and the address mapped for it.
                let start = unsafe { bindings::v4l2_helper_dma_to_phys(raw(&self.dev), addr) };
                runs.push(start, here)?;
                addr += here;
                part -= here;
            }
            // SAFETY: As above.
            entry = unsafe { bindings::sg_next(entry) };
        }
        if left > 0 {
            return Err(EINVAL);
        }
        Ok(())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe {
            bindings::dma_buf_unmap_attachment_unlocked(
                self.attachment,
                self.table.as_ptr(),
                self.direction,
            );
            bindings::dma_buf_detach(self.dmabuf.as_ptr(), self.attachment);
        }
    }
}
