// SPDX-License-Identifier: GPL-2.0

//! The buffers of one type.

use super::clock::Clock;
use super::fence::Fence;
use super::rules::{ImportRequest, Imported, OnWire, Rules};
use super::slot::{Slot, State};
use crate::wire::v4l2::{self, Buffer, Plane, VIDEO_MAX_PLANES};
use kernel::prelude::*;

/// The buffers of a queue. Those that were removed leave gaps.
pub(in crate::driver) type Slots<R, F> = KVVec<Option<Slot<R, F>>>;

/// The buffers of one type. A QBUF for the device is an `R`; it may wait for an `F`.
pub(in crate::driver) struct Queue<R, F> {
    slots: Slots<R, F>,
    pub(in crate::driver) rules: Rules,
    /// First and last of those that are done, in the order in which the device returned them.
    pub(super) done: Option<(u32, u32)>,
    /// How many are not `Dequeued`.
    pub(super) outstanding: usize,
    /// How many were posted and have not come back.
    posted: usize,
    /// How many of them the device was not notified of in kick batch `batch`.
    unnotified: usize,
    batch: u64,
    pub(super) pending: Pending<R>,
    pub(super) streaming: bool,
    /// The client has dequeued the last buffer of the stream.
    pub(super) last_dequeued: bool,
    /// The last timestamp that was translated, in µs.
    last_stamp: i64,
}

/// Why DQBUF gives no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Nothing {
    /// There may be a buffer later.
    Yet,
    /// An error: not streaming, or after the last buffer.
    Ever(Error),
}

/// What came of the answer to a QBUF.
pub(in crate::driver) struct Answered<R> {
    /// The request, if the buffer does not keep it.
    pub(in crate::driver) left: Option<R>,
    /// The buffer can be dequeued now.
    pub(in crate::driver) done: bool,
}

/// The buffers that are pending, and a STOP behind them.
pub(super) struct Pending<R> {
    /// First and last of the buffers, which are linked by `Slot::next`.
    pub(super) ends: Option<(u32, u32)>,
    /// A STOP, and the buffer that it stands behind.
    pub(super) stop: Option<(u32, R)>,
    /// Nothing is posted: an ioctl is under way that may take the buffers back.
    pub(super) frozen: bool,
}

/// What posts a request, and gives it back with an error.
pub(in crate::driver) type Post<'a, R> = &'a mut dyn FnMut(R) -> Result<Posted, (R, Error)>;

/// What came of looking at pending buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::driver) struct Advanced {
    /// A buffer can be dequeued.
    pub(in crate::driver) done: bool,
    /// The command queue is to be drained.
    pub(in crate::driver) drain: bool,
}

/// What came of posting a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Posted {
    /// The kick batch in which the device had not been notified of it.
    pub(in crate::driver) batch: u64,
    /// The command queue is to be drained.
    pub(in crate::driver) drain: bool,
}

impl<R> Default for Pending<R> {
    fn default() -> Self {
        Self {
            ends: None,
            stop: None,
            frozen: false,
        }
    }
}

impl<R, F> Default for Queue<R, F> {
    fn default() -> Self {
        Self {
            slots: Slots::new(),
            rules: Rules::default(),
            done: None,
            outstanding: 0,
            posted: 0,
            unnotified: 0,
            batch: 0,
            pending: Pending::default(),
            streaming: false,
            last_dequeued: false,
            last_stamp: 0,
        }
    }
}

impl<R, F: Fence> Queue<R, F> {
    pub(super) fn slot(&mut self, index: u32) -> Result<&mut Slot<R, F>> {
        let slot = self.slots.get_mut(index as usize).and_then(Option::as_mut);
        slot.ok_or(EINVAL)
    }

    /// How many places for buffers there are.
    pub(in crate::driver) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are any.
    pub(in crate::driver) fn has_buffers(&self) -> bool {
        self.slots.iter().any(Option::is_some)
    }

    /// Takes other buffers instead of those that there are; `slots` comes back with the old ones.
    /// Returns a pending STOP, to be dropped without the lock.
    pub(in crate::driver) fn replace(
        &mut self,
        slots: &mut Slots<R, F>,
        rules: Rules,
    ) -> Option<R> {
        self.rules = rules;
        core::mem::swap(&mut self.slots, slots);
        self.give_up()
    }

    /// Adds the buffers of `new` from index `first` on; `slots` is empty, has the capacity for all,
    /// and comes back with what is to be freed.
    ///
    /// # Errors
    ///
    /// `EIO` if there are such buffers already.
    pub(in crate::driver) fn extend(
        &mut self,
        first: usize,
        new: &mut Slots<R, F>,
        slots: &mut Slots<R, F>,
    ) -> Result {
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

    /// Takes out buffers that are the client's; `slots` has the capacity for all of them.
    pub(in crate::driver) fn remove(
        &mut self,
        first: usize,
        count: usize,
        slots: &mut Slots<R, F>,
    ) {
        for slot in self.slots.iter_mut().skip(first).take(count) {
            let _ = slots.push_within_capacity(slot.take());
        }
    }

    /// Whether buffers may be removed.
    ///
    /// # Errors
    ///
    /// `EINVAL`: there are no such buffers; `EBUSY`: one is not the client's.
    pub(in crate::driver) fn check_remove(&mut self, first: u32, count: u32) -> Result {
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

    /// No buffer is with the device, nor waits to be dequeued. Returns a pending STOP,
    /// to be dropped without the lock.
    pub(super) fn give_up(&mut self) -> Option<R> {
        for slot in self.slots.iter_mut().flatten() {
            if slot.state == State::Pending {
                slot.fate.resolve(slot.posting, false);
            }
            slot.state = State::Dequeued;
            slot.prepared = false;
            slot.fence = None;
        }
        self.done = None;
        self.outstanding = 0;
        self.posted = 0;
        self.unnotified = 0;
        self.streaming = false;
        self.last_dequeued = false;
        self.end_pending()
    }

    /// Whether QBUF or PREPARE_BUF is right: see [`Slot::check`]. Returns the buffer.
    ///
    /// # Errors
    ///
    /// As [`Slot::check`]; `EINVAL` if there is no such buffer.
    pub(in crate::driver) fn check(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane],
        prepare: bool,
    ) -> Result<&mut Slot<R, F>> {
        let rules = self.rules;
        let slot = self.slot(buffer.index)?;
        slot.check(&rules, buffer, planes, prepare)?;
        Ok(slot)
    }

    /// As [`Self::check`], for QBUF or PREPARE_BUF number `number`. Returns what memory it is to
    /// have imported.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub(in crate::driver) fn import_request(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane],
        prepare: bool,
        number: u64,
    ) -> Result<ImportRequest> {
        let rules = self.rules;
        let slot = self.check(buffer, planes, prepare)?;
        Ok(slot.import_request(&rules, number, prepare))
    }

    /// The argument of QBUF or PREPARE_BUF of a buffer that [`Self::check`] has let pass, as the
    /// device is to have it. `imported` is its memory if that is not the device's.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the payload is not within the memory.
    pub(in crate::driver) fn build(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane],
        imported: Option<&Imported>,
        prepare: bool,
    ) -> Result<OnWire> {
        let rules = self.rules;
        let slot = self.slot(buffer.index)?;
        if let Some(imported) = imported {
            slot.set_memory(&rules, imported, buffer, planes)?;
        }
        slot.take_argument(&rules, buffer, planes);
        if !prepare {
            slot.stamp(&rules, buffer);
        }
        Ok(slot.on_wire(&rules))
    }

    /// PREPARE_BUF has succeeded.
    pub(in crate::driver) fn prepared(&mut self, index: u32) {
        if let Ok(slot) = self.slot(index) {
            slot.prepared = true;
        }
    }

    /// The device has answered QBUF or PREPARE_BUF number `number`, which was called.
    pub(in crate::driver) fn answered_call(&mut self, index: u32, number: u64, accepted: bool) {
        if let Ok(slot) = self.slot(index) {
            slot.fate.resolve(number, accepted);
        }
    }

    /// QBUF number `number` has failed; unless the buffer is queued all the same, the device does
    /// not see it.
    pub(in crate::driver) fn failed(&mut self, index: u32, number: u64) {
        if let Ok(slot) = self.slot(index) {
            if slot.state == State::Dequeued {
                slot.fate.resolve(number, false);
            }
        }
    }

    /// QBUF number `posting` is about to be posted. Gives its request, if it is here.
    pub(in crate::driver) fn take_request(&mut self, index: u32) -> Result<Option<R>> {
        Ok(self.slot(index)?.request.take())
    }

    /// QBUF has been posted, in `batch`.
    pub(in crate::driver) fn queue(&mut self, index: u32, posting: u64, batch: u64) {
        let Ok(slot) = self.slot(index) else { return };
        slot.state = State::Queued;
        slot.posting = posting;
        self.outstanding += 1;
        self.posted(batch);
    }

    /// QBUF number `posting`, which was called, has been refused: the buffer is the client's as
    /// before. Fails if it is not any more.
    pub(in crate::driver) fn unqueue(&mut self, index: u32, posting: u64) -> bool {
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

    /// One more is with the device, which was not notified of it in `batch`.
    pub(super) fn posted(&mut self, batch: u64) {
        self.posted += 1;
        self.see_batch(batch);
        self.unnotified += 1;
    }

    /// One less is with the device.
    fn gone(&mut self) {
        self.posted -= 1;
        self.unnotified = self.unnotified.min(self.posted);
    }

    fn see_batch(&mut self, batch: u64) {
        if self.batch != batch {
            self.batch = batch;
            self.unnotified = 0;
        }
    }

    /// Whether the device should be notified at once of what was posted: it knows of no other
    /// buffer, or has less to do with those that it knows of than with the others. The latter can
    /// wait if the program is to come back for `more` buffers before it waits, which is when the
    /// device is notified of everything. Before the queue streams there is no hurry.
    pub(in crate::driver) fn wants_kick(&mut self, batch: u64, more: bool) -> bool {
        self.see_batch(batch);
        let enough = if more { 1 } else { 2 };
        self.streaming && self.unnotified > 0 && enough * self.unnotified >= self.posted
    }

    /// The device has answered a QBUF.
    pub(super) fn answered(
        &mut self,
        index: u32,
        number: u64,
        refused: bool,
        request: R,
    ) -> Answered<R> {
        let mut answered = Answered {
            left: None,
            done: false,
        };
        let Ok(slot) = self.slot(index) else {
            answered.left = Some(request);
            return answered;
        };
        slot.fate.resolve(number, !refused);
        // Another buffer by now, or the same one queued again.
        if slot.posting != number {
            answered.left = Some(request);
            return answered;
        }
        answered.left = slot.request.replace(request);
        if refused && slot.state == State::Queued {
            slot.fail();
            self.gone();
            self.finish(index);
            answered.done = true;
        }
        answered
    }

    /// The device returns a buffer. Returns whether it should be notified of others.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it does not have it.
    pub(super) fn returned(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane; VIDEO_MAX_PLANES],
        clock: &mut Clock,
        now: i64,
        batch: u64,
    ) -> Result<bool> {
        let mut last = self.last_stamp;
        let slot = self.slot(buffer.index)?;
        if slot.state != State::Queued {
            return Err(EINVAL);
        }
        slot.take_back(buffer, planes);
        slot.translate(clock, &mut last, now);
        self.last_stamp = last;
        self.gone();
        self.finish(buffer.index);
        Ok(self.wants_kick(batch, true))
    }

    /// A buffer that was queued or pending can be dequeued.
    pub(super) fn finish(&mut self, index: u32) {
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
    pub(in crate::driver) fn dequeue(
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
        buffer.flags &= !v4l2::BUF_FLAG_DONE;
        slot.state = State::Dequeued;
        slot.prepared = false;
        let next = slot.next;
        self.outstanding -= 1;
        self.done = if first == last {
            None
        } else {
            next.map(|next| (next, last))
        };
        if !rules.output && buffer.flags & v4l2::BUF_FLAG_LAST != 0 {
            self.last_dequeued = true;
        }
        Ok(())
    }

    /// What QUERYBUF says, and QBUF when it is done.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such buffer, or too short an array for its planes.
    pub(in crate::driver) fn fill(&mut self, buffer: &mut Buffer, planes: &mut [Plane]) -> Result {
        let rules = self.rules;
        let slot = self.slot(buffer.index)?;
        slot.check_planes(planes)?;
        slot.fill(&rules, buffer, planes);
        Ok(())
    }
}
