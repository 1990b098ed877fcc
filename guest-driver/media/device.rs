// SPDX-License-Identifier: GPL-2.0

//! Device nodes.

use super::file::Files;
use super::ioctl::IoctlTable;
use super::node::{Driver, Inner};
use super::revocable::Revocable;
use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// Which way a node carries frames: `enum vfl_devnode_direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Captures.
    Rx,
    /// Outputs.
    Tx,
    /// Both.
    M2m,
}

/// What a node is registered with.
pub(crate) struct Node {
    /// Name of the node in sysfs; cut at 31 bytes.
    pub(crate) name: [u8; 32],
    /// Kind of node: `VFL_TYPE_*`.
    pub(crate) kind: u32,
    /// Direction of the node.
    pub(crate) direction: Direction,
    /// `V4L2_CAP_*` of the node, at least one.
    pub(crate) device_caps: u32,
}

/// The registration of a node, which ends when it is dropped.
///
/// Files that are open then stay open; all they can do is fail with `ENODEV`, and be closed. The
/// driver's data goes with the last of them.
///
/// # Invariants
///
/// `inner` is valid and registered.
pub(crate) struct Registration<T: Driver> {
    inner: NonNull<Inner<T>>,
}

// SAFETY: A node may be unregistered from any thread, and its data be dropped on any.
unsafe impl<T: Driver> Send for Registration<T> {}
// SAFETY: Gives access to nothing but the driver's data, which is `Sync`.
unsafe impl<T: Driver> Sync for Registration<T> {}

impl<T: Driver> Registration<T> {
    /// Registers a node below `parent`, whose files map `memory`.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: no such kind of node, or no capabilities.
    /// - `ENFILE`: too many nodes.
    pub(crate) fn new(
        parent: &kernel::device::Device<kernel::device::Bound>,
        node: &Node,
        memory: Arc<Revocable>,
        data: T::Data,
    ) -> Result<Self> {
        if node.device_caps == 0 {
            return Err(EINVAL);
        }
        let inner = KBox::pin_init(
            pin_init!(Inner::<T> {
                v4l2_dev: Opaque::zeroed(),
                vdev: Opaque::zeroed(),
                memory,
                data,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: It is not moved, until `release` drops it in place.
        let inner = KBox::into_raw(unsafe { Pin::into_inner_unchecked(inner) });
        // SAFETY: Just allocated; nobody else has it yet.
        let (v4l2_dev, vdev) = unsafe { ((*inner).v4l2_dev.get(), (*inner).vdev.get()) };
        let parent: *const kernel::device::Device = &**parent;

        // SAFETY: `v4l2_dev` is zeroed and ours. Without a parent it must have a name, and touches
        // no driver data. It cannot fail then.
        unsafe {
            copy_name(&mut (*v4l2_dev).name, &node.name);
            let _ = bindings::v4l2_device_register(core::ptr::null_mut(), v4l2_dev);
            (*v4l2_dev).release = Some(Inner::<T>::release);
        }
        // SAFETY: `vdev` is zeroed and ours. `Device` is a transparent wrapper of `struct device`.
        let ret = unsafe {
            describe::<T>(&mut *vdev, node);
            (*vdev).v4l2_dev = v4l2_dev;
            (*vdev).dev_parent = parent.cast_mut().cast();
            let module = bindings::v4l2_helper_this_module();
            bindings::__video_register_device(vdev, node.kind, -1, 0, module)
        };
        if ret < 0 {
            // SAFETY: The reference of `v4l2_device_register` is ours; this frees `inner`.
            unsafe { bindings::v4l2_device_put(v4l2_dev) };
            return Err(Error::from_errno(ret));
        }
        // SAFETY: `into_raw` gives no null.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        // INVARIANT: It is registered.
        Ok(Self { inner })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type invariant.
        unsafe { self.inner.as_ref() }
    }

    /// Name of the node, as in `/dev/video0`.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: By the type invariant; the name does not change.
        unsafe { CStr::from_char_ptr(bindings::v4l2_helper_node_name(self.inner().vdev())) }
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        let (vdev, v4l2_dev) = (self.inner().vdev(), self.inner().v4l2_dev.get());
        // SAFETY: By the type invariant. From here on open, ioctl and mmap fail.
        unsafe { bindings::video_unregister_device(vdev) };
        // SAFETY: The reference of `v4l2_device_register` is ours. Open files have one to `vdev`,
        // which has one.
        unsafe { bindings::v4l2_device_put(v4l2_dev) };
    }
}

/// Fills in what the V4L2 core is to know of a node.
fn describe<T: Driver>(vdev: &mut bindings::video_device, node: &Node) {
    copy_name(&mut vdev.name, &node.name);
    vdev.fops = &T::FILE_OPERATIONS;
    vdev.ioctl_ops = &raw const IoctlTable::<T>::OPS.ops;
    vdev.release = Some(bindings::video_device_release_empty);
    vdev.device_caps = node.device_caps;
    // S_STD is passed on with any standard, ENUMSTD as it is: what there is depends on the input.
    vdev.tvnorms = u64::MAX;
    vdev.vfl_dir = match node.direction {
        Direction::Rx => bindings::vfl_devnode_direction_VFL_DIR_RX,
        Direction::Tx => bindings::vfl_devnode_direction_VFL_DIR_TX,
        Direction::M2m => bindings::vfl_devnode_direction_VFL_DIR_M2M,
    };
}

fn copy_name<const N: usize>(to: &mut [kernel::ffi::c_char; N], from: &[u8]) {
    for (to, from) in to.iter_mut().take(N - 1).zip(from) {
        *to = *from as kernel::ffi::c_char;
    }
}
