// SPDX-License-Identifier: GPL-2.0

//! Abstractions for V4L2, as they could stand in the `kernel` crate.
//!
//! A driver implements [`Driver`]. A [`Registration`] is a device node with the driver's data; each
//! open file has a [`Handle`] with data of its own, counted, so that an interrupt handler may keep
//! it while it looks at it. Ioctls go through the V4L2 core (`video_ioctl2`), which copies
//! arguments, translates those of 32-bit programs, checks priorities and buffer types, and fills in
//! format descriptions; what it passes on reaches [`Driver::ioctl`] as a [`Request`].
//!
//! Memory of buffers is of three kinds: [pages] of a process or of the driver's own,
//! [dmabufs](dmabuf) of other devices, and what a device maps. What other devices have yet to do
//! with it is a [fence].
//!
//! C headers: `include/media/v4l2-dev.h`, `v4l2-device.h`, `v4l2-fh.h`, `v4l2-ioctl.h`,
//! `v4l2-event.h`

mod changes;
mod device;
pub(crate) mod dmabuf;
pub(crate) mod event;
pub(crate) mod export;
pub(crate) mod fence;
mod file;
pub(crate) mod ioctl;
mod node;
pub(crate) mod pages;
pub(crate) mod revocable;
mod time;
pub(crate) mod vma;

pub(crate) use device::{Direction, Node, Registration};
pub(crate) use node::{poll, Driver, Handle, Request};
pub(crate) use time::monotonic_us;
pub(crate) use vma::Vma;
