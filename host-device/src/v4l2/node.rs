// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2 nodes of the host, and calls of them that hand the kernel nothing but memory of this
//! process.
//!
//! A payload that came from a guest may hold anything where the kernel looks for a pointer or a
//! file descriptor. So each ioctl that has such a place is a method of [`Node`] of its own, which
//! fills it in. All others go by their payloads alone: [`call`](Node::call) and
//! [`call_bytes`](Node::call_bytes).

mod buffer;
mod controls;
mod file;
mod identity;
mod layout;
mod request;

pub use buffer::Source;
pub use controls::{Payload, PayloadKind, plain_id};
pub use file::Node;
pub use identity::Identity;
pub(crate) use request::entry;
