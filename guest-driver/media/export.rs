// SPDX-License-Identifier: GPL-2.0

//! Buffers that are shared between devices, as who exports them makes them.
//!
//! C headers: `include/linux/dma-buf.h`, `include/linux/virtio_dma_buf.h`

use super::dmabuf::DmaBuf;
use super::pages::OwnPages;
use super::revocable::Revocable;
use super::vma::Vma;
use crate::bindings;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::c_str;
use kernel::error::{from_err_ptr, from_result, to_result};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Memory to be exported. It lives as long as the dmabuf and what is mapped of it.
pub(crate) trait Export: Send + Sync + 'static {
    /// Where it is.
    fn place(&self) -> Place<'_>;

    /// The UUID under which the host knows it.
    fn uuid(&self) -> Option<[u8; 16]>;
}

/// Where memory is.
pub(crate) enum Place<'a> {
    /// In pages of the guest.
    Pages(&'a OwnPages),
    /// In a device, at this guest-physical address, a multiple of the page size.
    Device(&'a Arc<Revocable>, u64),
}

/// Exports `size` bytes, a multiple of the page size, of memory. `flags` is the access mode:
/// `O_RDONLY`, `O_WRONLY` or `O_RDWR`. The module cannot be removed while the dmabuf lives.
///
/// If it is a device's, the dmabuf goes on when that memory [ends](Revocable::end), but touching
/// what is mapped of it is `SIGBUS`, and nothing can be mapped any more.
///
/// # Errors
///
/// `EINVAL`: nothing, or 4 GiB; `ENOMEM`.
pub(crate) fn export<T: Export>(memory: Arc<T>, size: usize, flags: u32) -> Result<DmaBuf> {
    if size == 0 || size % PAGE_SIZE != 0 || u32::try_from(size).is_err() {
        return Err(EINVAL);
    }
    let uuid = memory.uuid().is_some();
    let exported = KBox::into_raw(KBox::new(Exported { memory }, GFP_KERNEL_ACCOUNT)?);
    let mut info: bindings::dma_buf_export_info = pin_init::zeroed();
    info.exp_name = c_str!("virtio_v4l2").as_char_ptr();
    info.size = size;
    info.flags = flags as i32;
    info.priv_ = exported.cast();
    // SAFETY: The operations are for what `priv_` is. Those of virtio stand in a
    // `virtio_dma_buf_ops`.
    let raw = from_err_ptr(unsafe {
        info.owner = bindings::v4l2_helper_this_module();
        if uuid {
            info.ops = &raw const Operations::<T>::VIRTIO.virtio.ops;
            bindings::virtio_dma_buf_export(&info)
        } else {
            info.ops = &raw const Operations::<T>::PLAIN.virtio.ops;
            bindings::dma_buf_export(&info)
        }
    });
    let raw = raw.and_then(|raw| NonNull::new(raw).ok_or(ENOMEM));
    let raw = raw.inspect_err(|_| {
        // SAFETY: There is no dmabuf that has it.
        drop(unsafe { KBox::from_raw(exported) });
    })?;
    // SAFETY: The dmabuf and its file are new, and nobody else has them. The memory lives until the
    // dmabuf's release, which comes after that of the file.
    unsafe {
        if let Place::Device(device, _) = (*exported).memory.place() {
            device.adopt((*raw.as_ptr()).file);
        }
    }
    // SAFETY: The reference is ours.
    Ok(unsafe { DmaBuf::from_raw(raw) })
}

/// The private data of a dmabuf.
struct Exported<T> {
    memory: Arc<T>,
}

/// What the C side calls.
struct Operations<T>(PhantomData<T>);

impl<T: Export> Operations<T> {
    const OPS: bindings::dma_buf_ops = bindings::dma_buf_ops {
        map_dma_buf: Some(bindings::v4l2_helper_map_dma_buf),
        unmap_dma_buf: Some(bindings::v4l2_helper_unmap_dma_buf),
        release: Some(Self::release),
        mmap: Some(Self::mmap),
        vmap: Some(Self::vmap),
        vunmap: Some(Self::vunmap),
        ..pin_init::zeroed()
    };

    const PLAIN: &'static bindings::v4l2_helper_dma_buf_ops = &bindings::v4l2_helper_dma_buf_ops {
        virtio: bindings::virtio_dma_buf_ops {
            ops: Self::OPS,
            device_attach: None,
            get_uuid: None,
        },
        map: Some(Self::map_dma_buf),
        unmap: Some(Self::unmap_dma_buf),
    };

    const VIRTIO: &'static bindings::v4l2_helper_dma_buf_ops = &bindings::v4l2_helper_dma_buf_ops {
        virtio: bindings::virtio_dma_buf_ops {
            ops: bindings::dma_buf_ops {
                attach: Some(bindings::virtio_dma_buf_attach),
                ..Self::OPS
            },
            device_attach: None,
            get_uuid: Some(Self::get_uuid),
        },
        ..*Self::PLAIN
    };

    /// # Safety
    ///
    /// `dmabuf` is one of [`export()`] with this `T`, and lives for `'a`.
    unsafe fn exported<'a>(dmabuf: *mut bindings::dma_buf) -> &'a Exported<T> {
        // SAFETY: By the safety requirements.
        unsafe { &*(*dmabuf).priv_.cast::<Exported<T>>() }
    }

    /// # Safety
    ///
    /// As called by the dmabuf core, for a dmabuf of this `T`; so are all that follow.
    unsafe extern "C" fn get_uuid(
        dmabuf: *mut bindings::dma_buf,
        uuid: *mut bindings::uuid_t,
    ) -> c_int {
        // SAFETY: As called by the core; `uuid` is valid for writes.
        unsafe {
            match Self::exported(dmabuf).memory.uuid() {
                Some(own) => {
                    (*uuid).b = own;
                    0
                }
                None => ENODEV.to_errno(),
            }
        }
    }

    /// # Safety
    ///
    /// See [`Self::get_uuid`].
    unsafe extern "C" fn map_dma_buf(
        attachment: *mut bindings::dma_buf_attachment,
        direction: c_int,
    ) -> *mut bindings::sg_table {
        // SAFETY: As called by the core.
        let result = unsafe { Self::map(attachment, direction) };
        match result {
            Ok(table) => KBox::into_raw(table),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// As for [`Self::map_dma_buf`].
    unsafe fn map(
        attachment: *mut bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> Result<KBox<bindings::sg_table>> {
        // SAFETY: As called by the core.
        let (dev, this, size) = unsafe {
            let dmabuf = (*attachment).dmabuf;
            ((*attachment).dev, Self::exported(dmabuf), (*dmabuf).size)
        };
        let mut table = KBox::new(bindings::sg_table::default(), GFP_KERNEL_ACCOUNT)?;
        match this.memory.place() {
            Place::Pages(pages) => {
                let mut list = pages.list()?;
                // SAFETY: `list` has the pages of the whole size, and `table` is for the call to
                // fill in. What fails is undone.
                unsafe {
                    to_result(bindings::sg_alloc_table_from_pages_segment(
                        &mut *table,
                        list.as_mut_ptr(),
                        list.len() as u32,
                        0,
                        size,
                        u32::MAX,
                        bindings::GFP_KERNEL_ACCOUNT,
                    ))?;
                    to_result(bindings::dma_map_sgtable(dev, &mut *table, direction, 0))
                        .inspect_err(|_| bindings::sg_free_table(&mut *table))?;
                }
            }
            Place::Device(device, addr) => device.alive(|| {
                // SAFETY: The memory is the device's, which is there; `table` is for the call to
                // fill in.
                to_result(unsafe {
                    bindings::v4l2_helper_map_resource(
                        dev,
                        &mut *table,
                        addr,
                        size as u32,
                        direction,
                    )
                })
            })?,
        }
        Ok(table)
    }

    /// # Safety
    ///
    /// See [`Self::get_uuid`].
    unsafe extern "C" fn unmap_dma_buf(
        attachment: *mut bindings::dma_buf_attachment,
        table: *mut bindings::sg_table,
        direction: c_int,
    ) {
        // SAFETY: As called by the core, with a table of `map`.
        unsafe {
            let dev = (*attachment).dev;
            match Self::exported((*attachment).dmabuf).memory.place() {
                Place::Pages(_) => bindings::dma_unmap_sgtable(dev, table, direction, 0),
                Place::Device(..) => bindings::v4l2_helper_unmap_resource(dev, table, direction),
            }
            bindings::sg_free_table(table);
            drop(KBox::from_raw(table));
        }
    }

    /// # Safety
    ///
    /// See [`Self::get_uuid`].
    unsafe extern "C" fn mmap(
        dmabuf: *mut bindings::dma_buf,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: As called by the core; the area is being set up, and within the dmabuf.
        let (this, mut vma) = unsafe { (Self::exported(dmabuf), Vma::new(vma)) };
        from_result(|| {
            if vma.copies() {
                return Err(EINVAL);
            }
            let (offset, keep) = (vma.offset(), this.memory.clone());
            match this.memory.place() {
                Place::Pages(pages) => vma.insert(pages, offset as usize / PAGE_SIZE, keep),
                Place::Device(device, addr) => vma.map(device, addr + offset, keep),
            }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Self::get_uuid`].
    unsafe extern "C" fn vmap(
        dmabuf: *mut bindings::dma_buf,
        map: *mut bindings::iosys_map,
    ) -> c_int {
        // SAFETY: As called by the core.
        let (this, size) = unsafe { (Self::exported(dmabuf), (*dmabuf).size) };
        from_result(|| {
            let addr = match this.memory.place() {
                Place::Pages(pages) => {
                    let mut list = pages.list()?;
                    // SAFETY: The pages are valid, and live as long as the mapping.
                    unsafe { bindings::v4l2_helper_vmap(list.as_mut_ptr(), list.len() as u32) }
                }
                Place::Device(device, addr) => device.alive(|| {
                    // SAFETY: The memory is the device's, which is there.
                    Ok(unsafe { bindings::memremap(addr, size, bindings::MEMREMAP_WB as usize) })
                })?,
            };
            if addr.is_null() {
                return Err(ENOMEM);
            }
            // SAFETY: `map` is valid for writes.
            unsafe {
                (*map).__bindgen_anon_1.vaddr = addr;
                (*map).is_iomem = false;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Self::get_uuid`].
    unsafe extern "C" fn vunmap(dmabuf: *mut bindings::dma_buf, map: *mut bindings::iosys_map) {
        // SAFETY: As called by the core, with what `vmap` set.
        unsafe {
            let addr = (*map).__bindgen_anon_1.vaddr;
            match Self::exported(dmabuf).memory.place() {
                Place::Pages(_) => bindings::vunmap(addr),
                Place::Device(..) => bindings::memunmap(addr),
            }
        }
    }

    /// # Safety
    ///
    /// See [`Self::get_uuid`].
    unsafe extern "C" fn release(dmabuf: *mut bindings::dma_buf) {
        // SAFETY: As called by the core, which calls nothing for this dmabuf any more. (Its file
        // has gone already: a reference to the path alone, as by `O_PATH`, keeps the dmabuf
        // longer.)
        drop(unsafe { KBox::from_raw((*dmabuf).priv_.cast::<Exported<T>>()) });
    }
}
