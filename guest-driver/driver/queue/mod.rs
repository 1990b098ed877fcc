// SPDX-License-Identifier: GPL-2.0

//! The buffers of a session, by the rules of videobuf2.
//!
//! Nothing here knows of a device or a session: requests and fences are parameters. All of it is
//! compiled and tested on the host as well (`tests/queue`), so it uses of `kernel` only what there
//! is a stand-in for.
//!
//! The driver knows all that videobuf2 would: QBUF is checked here and posted, so that nobody waits
//! for the device, and QUERYBUF is answered here. The states of a buffer:
//!
//! ```text
//!           QBUF                DQBUF event, QBUF refused            DQBUF ioctl
//! Dequeued ------> Queued --------------------------------> Done ------------------> Dequeued
//!    ^               |                                       |
//!    +---------------+---------------------------------------+   STREAMOFF, REQBUFS
//! ```
//!
//! Before it is `Queued` a buffer may be `Pending` on a fence; clients see no difference.
//!
//! A buffer becomes `Queued` before the command is sent, as the host may give it back before it
//! answers. A QBUF that the device refuses comes back as a buffer with an error.

mod buffers;
mod clock;
mod fate;
mod fence;
mod mapping;
mod pending;
mod rules;
mod slot;
mod streams;

pub(super) use buffers::{Nothing, Posted, Slots};
pub(super) use clock::Clock;
pub(super) use fate::{Fate, Span};
pub(super) use fence::{Fence, Ready};
pub(super) use mapping::{Mappable, User};
pub(super) use rules::{ImportRequest, Imported, Layout, OnWire, Purpose, Rules, MAX_BUFFERS};
pub(super) use slot::Slot;
pub(super) use streams::{Streams, TYPES};
