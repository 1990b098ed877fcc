// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The V4L2 framework that every device of ours stands on: what videobuf2, the control framework
//! and the event queue are in the kernel.
//!
//! It knows no codec and no multimedia library. A device has one [`Queue`](queue::Queue) for each
//! direction, [`Controls`](controls::Controls), [`Subscriptions`](events::Subscriptions), and
//! formats that it negotiates with [`format`](mod@format), [`selection`] and [`interval`].

pub mod colorimetry;
pub mod controls;
pub mod events;
pub mod format;
pub mod interval;
pub mod pixel;
pub mod queue;
pub mod selection;
pub mod stride;
pub mod uapi;
