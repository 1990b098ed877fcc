// SPDX-License-Identifier: GPL-2.0

//! Sending commands, and waiting for their answers.
//!
//! A command is either *called*: somebody waits for the answer, or *posted*: nobody does. Posted
//! answers raise no interrupt; they are looked at when there is one for another reason, when
//! something is sent, and now and then. Either way the memory of command and answer belongs to the
//! request on the queue. A caller may give up, by a signal or after the time limit; if the answer
//! comes after that, it is only used to [undo](Undo) what the command did.

use super::message::{parse, set_mapping, set_session, status, Command};
use super::pending::{Call, CommandMemory, CommandRequest, Keep, Pending, State, Ticket, Undo};
use super::queues::Channel;
use crate::virtio::sync::{new_irq_lock, Completion, Patience, Waited};
use crate::virtio::{Completed, Notify, Place, Request, Submitted};
use crate::wire::command::{RespMmap, RespOpen};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;

/// How often a call that may take for ever looks whether the device has failed, in milliseconds.
const UNLIMITED: u32 = 1000;

impl Channel {
    /// Sends a command and waits for its answer.
    ///
    /// If the caller gives up, `undo` is done should the command succeed after all; otherwise it
    /// comes back.
    ///
    /// # Errors
    ///
    /// As [`Self::call`], and the device's.
    pub(in crate::driver) fn command<C: Command>(
        &self,
        command: &C,
        undo: Undo,
    ) -> Result<(C::Reply, Undo)> {
        let mut bytes = KVVec::new();
        bytes.extend_from_slice(command.as_bytes(), GFP_KERNEL_ACCOUNT)?;
        let reply = size_of::<C::Reply>();
        let (completed, undo) = self.call(
            bytes,
            reply,
            CommandMemory::new(),
            undo,
            Patience::UntilKilled,
        )?;
        Ok((parse::<C::Reply>(&completed)?, undo))
    }

    /// Sends `bytes` and waits for an answer of at most `reply` bytes, until `patience` is over or
    /// the device does not seem to live. `memory` lives as long as the device may use it; it comes
    /// back with the answer ([`Pending::Returned`]).
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the device is gone.
    /// - `EIO`: the device has failed.
    /// - `ETIMEDOUT`: the device did not answer in time, and counts as failed from now on.
    /// - `EINTR`: the task is being killed, or has a signal.
    /// - `ENOMEM`, and `E2BIG` if the command is too long for the queue.
    pub(in crate::driver) fn call(
        &self,
        bytes: KVVec<u8>,
        reply: usize,
        memory: CommandMemory,
        undo: Undo,
        patience: Patience,
    ) -> Result<(Completed<Pending>, Undo)> {
        let call = Arc::pin_init(
            pin_init!(Call {
                place: Place::new(),
                done <- Completion::new(),
                state <- new_irq_lock!(
                    State { outcome: None, abandoned: false, undo },
                    "virtio_v4l2_call"
                ),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut request =
            Request::new(bytes, reply, Pending::Called(Ticket(call.clone()), memory))?;
        request.set_awaited();
        self.stats().calls.fetch_add(1, Relaxed);
        if self.commands().submit(request, Notify::Now)?.drain {
            self.reap();
        }

        let waited = self.wait(&call.done, patience);
        if waited != Waited::Completed {
            // What the device has not seen yet needs no answer.
            let withdrawn = self.commands().withdraw(&call.place);
            let mut state = call.state.lock();
            if withdrawn.is_some() || state.outcome.is_none() {
                state.abandoned = true;
                drop(state);
                drop(withdrawn);
                return Err(match waited {
                    Waited::TimedOut => {
                        self.went_silent();
                        ETIMEDOUT
                    }
                    _ => EINTR,
                });
            }
        }
        let mut state = call.state.lock();
        let undo = core::mem::replace(&mut state.undo, Undo::No);
        let outcome = state.outcome.take();
        drop(state);
        Ok((outcome.unwrap_or(Err(EIO))?, undo))
    }

    /// Waits for an answer. A call may take as long as it takes if the device answers others
    /// meanwhile; so it is asked something when half of the time is over.
    fn wait(&self, done: &Completion, patience: Patience) -> Waited {
        let timeout = self.timeout();
        if timeout == 0 {
            return self.wait_unlimited(done, patience);
        }
        loop {
            let waited = done.wait(timeout - timeout / 2, patience);
            if waited != Waited::TimedOut {
                return waited;
            }
            let heard = self.pulse().beats();
            self.ask();
            let waited = done.wait(timeout.div_ceil(2), patience);
            if waited != Waited::TimedOut || self.pulse().beats() == heard {
                return waited;
            }
        }
    }

    /// As [`Self::wait`], for as long as the device has not failed.
    fn wait_unlimited(&self, done: &Completion, patience: Patience) -> Waited {
        loop {
            let waited = done.wait(UNLIMITED, patience);
            if waited != Waited::TimedOut || self.has_failed() {
                return waited;
            }
        }
    }

    /// Sends a command whose answer nobody waits for. May be called in interrupts.
    pub(in crate::driver) fn post(&self, request: CommandRequest) {
        // Fails if the device is gone; then nothing is left to be done there.
        if self
            .commands()
            .submit(request, Notify::Now)
            .is_ok_and(|it| it.drain)
        {
            self.reap();
        }
    }

    /// As [`Self::post`], while an answer is looked at: others are looked at after it.
    fn post_undone(&self, request: CommandRequest) {
        let _ = self.commands().submit(request, Notify::Now);
    }

    /// Sends the CLOSE of a session that nobody uses any more, and lets go of the session when the
    /// device has answered: until then the device may use memory of the session's buffers.
    pub(in crate::driver) fn close(&self, mut close: CommandRequest, session: Arc<dyn Keep>) {
        *close.context_mut() = Pending::Closing(session);
        close.set_awaited();
        match self.commands().try_submit(close, Notify::Now) {
            Ok(submitted) if submitted.drain => self.reap(),
            Ok(_) => {}
            Err((close, _)) => self.commands().keep(close),
        }
    }

    /// Sends a request that [`set_posting`](super::set_posting) or
    /// [`ioctl_request`](super::ioctl_request) has made ready. The device is notified later. May be
    /// called under a session's lock.
    ///
    /// # Errors
    ///
    /// As [`Self::call`], with the request.
    pub(in crate::driver) fn post_later(
        &self,
        mut request: CommandRequest,
    ) -> Result<Submitted, (CommandRequest, Error)> {
        let queued = matches!(request.context_mut(), Pending::Queued(_));
        let submitted = self.commands().try_submit(request, Notify::Later)?;
        self.stats().posted.fetch_add(u64::from(queued), Relaxed);
        Ok(submitted)
    }

    /// The device has answered a command.
    pub(super) fn answered(&self, mut completed: Completed<Pending>) {
        match core::mem::replace(completed.context_mut(), Pending::Posted) {
            Pending::Called(ticket, memory) => {
                if !memory.is_empty() {
                    // It goes back with the answer, to whoever reads it.
                    *completed.context_mut() = Pending::Returned(memory);
                }
                if let Some((completed, undo)) = ticket.finish(completed) {
                    self.undo(undo, &completed);
                    self.discard(completed.into_request());
                }
            }
            Pending::Queued(posting) => {
                let refused = status(&completed).is_err();
                let request = completed.into_request();
                if let Some(left) = self
                    .completion()
                    .buffer_answered(&posting, refused, request)
                {
                    self.discard(left);
                }
            }
            pending @ Pending::Closing(_) => {
                *completed.context_mut() = pending;
                self.discard(completed.into_request());
            }
            Pending::Ping => {
                *completed.context_mut() = Pending::Ping;
                self.pulse().answered(completed.into_request());
            }
            Pending::Posted | Pending::Returned(_) => {}
        }
    }

    /// Undoes what a command did whose caller has given up.
    fn undo(&self, undo: Undo, completed: &Completed<Pending>) {
        match undo {
            Undo::No => {}
            Undo::Close(mut request) => {
                if let Ok(open) = parse::<RespOpen>(completed) {
                    set_session(&mut request, open.session_id);
                    self.post_undone(request);
                }
            }
            Undo::Munmap(mut request) => {
                if let Ok(mmap) = parse::<RespMmap>(completed) {
                    set_mapping(&mut request, mmap.driver_addr);
                    self.post_undone(request);
                }
            }
        }
    }
}
