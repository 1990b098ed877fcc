// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `virtio-v4l2d`: VIRTIO Media Devices over vhost-user.
//!
//! `transport` speaks vhost-user and rings, [`session`] turns commands into typed calls, [`device`]
//! answers them, [`memory`] and [`events`] are what a device gives back to the guest.

pub mod cli;
pub mod config;
pub mod counters;
pub mod device;
pub mod events;
mod fair;
pub mod log;
pub mod memory;
pub mod session;
pub mod startup;
pub mod transport;
pub mod v4l2;

pub use transport::{Endpoint, Stop, serve, serve_stream};
