// SPDX-License-Identifier: GPL-2.0

//! Buffers that wait for other devices.
//!
//! A buffer that another device still writes to (or reads) is not given to ours, but QBUF does not wait either: its
//! request stands in its queue's line, and every later one of that queue behind it, so that their order is kept. What
//! is ready is posted from the head of the line, by whoever makes it ready. A STOP stands in line as well: it must not
//! overtake the frames before it.

use super::slot::State;
use super::Queue;
use crate::driver::command::{CommandRequest, Pending};
use crate::driver::lend::{FenceState, Ready};
use crate::virtio::{Fifo, Submitted};
use kernel::prelude::*;
use kernel::sync::Arc;

/// The requests in line.
pub(super) struct Line {
    requests: Fifo<Pending>,
    /// Nothing is posted: an ioctl is under way that may take the buffers back.
    frozen: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            requests: Fifo::new(),
            frozen: false,
        }
    }
}

/// What posts a request: as [`MediaDevice::post_buffer`](crate::driver::device::MediaDevice::post_buffer).
pub(in crate::driver) type Post<'a> =
    &'a mut dyn FnMut(CommandRequest) -> Result<Submitted, (CommandRequest, Error)>;

/// What came of looking at lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::driver) struct Advanced {
    /// A buffer can be dequeued.
    pub(in crate::driver) done: bool,
    /// The command queue is to be drained.
    pub(in crate::driver) drain: bool,
}

impl Queue {
    /// Whether anything stands in line.
    pub(in crate::driver) fn has_line(&self) -> bool {
        !self.line.requests.is_empty()
    }

    /// Whether a STOP stands in line.
    pub(in crate::driver) fn stops(&self) -> bool {
        self.line
            .requests
            .any(|pending| matches!(pending, Pending::Posted))
    }

    /// QBUF number `posting` is to be posted when it is its turn and `fence` is over.
    pub(in crate::driver) fn hold(
        &mut self,
        index: u32,
        posting: u64,
        request: CommandRequest,
        fence: Option<Arc<FenceState>>,
    ) {
        let Ok(slot) = self.slot(index) else { return };
        slot.state = State::Held;
        slot.posting = posting;
        slot.fence = fence;
        self.outstanding += 1;
        self.line.requests.push_back(request);
    }

    /// STOP is to be posted when it is its turn.
    pub(in crate::driver) fn hold_stop(&mut self, request: CommandRequest) {
        self.line.requests.push_back(request);
    }

    /// Posts what is ready. A buffer whose fence has failed, or that cannot be posted, is done with an error.
    pub(super) fn advance(&mut self, post: Post<'_>, advanced: &mut Advanced) {
        if self.line.frozen {
            return;
        }
        while let Some(mut request) = self.line.requests.pop_front() {
            let Pending::Queued(posting) = *request.context_mut() else {
                // If the device is gone, so is whoever waits for the end of the stream.
                if let Ok(submitted) = post(request) {
                    advanced.drain |= submitted.drain;
                }
                continue;
            };
            let Ok(slot) = self.slot(posting.index) else {
                continue;
            };
            let ready = slot.fence.as_ref().map(|fence| fence.ready());
            let failed = match ready.unwrap_or(Ready::Signalled) {
                Ready::Pending => {
                    self.line.requests.push_front(request);
                    break;
                }
                Ready::Signalled => match post(request) {
                    Ok(submitted) => {
                        slot.fence = None;
                        slot.state = State::Queued;
                        self.posted(submitted.round);
                        advanced.drain |= submitted.drain;
                        continue;
                    }
                    Err((request, _)) => request,
                },
                Ready::Failed => request,
            };
            slot.request = Some(failed);
            slot.fence = None;
            slot.fate.settle(posting.number, false);
            slot.fail();
            self.finish(posting.index);
            advanced.done = true;
        }
    }

    /// Nothing more is posted; but STOPs in line are, at once.
    pub(in crate::driver) fn freeze(&mut self, post: Post<'_>) {
        self.line.frozen = true;
        loop {
            let stop = |pending: &Pending| matches!(pending, Pending::Posted);
            let Some(request) = self.line.requests.remove(stop) else {
                break;
            };
            let _ = post(request);
        }
    }

    /// The opposite.
    pub(in crate::driver) fn thaw(&mut self) {
        self.line.frozen = false;
    }

    /// Ends the line; returns what stood there, to be dropped without a lock.
    pub(super) fn end_line(&mut self) -> Fifo<Pending> {
        core::mem::take(&mut self.line).requests
    }
}
