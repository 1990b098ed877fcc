// SPDX-License-Identifier: GPL-2.0

//! What the driver knows of a session's buffers.
//!
//! It knows all that videobuf2 would: QBUF is checked here and posted, so that nobody waits for the device, and
//! QUERYBUF is answered here. A buffer goes round:
//!
//! ```text
//!           QBUF                DQBUF event, QBUF refused            DQBUF ioctl
//! Dequeued ------> Queued --------------------------------> Done ------------------> Dequeued
//!    ^               |                                       |
//!    +---------------+---------------------------------------+   STREAMOFF, REQBUFS
//! ```
//!
//! Before it is `Queued` a buffer may be `Held` in its queue's [`line`]; clients see no difference.
//!
//! A buffer becomes `Queued` before the command is sent, as the host may give it back before it answers. A QBUF that
//! the device refuses comes back as a buffer with an error.

use super::clock::Clock;
use super::command::{CommandRequest, Posting};
use super::lend::Loan;
use crate::wire::v4l2::{is_output, Buffer, Plane, VIDEO_MAX_PLANES};
use kernel::prelude::*;

mod line;
mod mapped;
mod slot;

use line::Line;
pub(super) use line::{Advanced, Post};
pub(super) use mapped::{offset, Mappable, User};
use slot::State;
pub(super) use slot::{flag, OnWire, Rules, Slot};

/// Number of buffer types, the unused 0 included (`enum v4l2_buf_type`).
const TYPES: usize = 15;

/// Most buffers of a queue that the driver keeps account of.
pub(super) const MAX_BUFFERS: u32 = 1024;

/// The buffers of a queue. Those that were removed leave gaps.
pub(super) type Slots = KVVec<Option<Slot>>;

/// The buffers of one type.
#[derive(Default)]
pub(super) struct Queue {
    slots: Slots,
    pub(super) rules: Rules,
    /// First and last of those that are done, in the order in which the device returned them.
    done: Option<(u32, u32)>,
    /// How many are not `Dequeued`.
    outstanding: usize,
    /// How many were posted and have not come back.
    posted: usize,
    /// How many of them the device was not told of in round `round`.
    untold: usize,
    round: u64,
    line: Line,
    streaming: bool,
    /// The client has dequeued the last buffer of the stream.
    last_dequeued: bool,
    /// The last timestamp that was translated, in µs.
    last_stamp: i64,
}

/// What DQBUF gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// There may be a buffer later.
    Yet,
    /// An error: not streaming, or after the last buffer.
    Ever(Error),
}

/// What came of the answer to a QBUF.
pub(super) struct Answered {
    /// The request, if it is of no use here any more.
    pub(super) left: Option<CommandRequest>,
    /// The buffer can be dequeued now.
    pub(super) done: bool,
}

impl Queue {
    fn slot(&mut self, index: u32) -> Result<&mut Slot> {
        let slot = self.slots.get_mut(index as usize).and_then(Option::as_mut);
        slot.ok_or(EINVAL)
    }

    /// How many places for buffers there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes other buffers instead of those that there are; `slots` comes back with the old ones. Returns a STOP that
    /// stood in line, to be dropped without the lock.
    pub(super) fn replace(&mut self, slots: &mut Slots, rules: Rules) -> Option<CommandRequest> {
        self.rules = rules;
        core::mem::swap(&mut self.slots, slots);
        self.give_up()
    }

    /// Adds the buffers of `new` from index `first` on; `slots` is empty, has room for all, and comes back with
    /// what is to be freed.
    ///
    /// # Errors
    ///
    /// `EIO` if there are such buffers already.
    pub(super) fn extend(&mut self, first: usize, new: &mut Slots, slots: &mut Slots) -> Result {
        let end = first + new.len();
        let mut taken = self.slots.iter().take(end).skip(first);
        if taken.any(|slot| slot.is_some()) {
            return Err(EIO);
        }
        for at in 0..self.slots.len().max(end) {
            let old = self.slots.get_mut(at).and_then(Option::take);
            let slot = match at.checked_sub(first).and_then(|at| new.get_mut(at)) {
                Some(new) => new.take(),
                None => old,
            };
            if slots.push_within_capacity(slot).is_err() {
                break;
            }
        }
        core::mem::swap(&mut self.slots, slots);
        Ok(())
    }

    /// Takes out buffers that are the client's; `slots` has room for all of them.
    pub(super) fn remove(&mut self, first: usize, count: usize, slots: &mut Slots) {
        for slot in self.slots.iter_mut().skip(first).take(count) {
            let _ = slots.push_within_capacity(slot.take());
        }
    }

    /// Whether buffers may be removed.
    ///
    /// # Errors
    ///
    /// `EINVAL`: there are no such buffers; `EBUSY`: one is not the client's.
    pub(super) fn check_remove(&mut self, first: u32, count: u32) -> Result {
        let end = first.checked_add(count).ok_or(EINVAL)?;
        if end as usize > self.slots.len() {
            return Err(EINVAL);
        }
        for index in first..end {
            if self.slot(index)?.state != State::Dequeued {
                return Err(EBUSY);
            }
        }
        Ok(())
    }

    /// No buffer is with the device, nor waits to be dequeued. Returns a STOP that stood in line, to be dropped without
    /// the lock.
    fn give_up(&mut self) -> Option<CommandRequest> {
        for slot in self.slots.iter_mut().flatten() {
            if slot.state == State::Held {
                slot.fate.settle(slot.posting, false);
            }
            slot.state = State::Dequeued;
            slot.prepared = false;
            slot.fence = None;
        }
        self.done = None;
        self.outstanding = 0;
        self.posted = 0;
        self.untold = 0;
        self.streaming = false;
        self.last_dequeued = false;
        self.end_line()
    }

    /// Whether QBUF or PREPARE_BUF is right: see [`Slot::check`]. Returns the buffer.
    ///
    /// # Errors
    ///
    /// As [`Slot::check`]; `EINVAL` if there is no such buffer.
    pub(super) fn check(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane],
        prepare: bool,
    ) -> Result<&mut Slot> {
        let rules = self.rules;
        let slot = self.slot(buffer.index)?;
        slot.check(&rules, buffer, planes, prepare)?;
        Ok(slot)
    }

    /// The argument of QBUF or PREPARE_BUF of a buffer that [`Self::check`] has let pass, as the device is to have
    /// it.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the payload is not within the memory that was lent.
    pub(super) fn settle(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane],
        loan: Option<&Loan>,
        prepare: bool,
    ) -> Result<OnWire> {
        let rules = self.rules;
        let slot = self.slot(buffer.index)?;
        if let Some(loan) = loan {
            slot.borrow(&rules, loan, buffer, planes)?;
        }
        slot.settle(&rules, buffer, planes);
        if !prepare {
            slot.stamp(&rules, buffer);
        }
        Ok(slot.on_wire(&rules))
    }

    /// PREPARE_BUF has succeeded.
    pub(super) fn prepared(&mut self, index: u32) {
        if let Ok(slot) = self.slot(index) {
            slot.prepared = true;
        }
    }

    /// The device has answered QBUF or PREPARE_BUF number `number`, which was called.
    pub(super) fn settled(&mut self, index: u32, number: u64, accepted: bool) {
        if let Ok(slot) = self.slot(index) {
            slot.fate.settle(number, accepted);
        }
    }

    /// QBUF number `number` has failed; unless the buffer is queued all the same, the device does not see it.
    pub(super) fn failed(&mut self, index: u32, number: u64) {
        if let Ok(slot) = self.slot(index) {
            if slot.state == State::Dequeued {
                slot.fate.settle(number, false);
            }
        }
    }

    /// QBUF number `posting` is about to be posted. Gives its request, if it is here.
    pub(super) fn take_request(&mut self, index: u32) -> Result<Option<CommandRequest>> {
        Ok(self.slot(index)?.request.take())
    }

    /// QBUF has been posted, in `round`.
    pub(super) fn queue(&mut self, index: u32, posting: u64, round: u64) {
        let Ok(slot) = self.slot(index) else { return };
        slot.state = State::Queued;
        slot.posting = posting;
        self.outstanding += 1;
        self.posted(round);
    }

    /// QBUF number `posting`, which was called, has been refused: the buffer is the client's as before. Fails if it is
    /// not any more.
    pub(super) fn unqueue(&mut self, index: u32, posting: u64) -> bool {
        let refused = self.slot(index).is_ok_and(|slot| {
            let refused = slot.state == State::Queued && slot.posting == posting;
            if refused {
                slot.state = State::Dequeued;
            }
            refused
        });
        if refused {
            self.outstanding -= 1;
            self.gone();
        }
        refused
    }

    /// One more is with the device, which was not told of it in `round`.
    fn posted(&mut self, round: u64) {
        self.posted += 1;
        self.see_round(round);
        self.untold += 1;
    }

    /// One less is with the device.
    fn gone(&mut self) {
        self.posted -= 1;
        self.untold = self.untold.min(self.posted);
    }

    fn see_round(&mut self, round: u64) {
        if self.round != round {
            self.round = round;
            self.untold = 0;
        }
    }

    /// Whether the device should be told at once of what was posted: it knows of no other buffer, or has less to do with
    /// those that it knows of than with the others. The latter can wait if the program is to come back for `more`
    /// buffers before it waits, which is when the device is told of everything. Before the queue streams there is no
    /// hurry.
    pub(super) fn rings(&mut self, round: u64, more: bool) -> bool {
        self.see_round(round);
        let enough = if more { 1 } else { 2 };
        self.streaming && self.untold > 0 && enough * self.untold >= self.posted
    }

    /// The device has answered a QBUF.
    fn answered(&mut self, posting: &Posting, refused: bool, request: CommandRequest) -> Answered {
        let mut answered = Answered {
            left: None,
            done: false,
        };
        let Ok(slot) = self.slot(posting.index) else {
            answered.left = Some(request);
            return answered;
        };
        slot.fate.settle(posting.number, !refused);
        // Another buffer by now, or the same one queued again.
        if slot.posting != posting.number {
            answered.left = Some(request);
            return answered;
        }
        answered.left = slot.request.replace(request);
        if refused && slot.state == State::Queued {
            slot.fail();
            self.gone();
            self.finish(posting.index);
            answered.done = true;
        }
        answered
    }

    /// The device returns a buffer. Returns whether it should be told of others.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it does not have it.
    fn returned(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane; VIDEO_MAX_PLANES],
        clock: &mut Clock,
        round: u64,
    ) -> Result<bool> {
        let mut last = self.last_stamp;
        let slot = self.slot(buffer.index)?;
        if slot.state != State::Queued {
            return Err(EINVAL);
        }
        slot.take_back(buffer, planes);
        slot.translate(clock, &mut last);
        self.last_stamp = last;
        self.gone();
        self.finish(buffer.index);
        Ok(self.rings(round, true))
    }

    /// A buffer that was queued or held can be dequeued.
    fn finish(&mut self, index: u32) {
        if let Ok(slot) = self.slot(index) {
            slot.state = State::Done;
            slot.next = None;
        }
        let first = self.done.map_or(index, |(first, last)| {
            if let Ok(slot) = self.slot(last) {
                slot.next = Some(index);
            }
            first
        });
        self.done = Some((first, index));
    }

    /// Fills in the next buffer for the client.
    pub(super) fn dequeue(
        &mut self,
        buffer: &mut Buffer,
        planes: &mut [Plane],
    ) -> Result<(), Nothing> {
        if !self.streaming {
            return Err(Nothing::Ever(EINVAL));
        }
        if self.last_dequeued {
            return Err(Nothing::Ever(EPIPE));
        }
        let (first, last) = self.done.ok_or(Nothing::Yet)?;
        let rules = self.rules;
        let slot = self.slot(first).map_err(|_| Nothing::Ever(EIO))?;
        slot.check_planes(planes).map_err(Nothing::Ever)?;
        slot.fill(&rules, buffer, planes);
        buffer.flags &= !flag::DONE;
        slot.state = State::Dequeued;
        slot.prepared = false;
        let next = slot.next;
        self.outstanding -= 1;
        self.done = if first == last {
            None
        } else {
            next.map(|next| (next, last))
        };
        if !rules.output && buffer.flags & flag::LAST != 0 {
            self.last_dequeued = true;
        }
        Ok(())
    }

    /// What QUERYBUF says, and QBUF when it is done.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such buffer, or no room for its planes.
    pub(super) fn fill(&mut self, buffer: &mut Buffer, planes: &mut [Plane]) -> Result {
        let rules = self.rules;
        let slot = self.slot(buffer.index)?;
        slot.check_planes(planes)?;
        slot.fill(&rules, buffer, planes);
        Ok(())
    }
}

/// All buffers of a session, by type.
pub(super) struct Streams {
    /// One for each of [`TYPES`]. On the heap: a session is made on the stack.
    queues: KVec<Queue>,
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
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let mut queues = KVec::with_capacity(TYPES, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..TYPES {
            queues.push(Queue::default(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self { queues })
    }

    /// The queue of that type.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such type.
    pub(super) fn get(&mut self, buf_type: u32) -> Result<&mut Queue> {
        match buf_type {
            0 => Err(EINVAL),
            _ => self.queues.get_mut(buf_type as usize).ok_or(EINVAL),
        }
    }

    /// The device has answered a QBUF.
    pub(super) fn answered(
        &mut self,
        posting: &Posting,
        refused: bool,
        request: CommandRequest,
    ) -> Answered {
        match self.get(posting.buf_type) {
            Ok(queue) => queue.answered(posting, refused, request),
            Err(_) => Answered {
                left: Some(request),
                done: false,
            },
        }
    }

    /// See [`Queue::returned`].
    pub(super) fn returned(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane; VIDEO_MAX_PLANES],
        clock: &mut Clock,
        round: u64,
    ) -> Result<bool> {
        let queue = self.get(buffer.type_)?;
        queue.returned(buffer, planes, clock, round)
    }

    /// STREAMON has succeeded.
    pub(super) fn start(&mut self, buf_type: u32) {
        if let Ok(queue) = self.get(buf_type) {
            queue.streaming = true;
            queue.last_dequeued = false;
        }
    }

    /// STREAMOFF has succeeded: all buffers are the client's. Returns a STOP that stood in line, to be dropped without
    /// the lock.
    pub(super) fn stop(&mut self, buf_type: u32) -> Option<CommandRequest> {
        self.get(buf_type).ok().and_then(Queue::give_up)
    }

    /// Posts what is ready in all lines.
    pub(super) fn advance(&mut self, post: Post<'_>) -> Advanced {
        let mut advanced = Advanced::default();
        for queue in self.queues.iter_mut().filter(|queue| queue.has_line()) {
            queue.advance(post, &mut advanced);
        }
        advanced
    }

    /// The queue with frames for the codec in line, behind which its STOP is to stand.
    pub(super) fn line_for_stop(&mut self) -> Option<&mut Queue> {
        let mut queues = self.queues.iter_mut();
        queues.find(|queue| queue.rules.output && queue.has_line())
    }

    /// Whether a buffer can be dequeued.
    pub(super) fn any_done(&self) -> bool {
        self.queues.iter().any(|queue| queue.done.is_some())
    }

    /// The codec goes on after the last buffer.
    pub(super) fn resume(&mut self) {
        for queue in self.queues.iter_mut() {
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
