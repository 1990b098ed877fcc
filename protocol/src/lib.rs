// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Wire format of the virtio **Media Device** (VIRTIO 1.4, "Media Device", device ID 48).
//!
//! The guest driver and the host daemon are built from this one source: the kernel module includes
//! [`wire`] by path, the daemon links this crate. It is `no_std`, allocates nothing, and knows
//! nothing but [`zerocopy`].

#![no_std]

pub mod wire;
