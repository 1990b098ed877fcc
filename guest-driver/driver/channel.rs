// SPDX-License-Identifier: GPL-2.0

//! The way to the device and back: commands, their answers, events, and whether the device lives.
//!
//! The channel knows no sessions: what comes from the device goes to a [`Completion`].

mod call;
mod message;
mod pending;
mod pulse;
mod queues;
mod stats;
mod watchdog;

pub(super) use crate::virtio::sync::Patience;
pub(super) use message::{
    close_request, fits, ioctl_request, munmap_request, qbuf_request, set_buffer, set_mapping,
    set_posting, set_session, status_in, MAX_ERRNO,
};
pub(super) use pending::{CommandMemory, CommandRequest, Pending, Posting, Undo};
pub(super) use queues::{Channel, Completion};
pub(super) use watchdog::{Running, Watchdog};
