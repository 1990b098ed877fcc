// SPDX-License-Identifier: GPL-2.0

//! Memory of a device, of which all mappings can be revoked when the device goes.
//!
//! C headers: `include/linux/mm.h`, `include/linux/fs.h`

use crate::bindings;
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// The memory of one device that processes and other drivers map.
///
/// All files through which processes map it, those of the node and those of dmabufs, have one
/// address space, which is this object's own. `mmap(2)` maps nothing: pages are mapped when they
/// are touched, under the lock of `ended`. So after `ended` has been set nothing is mapped any
/// more, and the address space has all mappings that there are.
///
/// The lock is a leaf: a page fault takes it below `mmap_lock`.
#[pin_data]
pub(crate) struct Revocable {
    space: Space,
    #[pin]
    ended: Mutex<bool>,
}

impl Revocable {
    /// The memory of a device that is there.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let space = Space::new()?;
        Arc::pin_init(
            pin_init!(Self {
                space,
                ended <- new_mutex!(false),
            }),
            GFP_KERNEL,
        )
    }

    /// The device goes away: touching what is mapped of its memory is `SIGBUS` from now on. May
    /// sleep.
    pub(crate) fn end(&self) {
        *self.ended.lock() = true;
        self.space.unmap();
    }

    /// Calls `action` if the device is there, and keeps it from going meanwhile.
    ///
    /// # Errors
    ///
    /// `ENODEV`: it has gone; those of `action`.
    pub(super) fn alive<R>(&self, action: impl FnOnce() -> Result<R>) -> Result<R> {
        let ended = self.ended.lock();
        if *ended {
            return Err(ENODEV);
        }
        action()
    }

    /// From now on `file` maps this memory.
    ///
    /// # Safety
    ///
    /// `file` is valid, nothing has been mapped through it, and it is released before `self` is
    /// dropped.
    pub(super) unsafe fn adopt(&self, file: *mut bindings::file) {
        // SAFETY: By the safety requirements, and the type invariant of `Space`.
        unsafe { bindings::v4l2_helper_space_adopt(self.space.0.as_ptr(), file) };
    }
}

/// An address space: an inode that is in no directory.
///
/// # Invariants
///
/// It is one of `v4l2_helper_space_new`, with a reference of its own.
struct Space(NonNull<bindings::inode>);

// SAFETY: An inode may be used from any thread.
unsafe impl Send for Space {}
// SAFETY: As above; its functions take the locks that they need.
unsafe impl Sync for Space {}

impl Space {
    fn new() -> Result<Self> {
        // SAFETY: May always be called.
        let inode = from_err_ptr(unsafe { bindings::v4l2_helper_space_new() })?;
        // INVARIANT: It is new.
        NonNull::new(inode).map(Self).ok_or(ENOMEM)
    }

    /// Takes all pages away that are mapped. May sleep.
    fn unmap(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::v4l2_helper_space_unmap(self.0.as_ptr()) };
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. May sleep; nobody drops the last reference to a device
        // where that is wrong.
        unsafe { bindings::v4l2_helper_space_free(self.0.as_ptr()) };
    }
}
