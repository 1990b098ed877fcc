// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Structures and constants of the Media Device, to the byte.
//!
//! Two virtqueues: the driver puts commands on the [command queue](COMMAND_QUEUE), the device puts
//! [`event`]s into buffers that the driver left on the [event queue](EVENT_QUEUE).
//!
//! A command's descriptor chain, in order:
//!
//! | part | content |
//! |---|---|
//! | device-readable | a [`command`] structure |
//! | | for `_IOW`/`_IOWR` ioctls: the payload, then the array that it points to |
//! | | for memory that the device imports: [`sg::SgEntry`] lists, or UUIDs of virtio objects |
//! | device-writable | the response structure that belongs to the command |
//! | | for `_IOR`/`_IOWR` ioctls: the payload, then the array, then UUIDs (never SG lists) |
//!
//! Descriptor boundaries carry no meaning. Integers are little-endian; V4L2 payloads have the
//! layout of a 64-bit little-endian machine. Source: VIRTIO 1.4, section "Media Device".
//!
//! This module is part of a kernel module too: it says `super::`, never `crate::`, and uses nothing
//! but `core` and zerocopy.

#[cfg(not(target_endian = "little"))]
compile_error!("the structures of the wire are little-endian and are not converted");

pub mod answer;
pub mod command;
pub mod config;
pub mod event;
mod field;
pub mod ioctl;
pub mod sg;
pub mod v4l2;

/// Virtio device ID of the Media Device.
pub const VIRTIO_ID_MEDIA: u32 = 48;

/// Index of the queue for commands and their responses.
pub const COMMAND_QUEUE: u16 = 0;
/// Index of the queue for events.
pub const EVENT_QUEUE: u16 = 1;
/// Number of virtqueues.
pub const NUM_QUEUES: u16 = 2;

/// ID of the shared memory region that MMAP buffers are mapped into.
pub const SHM_REGION_MMAP: u8 = 0;
