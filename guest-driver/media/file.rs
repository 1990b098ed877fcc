// SPDX-License-Identifier: GPL-2.0

//! The file operations of nodes.

use super::ioctl::number;
use super::node::{poll, Driver, Handle, Inner, OpenFile, Request};
use super::vma::Vma;
use crate::bindings;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::error::{from_result, to_result};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;
use kernel::uaccess::{UserPtr, UserSlice};

/// Generates what the C side calls.
pub(super) trait Files: Driver {
    const FILE_OPERATIONS: bindings::v4l2_file_operations;
}

impl<T: Driver> Files for T {
    const FILE_OPERATIONS: bindings::v4l2_file_operations = bindings::v4l2_file_operations {
        // The character device has the module.
        owner: core::ptr::null_mut(),
        read: None,
        write: None,
        poll: Some(Callbacks::<T>::poll),
        unlocked_ioctl: Some(Callbacks::<T>::ioctl),
        compat_ioctl32: None,
        get_unmapped_area: None,
        mmap: Some(Callbacks::<T>::mmap),
        open: Some(Callbacks::<T>::open),
        release: Some(Callbacks::<T>::release),
    };
}

struct Callbacks<T: Driver>(PhantomData<T>);

/// Type and number of VIDIOC_DQEVENT, without direction and size: a 32-bit program's event has
/// another size.
const DQEVENT: u32 = (b'V' as u32) << 8 | 89;

/// Ioctls that go to the driver as they are, as `VIDIOC_*` numbers, because the V4L2 core cannot
/// pass them on unchanged:
///
/// - G_PARM, S_PARM: with a callback the core takes them to be there, and checks the buffer type
///   first; of a device that lacks them only the device can say so (`ENOTTY`). S_PARM loses modes
///   on the way, too.
/// - ENUMSTD: the core lists what the node was registered with. Which standards there are depends
///   on the input that the device has selected.
/// - G_CTRL, S_CTRL: the core makes extended controls of them, which have other rules.
/// - S_HW_FREQ_SEEK: the core refuses tuner types by the kind of node, before the device can say
///   that it has no such ioctl.
///
/// The numbers of 32-bit programs are the same, but for ENUMSTD, which the core then answers.
const DIRECT: [u32; 6] = [
    request::<bindings::v4l2_streamparm>(READ | WRITE, number::G_PARM),
    request::<bindings::v4l2_streamparm>(READ | WRITE, number::S_PARM),
    request::<bindings::v4l2_standard>(READ | WRITE, number::ENUMSTD),
    request::<bindings::v4l2_control>(READ | WRITE, number::G_CTRL),
    request::<bindings::v4l2_control>(READ | WRITE, number::S_CTRL),
    request::<bindings::v4l2_hw_freq_seek>(WRITE, number::S_HW_FREQ_SEEK),
];
/// `_IOC_WRITE` and `_IOC_READ`, in their place.
const WRITE: u32 = 1 << 30;
const READ: u32 = 2 << 30;

/// The number by which programs know an ioctl with argument `A`, as of `_IOC`.
const fn request<A>(direction: u32, number: u32) -> u32 {
    direction | (size_of::<A>() as u32) << 16 | (b'V' as u32) << 8 | number
}

/// Those among them that a file of higher priority rules out.
const CHANGES: [u32; 3] = [number::S_PARM, number::S_CTRL, number::S_HW_FREQ_SEEK];

/// Room for the argument of any of them.
#[repr(C, align(8))]
struct Argument([u8; size_of::<bindings::v4l2_streamparm>()]);

impl<T: Driver> Callbacks<T> {
    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: usize,
    ) -> isize {
        if command & 0xffff == DQEVENT {
            // SAFETY: The file is open during the call.
            let (handle, open) = unsafe { (Handle::<T>::from_file(file), OpenFile::new(file)) };
            // SAFETY: Passed on as it came.
            let mut take = || unsafe { bindings::video_ioctl2(file, command, argument) };
            return T::take_event(handle, open.nonblocking(), &mut take)
                .unwrap_or_else(|error| error.to_errno() as isize);
        }
        if DIRECT.contains(&command) {
            // SAFETY: The file is open during the call.
            let (handle, file) = unsafe { (Handle::<T>::from_file(file), OpenFile::new(file)) };
            let result = Self::direct(handle, command, argument, file.nonblocking());
            let has_other = matches!(command & 0xff, number::G_CTRL | number::S_CTRL);
            if result != Err(ENOTTY) || !has_other {
                return from_result(|| result.map(|()| 0i32)) as isize;
            }
        }
        // SAFETY: Passed on as it came.
        unsafe { bindings::video_ioctl2(file, command, argument) }
    }

    /// Runs one of [`DIRECT`]; its number says how large the argument is, and who reads it.
    fn direct(handle: &Handle<T>, command: u32, argument: usize, nonblocking: bool) -> Result {
        let number = command & 0xff;
        if CHANGES.contains(&number) {
            // SAFETY: By the type invariant of `Handle`.
            to_result(unsafe { bindings::v4l2_helper_prio_check(handle.fh()) })?;
        }
        let mut bytes = Argument([0; size_of::<bindings::v4l2_streamparm>()]);
        let size = (command >> 16 & 0x3fff) as usize;
        let payload = bytes.0.get_mut(..size).ok_or(ENOTTY)?;
        let user = || UserSlice::new(UserPtr::from_addr(argument), size);
        user().reader().read_slice(payload)?;
        let request = Request {
            number,
            payload: &mut *payload,
            array: &mut [],
            nonblocking,
        };
        T::ioctl(handle, request)?;
        if command & READ == 0 {
            return Ok(());
        }
        user().writer().write_slice(payload)
    }

    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn open(file: *mut bindings::file) -> c_int {
        // SAFETY: The core calls this for a file of a node with driver `T`, of which it has a
        // reference.
        let node = unsafe {
            let vdev = bindings::video_devdata(file);
            NonNull::from(&*Inner::<T>::from_vdev(vdev))
        };
        from_result(|| {
            let handle = Self::new_handle(node)?;
            // SAFETY: As above.
            let inner = unsafe { node.as_ref() };
            // SAFETY: The file is being opened. The handle is initialised and lives until
            // `release`, which takes it out first; and with it live the node and its memory.
            unsafe {
                inner.memory.adopt(file);
                bindings::v4l2_fh_add(handle.fh(), file);
            }
            if let Err(error) = T::opened(&inner.data, &handle) {
                // SAFETY: It was added above.
                unsafe { bindings::v4l2_fh_del(handle.fh(), file) };
                T::release(&inner.data, handle);
                return Err(error);
            }
            // `release` takes it back.
            let _ = Arc::into_raw(handle);
            Ok(0)
        })
    }

    fn new_handle(node: NonNull<Inner<T>>) -> Result<Arc<Handle<T>>> {
        // SAFETY: The caller has a reference to the node.
        let inner = unsafe { node.as_ref() };
        let file = T::open(&inner.data)?;
        Arc::pin_init(
            try_pin_init!(Handle {
                file <- file,
                fh <- Opaque::ffi_init(|fh| {
                    // SAFETY: `fh` is valid for writes; the video device is registered. INVARIANT:
                    // The reference is given back in `drop`. Nothing after this fails.
                    unsafe {
                        core::ptr::write_bytes(fh, 0, 1);
                        bindings::v4l2_fh_init(fh, inner.vdev());
                        bindings::get_device(&raw mut (*inner.vdev()).dev);
                    }
                }),
                node,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn release(file: *mut bindings::file) -> c_int {
        // SAFETY: The file was opened by `open`, and this is the end of it.
        let handle = unsafe { Handle::<T>::from_file(file) };
        // SAFETY: `open` gave up this reference.
        let handle = unsafe { Arc::from_raw(handle) };
        // SAFETY: `open` has added it for this file.
        unsafe { bindings::v4l2_fh_del(handle.fh(), file) };
        // The handle may be dropped, and with it its reference to the node.
        let node = handle.node;
        // SAFETY: The core has a reference to the video device of an open file until this has
        // returned.
        T::release(unsafe { &node.as_ref().data }, handle);
        0
    }

    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The file is open during the call.
        let handle = unsafe { Handle::<T>::from_file(file) };
        // Always registered, even if nothing is requested: EPOLL_CTL_ADD with no events.
        // SAFETY: File and table are valid; the wait queue lives until the file's release, which
        // comes after everything that polls the file has let go of it.
        let requested = unsafe {
            bindings::v4l2_helper_poll_wait(file, &raw mut (*handle.fh()).wait, table);
            bindings::v4l2_helper_poll_requested(table)
        };
        // Both at one moment: a program that sees the event at the end of the stream must see the
        // buffers before it, and one that sees the last buffer must see the event.
        let mut events = handle.has_events();
        loop {
            let ready = T::poll(handle, requested);
            let before = core::mem::replace(&mut events, handle.has_events());
            if before == events {
                return ready | if events { poll::PRI } else { 0 };
            }
        }
    }

    /// # Safety
    ///
    /// As called by the core.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The file is open during the call.
        let handle = unsafe { Handle::<T>::from_file(file) };
        // SAFETY: The area is being set up by this call.
        let mut vma = unsafe { Vma::new(vma) };
        from_result(|| T::mmap(handle, &mut vma).map(|()| 0))
    }
}
