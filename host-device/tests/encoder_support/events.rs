// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Events without a guest, as unit tests of the daemon have them.

pub use virtio_v4l2d::counters::Counters;
pub use virtio_v4l2d::events::{Events, Guest, Outbox, Put};

#[path = "../../src/events/testing.rs"]
pub mod testing;
