// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Events of the device, which stand in for DQBUF, DQEVENT and poll.

use super::v4l2::{Buffer, Event, Plane, VIDEO_MAX_PLANES};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `VIRTIO_MEDIA_EVT_ERROR`: the session is lost; the driver closes it.
pub const ERROR: u32 = 0;
/// `VIRTIO_MEDIA_EVT_DQBUF`: a queued buffer comes back.
pub const DQBUF: u32 = 1;
/// `VIRTIO_MEDIA_EVT_EVENT`: a V4L2 event that the session subscribed to.
pub const EVENT: u32 = 2;

/// `struct virtio_media_event_header`, at the start of every event.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EventHeader {
    /// [`ERROR`], [`DQBUF`] or [`EVENT`].
    pub event: u32,
    /// The session that it is for.
    pub session_id: u32,
}

/// `struct virtio_media_event_error`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EventError {
    /// `event` is [`ERROR`].
    pub hdr: EventHeader,
    /// A positive Linux error number.
    pub errno: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct virtio_media_event_dqbuf`.
///
/// Pointers in it mean nothing; the device sets them to zero. No SG entries follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventDqbuf {
    /// `event` is [`DQBUF`].
    pub hdr: EventHeader,
    /// The buffer, as VIDIOC_DQBUF would return it.
    pub buffer: Buffer,
    /// Its planes, for multi-planar buffers.
    pub planes: [Plane; VIDEO_MAX_PLANES],
}

/// `struct virtio_media_event_event`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventEvent {
    /// `event` is [`EVENT`].
    pub hdr: EventHeader,
    /// The event, as VIDIOC_DQEVENT would return it.
    pub event: Event,
}

const _: () = {
    assert!(size_of::<EventHeader>() == 8);
    assert!(size_of::<EventError>() == 16);
    assert!(size_of::<EventDqbuf>() == 8 + 88 + 8 * 64);
    assert!(size_of::<EventEvent>() == 8 + 136);
};

/// Size of the largest event: what each buffer on the event queue must hold, in bytes.
pub const MAX_EVENT_SIZE: usize = size_of::<EventDqbuf>();

impl EventError {
    /// The event that ends session `session_id` with `errno`.
    pub const fn new(session_id: u32, errno: u32) -> Self {
        Self {
            hdr: EventHeader {
                event: ERROR,
                session_id,
            },
            errno,
            reserved: 0,
        }
    }
}
