// SPDX-License-Identifier: GPL-2.0

//! Buffers that wait for other devices.
//!
//! While another device still writes to a buffer (or reads it), QBUF neither waits nor gives the
//! buffer to our device: the buffer is pending in its queue with its request, and so is every later
//! buffer of that queue, so that their order is kept. Whoever makes buffers ready posts them from
//! the head of the list. A STOP is queued behind the pending buffers, whose frames it must not
//! overtake. A queue has one STOP at most.

use super::buffers::{Advanced, Post, Queue};
use super::fence::{Fence, Ready};
use super::slot::State;

impl<R, F: Fence> Queue<R, F> {
    /// Whether any buffer is pending.
    pub(in crate::driver) fn has_pending(&self) -> bool {
        self.pending.ends.is_some()
    }

    /// Whether a STOP is pending.
    pub(in crate::driver) fn stops(&self) -> bool {
        self.pending.stop.is_some()
    }

    /// Appends QBUF number `posting`, to be posted when those before it are and `fence` has
    /// signalled. Returns a request that is not needed, to be dropped without a lock.
    pub(in crate::driver) fn wait(
        &mut self,
        index: u32,
        posting: u64,
        request: R,
        fence: Option<F>,
    ) -> Option<R> {
        let Ok(slot) = self.slot(index) else {
            return Some(request);
        };
        slot.state = State::Pending;
        slot.posting = posting;
        slot.fence = fence;
        slot.next = None;
        let old = slot.request.replace(request);
        self.outstanding += 1;
        let first = self.pending.ends.map_or(index, |(first, last)| {
            if let Ok(slot) = self.slot(last) {
                slot.next = Some(index);
            }
            first
        });
        self.pending.ends = Some((first, index));
        old
    }

    /// Appends a STOP behind the pending buffers. Returns it if there are none, or another STOP.
    pub(in crate::driver) fn wait_stop(&mut self, request: R) -> Option<R> {
        match self.pending.ends {
            Some((_, last)) if self.pending.stop.is_none() => {
                self.pending.stop = Some((last, request));
                None
            }
            _ => Some(request),
        }
    }

    /// Posts what is ready. A buffer whose fence has failed, or that cannot be posted, is done with
    /// an error.
    pub(super) fn advance(&mut self, post: Post<'_, R>, advanced: &mut Advanced) {
        if self.pending.frozen {
            return;
        }
        while let Some((first, last)) = self.pending.ends {
            let Ok(slot) = self.slot(first) else {
                // Pending buffers are not removed.
                self.pending.ends = None;
                break;
            };
            let ready = slot.fence.as_ref().map(|fence| fence.ready());
            let ready = ready.unwrap_or(Ready::Signalled);
            if ready == Ready::Pending {
                break;
            }
            let next = slot.next.take().filter(|_| first != last);
            self.pending.ends = next.map(|next| (next, last));
            self.leave(first, ready, post, advanced);
            if let Some((_, stop)) = self.pending.stop.take_if(|(behind, _)| *behind == first) {
                // If the device is gone, so is whoever waits for the end of the stream.
                if let Ok(submitted) = post(stop) {
                    advanced.drain |= submitted.drain;
                }
            }
        }
    }

    /// The first of the pending buffers has left the list, and is `ready`.
    fn leave(&mut self, index: u32, ready: Ready, post: Post<'_, R>, advanced: &mut Advanced) {
        let Ok(slot) = self.slot(index) else { return };
        slot.fence = None;
        match slot.request.take() {
            Some(request) if ready == Ready::Signalled => match post(request) {
                Ok(submitted) => {
                    slot.state = State::Queued;
                    self.posted(submitted.batch);
                    advanced.drain |= submitted.drain;
                    return;
                }
                Err((request, _)) => slot.request = Some(request),
            },
            request => slot.request = request,
        }
        slot.fate.resolve(slot.posting, false);
        slot.fail();
        self.finish(index);
        advanced.done = true;
    }

    /// Stops posting; posts a pending STOP at once.
    pub(in crate::driver) fn freeze(&mut self, post: Post<'_, R>) {
        self.pending.frozen = true;
        if let Some((_, stop)) = self.pending.stop.take() {
            let _ = post(stop);
        }
    }

    /// Ends [`Self::freeze`].
    pub(in crate::driver) fn thaw(&mut self) {
        self.pending.frozen = false;
    }

    /// Nothing is pending any more. Returns a pending STOP, to be dropped without a lock.
    pub(super) fn end_pending(&mut self) -> Option<R> {
        core::mem::take(&mut self.pending)
            .stop
            .map(|(_, stop)| stop)
    }
}
