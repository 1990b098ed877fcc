// SPDX-License-Identifier: GPL-2.0

//! Nodes, their open files, and what a driver does for them.

use super::revocable::Revocable;
use super::vma::Vma;
use crate::bindings;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// Poll masks: `EPOLL*`.
pub(crate) mod poll {
    /// There is something to read: `EPOLLIN | EPOLLRDNORM`.
    pub(crate) const IN: u32 = 0x0001 | 0x0040;
    /// An exceptional condition, such as an event: `EPOLLPRI`.
    pub(crate) const PRI: u32 = 0x0002;
    /// Something may be written: `EPOLLOUT | EPOLLWRNORM`.
    pub(crate) const OUT: u32 = 0x0004 | 0x0100;
    /// An error: `EPOLLERR`.
    pub(crate) const ERR: u32 = 0x0008;
    /// The device is no more: `EPOLLHUP`.
    pub(crate) const HUP: u32 = 0x0010;
}

/// An ioctl as the V4L2 core passes it on.
pub(crate) struct Request<'a> {
    /// Number of the ioctl: the second argument of its `_IO*` macro.
    pub(crate) number: u32,
    /// The argument, to be read or written or both as the macro says. For `_IOR` its content means
    /// nothing at first.
    pub(crate) payload: &'a mut [u8],
    /// What a pointer in the argument refers to: planes, controls, or blocks of an EDID. The
    /// pointer itself is the kernel's, and must come back as it is.
    pub(crate) array: &'a mut [u8],
    /// Whether the call is not to wait: `O_NONBLOCK`, as it is now.
    pub(crate) nonblocking: bool,
}

/// A driver of V4L2 device nodes.
///
/// Methods run in the context of the calling process and may sleep.
pub(crate) trait Driver: Sized + 'static {
    /// Data of a node.
    type Data: Send + Sync + 'static;

    /// Data of an open file.
    type File: Send + Sync + 'static;

    /// A file is being opened.
    fn open(data: &Self::Data) -> Result<impl PinInit<Self::File, Error>>;

    /// A file has been opened: it can have events from now on.
    fn opened(data: &Self::Data, handle: &Arc<Handle<Self>>) -> Result;

    /// A file is closed. Whoever else has the handle should let go of it.
    fn release(data: &Self::Data, handle: Arc<Handle<Self>>);

    /// An ioctl. G_CTRL or S_CTRL that fails with `ENOTTY` comes again, as one of extended
    /// controls.
    fn ioctl(handle: &Handle<Self>, request: Request<'_>) -> Result;

    /// Writes how the device is to the kernel log.
    fn log_status(handle: &Handle<Self>);

    /// DQEVENT. Waits, unless `nonblocking`, until the file [has an event](Handle::has_events), and
    /// returns what `take` does, which takes it.
    ///
    /// `take` must only be called while there is an event, and not twice at once: the V4L2 core
    /// would wait for one even if none can come any more.
    ///
    /// # Errors
    ///
    /// `ENOENT`: there is none; also if none can come any more.
    fn take_event(
        handle: &Handle<Self>,
        nonblocking: bool,
        take: &mut dyn FnMut() -> isize,
    ) -> Result<isize>;

    /// Returns the ready subset of `requested`, excluding events, which the caller adds. Called
    /// after the file's wait queue has been registered.
    fn poll(handle: &Handle<Self>, requested: u32) -> u32;

    /// A mapping is wanted.
    fn mmap(handle: &Handle<Self>, vma: &mut Vma<'_>) -> Result;
}

/// A node, its V4L2 device and the driver's data, in one allocation that the V4L2 device counts.
///
/// # Invariants
///
/// From `video_register_device` on, `vdev` is a registered, or unregistered but not yet released,
/// video device whose V4L2 device is `v4l2_dev`.
#[pin_data]
pub(super) struct Inner<T: Driver> {
    #[pin]
    pub(super) v4l2_dev: Opaque<bindings::v4l2_device>,
    #[pin]
    pub(super) vdev: Opaque<bindings::video_device>,
    /// What the node's files map.
    pub(super) memory: Arc<Revocable>,
    pub(super) data: T::Data,
}

impl<T: Driver> Inner<T> {
    pub(super) fn vdev(&self) -> *mut bindings::video_device {
        self.vdev.get()
    }

    /// The node that a `struct video_device` belongs to.
    ///
    /// # Safety
    ///
    /// `vdev` is the one in an `Inner<T>`.
    pub(super) unsafe fn from_vdev(vdev: *mut bindings::video_device) -> *const Self {
        // SAFETY: By the safety requirements; `Opaque` is transparent.
        unsafe { kernel::container_of!(vdev.cast::<Opaque<bindings::video_device>>(), Self, vdev) }
    }

    /// The last reference of the V4L2 device is gone.
    ///
    /// # Safety
    ///
    /// Called by the core, for the `v4l2_dev` of an `Inner<T>` that
    /// [`Registration::new`](super::Registration::new) made.
    pub(super) unsafe extern "C" fn release(v4l2_dev: *mut bindings::v4l2_device) {
        let v4l2_dev = v4l2_dev.cast::<Opaque<bindings::v4l2_device>>();
        // SAFETY: Only called for the `v4l2_dev` of an `Inner<T>`.
        let inner = unsafe { kernel::container_of!(v4l2_dev, Self, v4l2_dev) };
        // SAFETY: It was boxed in `Registration::new`, and with the last reference nobody has a
        // pointer to it.
        drop(unsafe { Pin::new_unchecked(KBox::from_raw(inner)) });
    }
}

/// An open file: the core's `struct v4l2_fh` and the driver's data.
///
/// # Invariants
///
/// - `fh` is initialised, for the video device of `node`.
/// - `node` is valid: the handle has a reference to its device.
#[pin_data(PinnedDrop)]
pub(crate) struct Handle<T: Driver> {
    #[pin]
    pub(super) fh: Opaque<bindings::v4l2_fh>,
    pub(super) node: NonNull<Inner<T>>,
    #[pin]
    pub(super) file: T::File,
}

// SAFETY: `v4l2_fh` is protected by the core's own locks, the node's data is `Sync`, the file's
// data `Send`.
unsafe impl<T: Driver> Send for Handle<T> {}
// SAFETY: As above, and the file's data is `Sync`.
unsafe impl<T: Driver> Sync for Handle<T> {}

impl<T: Driver> Handle<T> {
    /// The handle that a `struct v4l2_fh` belongs to.
    ///
    /// # Safety
    ///
    /// `fh` is the one in a `Handle<T>` that lives for `'a`.
    pub(super) unsafe fn from_fh<'a>(fh: *mut bindings::v4l2_fh) -> &'a Self {
        let fh = fh.cast::<Opaque<bindings::v4l2_fh>>();
        // SAFETY: By the safety requirements; `Opaque` is transparent.
        unsafe { &*kernel::container_of!(fh, Self, fh) }
    }

    /// The handle of an open file.
    ///
    /// # Safety
    ///
    /// `file` is an open file of a node with driver `T`, and is not released during `'a`.
    pub(super) unsafe fn from_file<'a>(file: *mut bindings::file) -> &'a Self {
        // SAFETY: `v4l2_fh_add` has stored the `v4l2_fh` there, and `release` is not running.
        unsafe { Self::from_fh((*file).private_data.cast()) }
    }

    pub(super) fn fh(&self) -> *mut bindings::v4l2_fh {
        self.fh.get()
    }

    /// Wakes who polls the file, because of `events` ([`poll`]). May be called in interrupts.
    pub(crate) fn wake(&self, events: u32) {
        // SAFETY: By the type invariant the wait queue is initialised.
        unsafe { bindings::v4l2_helper_wake_up(&raw mut (*self.fh()).wait, events) };
    }

    /// Whether somebody polls the file, or may do so: what was written before this call is seen by
    /// whoever starts to poll after it.
    pub(crate) fn is_polled(&self) -> bool {
        // SAFETY: By the type invariant the wait queue is initialised.
        unsafe { bindings::v4l2_helper_has_sleeper(&raw mut (*self.fh()).wait) }
    }
}

impl<T: Driver> Deref for Handle<T> {
    type Target = T::File;

    fn deref(&self) -> &T::File {
        &self.file
    }
}

#[pinned_drop]
impl<T: Driver> PinnedDrop for Handle<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant, and nobody has the handle any more. The reference is its
        // own.
        unsafe {
            let vdev = self.node.as_ref().vdev();
            bindings::v4l2_fh_exit(self.fh());
            bindings::put_device(&raw mut (*vdev).dev);
        }
    }
}

/// The file that a call came through.
#[derive(Clone, Copy)]
pub(crate) struct OpenFile<'a> {
    file: *mut bindings::file,
    _lifetime: PhantomData<&'a bindings::file>,
}

impl OpenFile<'_> {
    /// # Safety
    ///
    /// `file` is valid during the lifetime.
    pub(super) unsafe fn new(file: *mut bindings::file) -> Self {
        Self {
            file,
            _lifetime: PhantomData,
        }
    }

    /// Whether calls are not to wait: `O_NONBLOCK` as it is now.
    pub(crate) fn nonblocking(&self) -> bool {
        // SAFETY: The file is valid. A race with `fcntl` gives one of the two values.
        unsafe { (&raw const (*self.file).f_flags).read_volatile() & bindings::O_NONBLOCK != 0 }
    }
}
