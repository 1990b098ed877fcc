// SPDX-License-Identifier: GPL-2.0

//! Commands and their answers.
//!
//! A command is either *called*: somebody waits for the answer, or *posted*: nobody does. Posted answers raise no
//! interrupt; they are looked at when there is one for another reason, when something is sent, and now and then.
//! Either way the memory of command and answer belongs to the request on the queue. Who waits may give up, by a signal
//! or after the time limit; then the answer, should it ever come, is looked at once more only to [undo](Undo) what the
//! command did.

use super::buffers::OnWire;
use super::device::MediaDevice;
use super::session::SessionHandle;
pub(super) use crate::virtio::sync::Patience;
use crate::virtio::sync::{new_irq_lock, Completion, IrqLock, Waited};
use crate::virtio::{Completed, Context, Place, Request, Submitted, Tell};
use crate::wire::command::{
    CmdClose, CmdIoctl, CmdMmap, CmdMunmap, CmdOpen, RespHeader, RespIoctl, RespMmap, RespMunmap,
    RespOpen,
};
use crate::wire::ioctl;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A command of fixed size with an answer of fixed size.
pub(super) trait Command: IntoBytes + Immutable {
    /// The answer to it.
    type Reply: FromBytes + IntoBytes;
}

impl Command for CmdOpen {
    type Reply = RespOpen;
}

impl Command for CmdMmap {
    type Reply = RespMmap;
}

impl Command for CmdMunmap {
    type Reply = RespMunmap;
}

/// A request on the command queue.
pub(super) type CommandRequest = KBox<Request<Pending>>;

/// What becomes of an answer.
pub(super) enum Pending {
    /// Somebody waits for it.
    Called(Ticket, Lent),
    /// Nobody does.
    Posted,
    /// It is a QBUF.
    Queued(Posting),
    /// It is the CLOSE of a session, which lives until then, with the memory that the device may still use.
    Closing(#[allow(dead_code)] SessionHandle),
    /// It shows that the device lives.
    Ping,
    /// The answer is here, and this is what the command had lent.
    Returned(Lent),
}

/// Which buffer a posted QBUF was for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posting {
    pub(super) session_id: u32,
    pub(super) buf_type: u32,
    pub(super) index: u32,
    /// No other QBUF of the device has it.
    pub(super) number: u64,
}

/// Memory that the command refers to by address, so that the device may use it until it answers.
pub(super) type Lent = KVec<KVVec<u8>>;

/// What must be done when a command succeeds after its caller gave up. The request has been made beforehand, as
/// there may be no memory then.
pub(super) enum Undo {
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
struct Call {
    place: Place,
    #[pin]
    done: Completion,
    #[pin]
    state: IrqLock<State>,
}

struct State {
    outcome: Option<Result<Completed<Pending>>>,
    /// Whoever waited has given up.
    abandoned: bool,
    undo: Undo,
}

/// The request's end of a [`Call`]. Dropping it unfinished fails the call with `ENODEV`.
pub(super) struct Ticket(Arc<Call>);

impl Ticket {
    /// The answer is here.
    fn finish(self, device: &MediaDevice, completed: Completed<Pending>) {
        let mut state = self.0.state.lock();
        if !state.abandoned {
            state.outcome = Some(Ok(completed));
            return;
        }
        let undo = core::mem::replace(&mut state.undo, Undo::No);
        drop(state);
        undo.run(device, &completed);
        device.discard(completed.into_request());
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

impl Undo {
    fn run(self, device: &MediaDevice, completed: &Completed<Pending>) {
        match self {
            Undo::No => {}
            Undo::Close(mut request) => {
                if let Ok(open) = parse::<RespOpen>(completed) {
                    set_session(&mut request, open.session_id);
                    device.post_undone(request);
                }
            }
            Undo::Munmap(mut request) => {
                if let Ok(mmap) = parse::<RespMmap>(completed) {
                    set_mapping(&mut request, mmap.driver_addr);
                    device.post_undone(request);
                }
            }
        }
    }
}

/// How often a call that may take for ever looks whether the device has failed, in milliseconds.
const UNLIMITED: u32 = 1000;

/// An answer of the device, checked for length and status.
///
/// # Errors
///
/// The device's error; `EIO` if the answer is too short or the error is none.
pub(super) fn parse<R: FromBytes + IntoBytes>(completed: &Completed<Pending>) -> Result<R> {
    status(completed)?;
    completed.read::<R>()
}

/// Largest error number that a device may answer with: that of the last one that user space knows.
pub(super) const MAX_ERRNO: u32 = 133;

/// Whether an answer says that the command was done.
///
/// # Errors
///
/// As in [`parse`].
fn status(completed: &Completed<Pending>) -> Result {
    result_of(&completed.read()?)
}

/// As [`status`], of a copy of the answer.
pub(super) fn status_in(answer: &[u8]) -> Result {
    let header = RespHeader::read_from_prefix(answer).map_err(|_| EIO)?.0;
    result_of(&header)
}

fn result_of(header: &RespHeader) -> Result {
    match header.status {
        0 => Ok(()),
        errno @ 1..=MAX_ERRNO => Err(Error::from_errno(-(errno as i32))),
        _ => Err(EIO),
    }
}

/// A CLOSE command, for a session that [`set_session`] names.
pub(super) fn close_request() -> Result<CommandRequest> {
    posted(&CmdClose::new(0), 0)
}

/// Names the session of a CLOSE.
pub(super) fn set_session(request: &mut CommandRequest, session_id: u32) {
    overwrite(request, &CmdClose::new(session_id));
}

/// A MUNMAP command, for a mapping that [`set_mapping`] names.
pub(super) fn munmap_request() -> Result<CommandRequest> {
    posted(&CmdMunmap::new(0), size_of::<RespMunmap>())
}

/// Names the mapping of a MUNMAP.
pub(super) fn set_mapping(request: &mut CommandRequest, driver_addr: u64) {
    overwrite(request, &CmdMunmap::new(driver_addr));
}

/// An ioctl that a device must refuse. It is for no session: one may be busy.
pub(super) fn ping_request() -> Result<CommandRequest> {
    let command = CmdIoctl::new(u32::MAX, ioctl::QUERYCAP);
    let reply = size_of::<RespIoctl>() + ioctl::lookup(ioctl::QUERYCAP).map_or(0, |it| it.size);
    let mut request = posted(&command, reply)?;
    *request.context_mut() = Pending::Ping;
    request.set_awaited();
    Ok(request)
}

/// A QBUF of a buffer whose argument and planes take `size` bytes; [`set_buffer`] fills it in.
pub(super) fn qbuf_request(
    session_id: u32,
    size: usize,
    entries: usize,
    tail: usize,
) -> Result<CommandRequest> {
    let all = size_of::<CmdIoctl>() + size + entries;
    let mut bytes = KVVec::with_capacity(all, GFP_KERNEL_ACCOUNT)?;
    let command = CmdIoctl::new(session_id, ioctl::QBUF);
    bytes.extend_from_slice(command.as_bytes(), GFP_KERNEL_ACCOUNT)?;
    bytes.extend_with(size + entries, 0, GFP_KERNEL_ACCOUNT)?;
    let reply = size_of::<RespIoctl>() + size + tail;
    Request::new(bytes, reply, Pending::Posted)
}

/// Whether a [`qbuf_request`] is of these sizes.
pub(super) fn fits(request: &CommandRequest, size: usize, entries: usize, tail: usize) -> bool {
    let reply = size_of::<RespIoctl>() + size + tail;
    request.lengths() == (size_of::<CmdIoctl>() + size + entries, reply)
}

/// Sets the argument of a QBUF.
pub(super) fn set_buffer(request: &mut CommandRequest, wire: &OnWire, entries: &[u8]) {
    let planes = wire.planes.get(..wire.count).unwrap_or_default();
    let mut to = request.readable_mut();
    to = to.get_mut(size_of::<CmdIoctl>()..).unwrap_or_default();
    for part in [wire.buffer.as_bytes(), planes.as_bytes(), entries] {
        let Some((here, rest)) = to.split_at_mut_checked(part.len()) else {
            break;
        };
        here.copy_from_slice(part);
        to = rest;
    }
}

/// Names the buffer that a [`qbuf_request`] is for.
pub(super) fn set_posting(request: &mut CommandRequest, posting: Posting) {
    *request.context_mut() = Pending::Queued(posting);
}

/// An ioctl whose answer nobody looks at.
pub(super) fn ioctl_request(session_id: u32, code: u32, payload: &[u8]) -> Result<CommandRequest> {
    let mut bytes =
        KVVec::with_capacity(size_of::<CmdIoctl>() + payload.len(), GFP_KERNEL_ACCOUNT)?;
    bytes.extend_from_slice(
        CmdIoctl::new(session_id, code).as_bytes(),
        GFP_KERNEL_ACCOUNT,
    )?;
    bytes.extend_from_slice(payload, GFP_KERNEL_ACCOUNT)?;
    let reply = size_of::<RespIoctl>() + payload.len();
    Request::new(bytes, reply, Pending::Posted)
}

fn posted<C: IntoBytes + Immutable>(command: &C, reply: usize) -> Result<CommandRequest> {
    let mut bytes = KVVec::new();
    bytes.extend_from_slice(command.as_bytes(), GFP_KERNEL_ACCOUNT)?;
    Request::new(bytes, reply, Pending::Posted)
}

fn overwrite<C: IntoBytes + Immutable>(request: &mut CommandRequest, command: &C) {
    for (to, from) in request.readable_mut().iter_mut().zip(command.as_bytes()) {
        *to = *from;
    }
}

impl MediaDevice {
    /// Sends a command and waits for its answer.
    ///
    /// If the caller gives up, `undo` is done should the command succeed after all; otherwise it comes back.
    ///
    /// # Errors
    ///
    /// As [`Self::call`], and the device's.
    pub(super) fn command<C: Command>(&self, command: &C, undo: Undo) -> Result<(C::Reply, Undo)> {
        let mut bytes = KVVec::new();
        bytes.extend_from_slice(command.as_bytes(), GFP_KERNEL_ACCOUNT)?;
        let reply = size_of::<C::Reply>();
        let (completed, undo) =
            self.call(bytes, reply, Lent::new(), undo, Patience::UntilKilled)?;
        Ok((parse::<C::Reply>(&completed)?, undo))
    }

    /// Sends `bytes` and waits for an answer of at most `reply` bytes, until `patience` is over or the device does not
    /// seem to live. `lent` lives as long as the device may use it; it comes back with the answer ([`Pending::Returned`]).
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the device is gone.
    /// - `EIO`: the device has failed.
    /// - `ETIMEDOUT`: the device did not answer in time, and counts as failed from now on.
    /// - `EINTR`: the task is being killed, or has a signal.
    /// - `ENOMEM`, and `E2BIG` if the command is too long for the queue.
    pub(super) fn call(
        &self,
        bytes: KVVec<u8>,
        reply: usize,
        lent: Lent,
        undo: Undo,
        patience: Patience,
    ) -> Result<(Completed<Pending>, Undo)> {
        let call = Arc::pin_init(
            pin_init!(Call {
                place: Place::new(),
                done <- Completion::new(),
                state <- new_irq_lock!(State { outcome: None, abandoned: false, undo }, "virtio_v4l2_call"),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut request = Request::new(bytes, reply, Pending::Called(Ticket(call.clone()), lent))?;
        request.set_awaited();
        self.stats().calls.fetch_add(1, Relaxed);
        if self.commands().submit(request, Tell::Now)?.drain {
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

    /// Waits for an answer. A call may take as long as it takes if the device answers others meanwhile; so it is asked
    /// something when half of the time is over.
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
    pub(super) fn post(&self, request: CommandRequest) {
        // If the device is gone there is nothing left to be told to it.
        if self
            .commands()
            .submit(request, Tell::Now)
            .is_ok_and(|it| it.drain)
        {
            self.reap();
        }
    }

    /// As [`Self::post`], while an answer is looked at: others are looked at after it.
    fn post_undone(&self, request: CommandRequest) {
        let _ = self.commands().submit(request, Tell::Now);
    }

    /// Sends the CLOSE of a session that nobody uses any more, and lets go of the session when the device has: until
    /// then it may use memory that the session has lent to it.
    pub(super) fn close(&self, mut close: CommandRequest, session: SessionHandle) {
        *close.context_mut() = Pending::Closing(session);
        close.set_awaited();
        match self.commands().try_submit(close, Tell::Now) {
            Ok(submitted) if submitted.drain => self.reap(),
            Ok(_) => {}
            Err((close, _)) => self.commands().keep(close),
        }
    }

    /// Sends a request that [`set_posting`] or [`ioctl_request`] has made ready, of which the device is to be told
    /// later. May be called under a session's lock.
    ///
    /// # Errors
    ///
    /// As [`Self::call`], with the request.
    pub(super) fn post_later(
        &self,
        mut request: CommandRequest,
    ) -> Result<Submitted, (CommandRequest, Error)> {
        let queued = matches!(request.context_mut(), Pending::Queued(_));
        let submitted = self.commands().try_submit(request, Tell::Later)?;
        self.stats().posted.fetch_add(u64::from(queued), Relaxed);
        Ok(submitted)
    }

    /// The device has answered a command.
    pub(super) fn answered(&self, mut completed: Completed<Pending>) {
        match core::mem::replace(completed.context_mut(), Pending::Posted) {
            Pending::Called(ticket, lent) => {
                if !lent.is_empty() {
                    // It goes back with the answer, to whoever reads it.
                    *completed.context_mut() = Pending::Returned(lent);
                }
                ticket.finish(self, completed);
            }
            Pending::Queued(posting) => {
                let refused = status(&completed).is_err();
                let request = completed.into_request();
                if let Some(left) = self.buffer_answered(&posting, refused, request) {
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
}
