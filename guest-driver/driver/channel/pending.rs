// SPDX-License-Identifier: GPL-2.0

//! What becomes of an answer.

use crate::virtio::sync::{Completion, IrqLock};
use crate::virtio::{Completed, Context, Place, Request};
use kernel::prelude::*;
use kernel::sync::Arc;

/// A request on the command queue.
pub(in crate::driver) type CommandRequest = KBox<Request<Pending>>;

/// What becomes of an answer.
pub(in crate::driver) enum Pending {
    /// Somebody waits for it.
    Called(Ticket, CommandMemory),
    /// Nobody does.
    Posted,
    /// It is a QBUF.
    Queued(Posting),
    /// It is the CLOSE of a session, which lives until then, with the memory that the device may
    /// still use.
    Closing(#[allow(dead_code)] Arc<dyn Keep>),
    /// It shows that the device lives.
    Ping,
    /// The answer is here, and the command had referred to this memory.
    Returned(CommandMemory),
}

/// What lives until a command has been answered.
pub(in crate::driver) trait Keep: Send + Sync {}

impl<T: Send + Sync> Keep for T {}

/// Which buffer a posted QBUF was for.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Posting {
    pub(in crate::driver) session_id: u32,
    pub(in crate::driver) buf_type: u32,
    pub(in crate::driver) index: u32,
    /// No other QBUF of the device has it.
    pub(in crate::driver) number: u64,
}

/// Memory that the command refers to by address, so that the device may use it until it answers.
pub(in crate::driver) type CommandMemory = KVec<KVVec<u8>>;

/// What must be done when a command succeeds after its caller gave up. The request has been made
/// beforehand, as there may be no memory then.
pub(in crate::driver) enum Undo {
    /// Nothing.
    No,
    /// Close the session that OPEN opened.
    Close(CommandRequest),
    /// Unmap the buffer that MMAP mapped.
    Munmap(CommandRequest),
}

impl Context for Pending {
    fn place(&self) -> Option<&Place> {
        match self {
            Self::Called(ticket, _) => Some(&ticket.0.place),
            _ => None,
        }
    }
}

/// A call between two parties: who waits, and the [`Ticket`] that travels with the request.
#[pin_data]
pub(in crate::driver) struct Call {
    pub(super) place: Place,
    #[pin]
    pub(super) done: Completion,
    #[pin]
    pub(super) state: IrqLock<State>,
}

pub(in crate::driver) struct State {
    pub(super) outcome: Option<Result<Completed<Pending>>>,
    /// Whoever waited has given up.
    pub(super) abandoned: bool,
    pub(super) undo: Undo,
}

/// The request's end of a [`Call`]. Dropping it unfinished fails the call with `ENODEV`.
pub(in crate::driver) struct Ticket(pub(super) Arc<Call>);

impl Ticket {
    /// The answer is here. If nobody waits for it any more it comes back, with what is to be done.
    pub(super) fn finish(
        self,
        completed: Completed<Pending>,
    ) -> Option<(Completed<Pending>, Undo)> {
        let mut state = self.0.state.lock();
        if !state.abandoned {
            state.outcome = Some(Ok(completed));
            return None;
        }
        let undo = core::mem::replace(&mut state.undo, Undo::No);
        Some((completed, undo))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.outcome.is_none() {
            state.outcome = Some(Err(ENODEV));
        }
        drop(state);
        self.0.done.complete();
    }
}
