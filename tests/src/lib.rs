// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A vhost-user frontend that lives in the test process: no VM, no kernel, every byte under
//! control.
//!
//! [`Link`] is what a VMM is to the daemon: it negotiates, shares memory, sets up rings and maps
//! what the daemon wants mapped. [`Ring`] is a split virtqueue whose every field can be written,
//! rightly or wrongly. [`Client`] is the guest's driver: typed commands and events over both.
//! [`Stream`] is a program that encodes, [`Buffers`] are those of one queue of any device. [`Host`]
//! asks a node of this machine directly.
//!
//! Nothing waits for ever: waits for the daemon end after [`PATIENCE`].

use std::time::Duration;

pub mod buffers;
pub mod client;
pub mod host;
pub mod link;
pub mod memory;
pub mod objects;
pub mod pages;
pub mod ring;
pub mod stream;
pub mod vmm;

pub use buffers::Buffers;
pub use client::{Client, Layout, Reply, WireEvent};
pub use host::Host;
pub use link::{Link, Options};
pub use memory::{Backing, GuestMemory, SharedRegion};
pub use pages::Pages;
pub use ring::{Descriptor, Ring, Segment, Used};
pub use stream::Stream;
pub use vmm::Vmm;

/// How long the daemon may take before it is said to hang.
///
/// Two slow cores under load, and an encoder at work, are to stay well under it.
pub const PATIENCE: Duration = Duration::from_secs(20);
