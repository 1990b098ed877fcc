// SPDX-License-Identifier: GPL-2.0

//! Buffers, answers and events of the device for a session, and the buffers that they let be
//! posted.

use super::file::SessionNode;
use crate::driver::channel::{Channel, CommandRequest, Posting, MAX_ERRNO};
use crate::driver::queue::Posted;
use crate::media::event::{EVENT_SIZE, SUBSCRIPTION_SIZE};
use crate::media::{monotonic_us, poll, Handle};
use crate::wire::v4l2::{is_output, Buffer, Plane, VIDEO_MAX_PLANES};
use kernel::prelude::*;

/// Posts a request that was pending; the device is notified of it later.
fn post(channel: &Channel, request: CommandRequest) -> Result<Posted, (CommandRequest, Error)> {
    let submitted = channel.post_later(request)?;
    Ok(Posted {
        batch: submitted.batch,
        drain: submitted.drain,
    })
}

impl Handle<SessionNode> {
    /// The device returns a buffer. Returns whether the device should be notified of others. Called
    /// in interrupts.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the session has no such buffer with the device.
    pub(in crate::driver) fn dequeue(
        &self,
        buffer: &Buffer,
        planes: &[Plane; VIDEO_MAX_PLANES],
    ) -> Result<bool> {
        let batch = self.channel().commands().batch();
        let now = monotonic_us();
        let mut guard = self.state().lock();
        let state = &mut *guard;
        if state.lost.is_some() {
            // A command was abandoned half-way: what the device returns may be unknown here.
            return Ok(false);
        }
        let kick = state
            .streams
            .returned(buffer, planes, &mut state.clock, now, batch)?;
        drop(guard);
        self.wake_for_buffer(buffer.type_);
        Ok(kick)
    }

    /// The device has answered a QBUF. Returns the request if there is no use for it. May be called
    /// in interrupts.
    pub(in crate::driver) fn buffer_answered(
        &self,
        posting: &Posting,
        refused: bool,
        request: CommandRequest,
    ) -> Option<CommandRequest> {
        let mut state = self.state().lock();
        let Posting {
            buf_type,
            index,
            number,
            ..
        } = *posting;
        let streams = &mut state.streams;
        let answered = streams.answered(buf_type, index, number, refused, request);
        drop(state);
        if answered.done {
            self.wake_for_buffer(buf_type);
        }
        answered.left
    }

    /// Posts the pending buffers that are ready.
    pub(in crate::driver) fn advance(&self) {
        let drain = self.advance_pending();
        self.channel().advanced(drain);
    }

    /// As [`Self::advance`], in any context. Returns whether the command queue must be drained; the
    /// device has to be notified in any case.
    pub(in crate::driver) fn advance_pending(&self) -> bool {
        let mut state = self.state().lock();
        if state.lost.is_some() {
            return false;
        }
        let channel = self.channel();
        let advanced = state.streams.advance(&mut |request| post(channel, request));
        drop(state);
        if advanced.done {
            self.notify();
            self.wake(poll::IN | poll::OUT);
        }
        advanced.drain
    }

    /// Stops posting pending buffers of that type, as an ioctl that may return all of them is about
    /// to be sent; posts a pending STOP.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such type.
    pub(in crate::driver) fn freeze(&self, buf_type: u32) -> Result {
        let channel = self.channel();
        let mut state = self.state().lock();
        let queue = state.streams.get(buf_type)?;
        queue.freeze(&mut |request| post(channel, request));
        Ok(())
    }

    /// Ends [`Self::freeze`]: the ioctl has failed.
    pub(in crate::driver) fn thaw(&self, buf_type: u32) {
        let mut state = self.state().lock();
        if let Ok(queue) = state.streams.get(buf_type) {
            queue.thaw();
        }
        drop(state);
        self.advance();
    }

    fn wake_for_buffer(&self, buf_type: u32) {
        self.notify();
        self.wake(if is_output(buf_type) {
            poll::OUT
        } else {
            poll::IN
        });
    }

    /// The device has ended the session. Called in interrupts.
    pub(in crate::driver) fn lose(&self, errno: u32) {
        let error = match errno {
            1..=MAX_ERRNO => Error::from_errno(-(errno as i32)),
            _ => EIO,
        };
        if self.end(error) {
            if error == ENODEV {
                pr_info!("session {}: its device is gone\n", self.id());
            } else {
                pr_err!(
                    "session {}: the device ended it with error {}\n",
                    self.id(),
                    errno
                );
            }
            self.wake_for_error();
        }
    }

    /// The device sends an event. Called in interrupts.
    pub(in crate::driver) fn event(&self, event: &[u8; EVENT_SIZE]) {
        // Under the lock, so that who finds no event and goes to sleep is woken.
        let state = self.state().lock();
        self.queue_event(event);
        drop(state);
        self.notify();
    }

    /// Ends subscriptions, and drops their events.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: there is a signal.
    pub(in crate::driver) fn end_subscription(
        &self,
        subscription: &[u8; SUBSCRIPTION_SIZE],
    ) -> Result {
        let _taking = self.events.pass()?;
        self.unsubscribe(subscription)
    }

    /// Wakes whoever waits, so that they see an error. May be called in interrupts.
    pub(in crate::driver) fn wake_for_error(&self) {
        self.notify();
        self.wake(poll::ERR | poll::HUP | poll::IN | poll::OUT | poll::PRI);
    }
}
