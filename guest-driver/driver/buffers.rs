// SPDX-License-Identifier: GPL-2.0

//! What the driver knows of a session's buffers.
//!
//! The host has the buffers and checks what is done with them; the driver follows so far as it must to answer DQBUF
//! and poll. A buffer goes round:
//!
//! ```text
//!           QBUF                DQBUF event            DQBUF ioctl
//! Dequeued ------> Queued ------------------> Done ------------------> Dequeued
//!    ^               |                         |
//!    +---------------+-------------------------+   STREAMOFF, REQBUFS, QBUF refused
//! ```
//!
//! A buffer becomes `Queued` before the command is sent, as the host may give it back before it answers.

use crate::wire::v4l2::{is_multiplanar, Buffer, Plane, VIDEO_MAX_PLANES};
use kernel::prelude::*;

/// `V4L2_BUF_FLAG_QUEUED`.
const FLAG_QUEUED: u32 = 0x0000_0002;
/// `V4L2_BUF_FLAG_DONE`.
const FLAG_DONE: u32 = 0x0000_0004;
/// `V4L2_BUF_FLAG_ERROR`.
const FLAG_ERROR: u32 = 0x0000_0040;
/// `V4L2_BUF_FLAG_PREPARED`.
const FLAG_PREPARED: u32 = 0x0000_0400;
/// `V4L2_BUF_FLAG_LAST`.
pub(super) const FLAG_LAST: u32 = 0x0010_0000;

/// Number of buffer types, the unused 0 included (`enum v4l2_buf_type`).
const TYPES: usize = 15;

/// Most buffers of a queue that the driver keeps account of. More than any driver in the kernel allows.
pub(super) const MAX_BUFFERS: u32 = 1024;

/// Whether buffers of that type carry data to the device.
pub(super) const fn is_output(buf_type: u32) -> bool {
    matches!(buf_type, 2 | 3 | 5 | 7 | 8 | 10 | 12 | 14)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dequeued,
    Queued,
    Done,
}

/// A buffer.
#[derive(Clone, Copy)]
struct Slot {
    state: State,
    /// The next in the list of those that are done.
    next: Option<u32>,
    /// As the device returned it; means something when it is `Done`.
    buffer: Buffer,
    planes: [Plane; VIDEO_MAX_PLANES],
}

impl Slot {
    /// A program reads as much as `bytesused` says: a buffer with more than its length is an error.
    fn check(&mut self) {
        let too_much = if is_multiplanar(self.buffer.type_) {
            let planes = self.planes.iter_mut().take(self.buffer.length as usize);
            planes.fold(false, |found, plane| {
                let too_much = plane.bytesused > plane.length;
                if too_much {
                    plane.bytesused = 0;
                }
                found | too_much
            })
        } else {
            let too_much = self.buffer.bytesused > self.buffer.length;
            if too_much {
                self.buffer.bytesused = 0;
            }
            too_much
        };
        if too_much {
            self.buffer.flags |= FLAG_ERROR;
        }
    }

    fn new() -> Self {
        Self {
            state: State::Dequeued,
            next: None,
            buffer: Buffer::default(),
            planes: [Plane::default(); VIDEO_MAX_PLANES],
        }
    }
}

/// The buffers of one type.
#[derive(Default)]
pub(super) struct Queue {
    slots: KVVec<Slot>,
    /// First and last of those that are done, in the order in which the device returned them.
    done: Option<(u32, u32)>,
    /// How many are not `Dequeued`.
    outstanding: usize,
    streaming: bool,
    /// The client has dequeued the last buffer of the stream.
    last_dequeued: bool,
}

/// What DQBUF gives.
pub(super) struct Dequeued {
    pub(super) buffer: Buffer,
    pub(super) planes: [Plane; VIDEO_MAX_PLANES],
}

/// Why there is nothing to dequeue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// There may be later.
    Yet,
    /// An error: not streaming, or after the last buffer.
    Ever(Error),
}

/// Slots for buffers that are about to come into being.
pub(super) struct Room(KVVec<Slot>);

impl Room {
    /// Room for `count` buffers in all.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EIO` for an absurd number.
    pub(super) fn new(count: u32) -> Result<Self> {
        if count > MAX_BUFFERS {
            return Err(EIO);
        }
        Ok(Self(KVVec::with_capacity(count as usize, GFP_KERNEL)?))
    }
}

impl Queue {
    /// All buffers are new, `room` is for all of them. Returns memory to be freed without the lock.
    fn reset(&mut self, room: Room, count: u32) -> Room {
        let mut slots = room.0;
        for _ in 0..count {
            if slots.push_within_capacity(Slot::new()).is_err() {
                break;
            }
        }
        self.give_up();
        Room(core::mem::replace(&mut self.slots, slots))
    }

    /// There are buffers up to `count`; `room` is for all of them. Returns memory to be freed without the lock.
    fn grow(&mut self, room: Room, count: u32) -> Room {
        let mut slots = room.0;
        for slot in self.slots.iter() {
            if slots.push_within_capacity(*slot).is_err() {
                // Others made more meanwhile, which the session's gate rules out.
                return Room(slots);
            }
        }
        while slots.len() < count as usize {
            if slots.push_within_capacity(Slot::new()).is_err() {
                break;
            }
        }
        Room(core::mem::replace(&mut self.slots, slots))
    }

    /// No buffer is with the device, nor waits to be dequeued.
    fn give_up(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.state = State::Dequeued;
        }
        self.done = None;
        self.outstanding = 0;
        self.streaming = false;
        self.last_dequeued = false;
    }

    /// QBUF is about to be sent.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such buffer, or it is not the client's to queue.
    fn queue(&mut self, index: u32) -> Result {
        let slot = self.slots.get_mut(index as usize).ok_or(EINVAL)?;
        if slot.state != State::Dequeued {
            return Err(EINVAL);
        }
        slot.state = State::Queued;
        self.outstanding += 1;
        Ok(())
    }

    /// The device refused the QBUF.
    fn unqueue(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if slot.state == State::Queued {
                slot.state = State::Dequeued;
                self.outstanding -= 1;
            }
        }
    }

    /// The device returns a buffer.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it does not have it.
    fn returned(&mut self, buffer: &Buffer, planes: &[Plane; VIDEO_MAX_PLANES]) -> Result {
        let index = buffer.index;
        let slot = self.slots.get_mut(index as usize).ok_or(EINVAL)?;
        if slot.state != State::Queued {
            return Err(EINVAL);
        }
        slot.state = State::Done;
        slot.next = None;
        slot.buffer = *buffer;
        slot.planes = *planes;
        slot.check();
        match self.done {
            None => self.done = Some((index, index)),
            Some((first, last)) => {
                if let Some(slot) = self.slots.get_mut(last as usize) {
                    slot.next = Some(index);
                }
                self.done = Some((first, index));
            }
        }
        Ok(())
    }

    /// The next buffer for the client, which brings room for `planes` planes.
    fn dequeue(&mut self, planes: usize) -> Result<Dequeued, Nothing> {
        if !self.streaming {
            return Err(Nothing::Ever(EINVAL));
        }
        if self.last_dequeued {
            return Err(Nothing::Ever(EPIPE));
        }
        let (first, last) = self.done.ok_or(Nothing::Yet)?;
        let slot = self
            .slots
            .get_mut(first as usize)
            .ok_or(Nothing::Ever(EIO))?;
        if is_multiplanar(slot.buffer.type_) && planes < slot.buffer.length as usize {
            return Err(Nothing::Ever(EINVAL));
        }
        slot.state = State::Dequeued;
        self.outstanding -= 1;
        self.done = if first == last {
            None
        } else {
            slot.next.map(|next| (next, last))
        };
        let mut dequeued = Dequeued {
            buffer: slot.buffer,
            planes: slot.planes,
        };
        dequeued.buffer.flags &= !(FLAG_QUEUED | FLAG_DONE | FLAG_PREPARED);
        if !is_output(dequeued.buffer.type_) && dequeued.buffer.flags & FLAG_LAST != 0 {
            self.last_dequeued = true;
        }
        Ok(dequeued)
    }

    /// What QUERYBUF is to say of a buffer that the device has returned but the client has not dequeued.
    fn overlay(&self, buffer: &mut Buffer, planes: &mut [Plane]) {
        let Some(slot) = self.slots.get(buffer.index as usize) else {
            return;
        };
        if slot.state != State::Done {
            return;
        }
        buffer.bytesused = slot.buffer.bytesused;
        buffer.field = slot.buffer.field;
        buffer.timestamp = slot.buffer.timestamp;
        buffer.timecode = slot.buffer.timecode;
        buffer.sequence = slot.buffer.sequence;
        buffer.flags = slot.buffer.flags & !(FLAG_QUEUED | FLAG_PREPARED) | FLAG_DONE;
        for (to, from) in planes.iter_mut().zip(&slot.planes) {
            to.bytesused = from.bytesused;
            to.data_offset = from.data_offset;
        }
    }
}

/// All buffers of a session, by type.
pub(super) struct Streams {
    queues: [Queue; TYPES],
}

/// What poll wants to know of all queues of one direction.
#[derive(Clone, Copy, Default)]
pub(super) struct Readiness {
    /// A queue is streaming.
    pub(super) streaming: bool,
    /// A streaming queue has a buffer that the client has not dequeued.
    pub(super) busy: bool,
    /// A buffer can be dequeued.
    pub(super) done: bool,
    /// The last buffer was dequeued.
    pub(super) last: bool,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            queues: core::array::from_fn(|_| Queue::default()),
        }
    }

    /// The queue of that type.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such type.
    fn get(&mut self, buf_type: u32) -> Result<&mut Queue> {
        match buf_type {
            0 => Err(EINVAL),
            _ => self.queues.get_mut(buf_type as usize).ok_or(EINVAL),
        }
    }

    /// REQBUFS has made `count` buffers. Returns memory to be freed without the lock.
    pub(super) fn reset(&mut self, buf_type: u32, room: Room, count: u32) -> Result<Room> {
        Ok(self.get(buf_type)?.reset(room, count))
    }

    /// CREATE_BUFS has made buffers up to `count`. Returns memory to be freed without the lock.
    pub(super) fn grow(&mut self, buf_type: u32, room: Room, count: u32) -> Result<Room> {
        Ok(self.get(buf_type)?.grow(room, count))
    }

    /// How many buffers there are.
    pub(super) fn count(&mut self, buf_type: u32) -> u32 {
        self.get(buf_type)
            .map_or(0, |queue| queue.slots.len() as u32)
    }

    /// See [`Queue::queue`].
    pub(super) fn queue(&mut self, buf_type: u32, index: u32) -> Result {
        self.get(buf_type)?.queue(index)
    }

    /// See [`Queue::unqueue`].
    pub(super) fn unqueue(&mut self, buf_type: u32, index: u32) {
        if let Ok(queue) = self.get(buf_type) {
            queue.unqueue(index);
        }
    }

    /// See [`Queue::returned`].
    pub(super) fn returned(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane; VIDEO_MAX_PLANES],
    ) -> Result {
        if is_multiplanar(buffer.type_) && buffer.length as usize > VIDEO_MAX_PLANES {
            return Err(EINVAL);
        }
        self.get(buffer.type_)?.returned(buffer, planes)
    }

    /// See [`Queue::dequeue`].
    pub(super) fn dequeue(&mut self, buf_type: u32, planes: usize) -> Result<Dequeued, Nothing> {
        self.get(buf_type).map_err(Nothing::Ever)?.dequeue(planes)
    }

    /// See [`Queue::overlay`].
    pub(super) fn overlay(&mut self, buffer: &mut Buffer, planes: &mut [Plane]) {
        if let Ok(queue) = self.get(buffer.type_) {
            queue.overlay(buffer, planes);
        }
    }

    /// STREAMON has succeeded.
    pub(super) fn start(&mut self, buf_type: u32) {
        if let Ok(queue) = self.get(buf_type) {
            queue.streaming = true;
            queue.last_dequeued = false;
        }
    }

    /// STREAMOFF has succeeded: all buffers are the client's.
    pub(super) fn stop(&mut self, buf_type: u32) {
        if let Ok(queue) = self.get(buf_type) {
            queue.give_up();
        }
    }

    /// The codec goes on after the last buffer.
    pub(super) fn resume(&mut self) {
        for queue in &mut self.queues {
            queue.last_dequeued = false;
        }
    }

    /// What poll wants to know.
    pub(super) fn readiness(&self, output: bool) -> Readiness {
        let mut readiness = Readiness::default();
        for (buf_type, queue) in self.queues.iter().enumerate() {
            if is_output(buf_type as u32) != output || !queue.streaming {
                continue;
            }
            readiness.streaming = true;
            readiness.busy |= queue.outstanding > 0;
            readiness.done |= queue.done.is_some();
            readiness.last |= queue.last_dequeued;
        }
        readiness
    }
}
