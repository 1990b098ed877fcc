// SPDX-License-Identifier: GPL-2.0

//! QBUF.

use super::buffers::OnWire;
use super::command::{fits, qbuf_request, set_buffer, set_posting, CommandRequest, Lent, Posting};
use super::ioctl::exchange_tail;
use super::lend::{Lend, Loan, Occasion};
use super::queueing::buffer;
use super::session::{Passing, Session, SessionNode};
use crate::media::ioctl::number;
use crate::media::{Handle, Request};
use crate::wire::v4l2::{Buffer, Plane};
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// QBUF, which is posted, or stands in line if another device is not done with the memory. It is called only if the
/// device may refuse the memory for what it is.
///
/// # Errors
///
/// As videobuf2's. What only the device knows comes back as a buffer with an error.
pub(super) fn qbuf(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let session: &Session = handle;
    let (buffer, planes) = buffer(request)?;
    session.device().reap();
    let (_passing, loan, mut occasion) = pass(session, buffer, planes, false)?;
    let result = lent(handle, buffer, planes, loan, &mut occasion);
    if result.is_err() {
        let mut state = session.state().lock();
        if let Ok(queue) = state.streams.get(buffer.type_) {
            queue.failed(buffer.index, occasion.number);
        }
    }
    result
}

/// QBUF of a buffer whose memory is ready. Not inlined: its frame is large, and must not be there while memory is pinned.
///
/// `occasion` has the number of the last QBUF when this returns.
#[inline(never)]
fn lent(
    handle: &Handle<SessionNode>,
    buffer: &mut Buffer,
    planes: &mut [Plane],
    mut loan: Option<Loan>,
    occasion: &mut Occasion,
) -> Result {
    let session: &Session = handle;
    let mut state = session.state().lock();
    let queue = state.streams.get(buffer.type_)?;
    let size = queue.check(buffer, planes, false)?.wire_size();
    let mut kept = queue.take_request(buffer.index)?;
    let lined = queue.has_line();
    drop(state);

    if let Some(trial) = loan.as_ref().filter(|loan| loan.is_trial()) {
        // There is no waiting for the device while there is waiting for others: then it is posted unseen.
        if !lined && trial.fence().is_none() {
            if try_out(session, buffer, planes, trial, occasion.number)? {
                return Ok(());
            }
            occasion.number = session.device().next_posting();
            loan = Some(session.lending().refused(session, buffer, occasion)?);
        }
    }
    let loan = loan.as_ref();
    let entries = loan.map_or(&[][..], Loan::entries);
    let tail = loan.map_or(0, Loan::reply_tail);
    let request = match kept.take() {
        Some(request) if fits(&request, size, entries.len(), tail) => request,
        _ => qbuf_request(session.id(), size, entries.len(), tail)?,
    };
    send(handle, buffer, planes, loan, request, occasion.number)
}

/// Passes the gate for QBUF or PREPARE_BUF of a buffer that may be queued like this, with its memory ready for the device.
///
/// Memory of a process is pinned outside of the gate: that may take for ever, if the process has it from where nobody
/// gives it (userfaultfd, FUSE), and the end of the device waits for the gate.
///
/// The command is to have the number of the [`Occasion`]; the buffer is to learn what becomes of it.
///
/// # Errors
///
/// As videobuf2's; `EFAULT`: the process has no such memory, or it is of a device; `EINTR`: the task is being killed.
pub(super) fn pass<'a>(
    session: &'a Session,
    buffer: &Buffer,
    planes: &[Plane],
    prepare: bool,
) -> Result<(Passing<'a>, Option<Loan>, Occasion)> {
    let mut pinned = None;
    loop {
        let passing = session.gate().pass()?;
        session.check()?;
        let mut state = session.state().lock();
        let queue = state.streams.get(buffer.type_)?;
        let slot = queue.check(buffer, planes, prepare)?;
        let occasion = slot.occasion(session.device().next_posting(), prepare);
        drop(state);
        let lending = session.lending();
        match lending.lend(session, buffer, planes, &occasion, pinned.take())? {
            Lend::Ready(loan) => return Ok((passing, loan, occasion)),
            Lend::Pin(unpinned) => {
                drop(passing);
                pinned = Some(unpinned.pin(session)?);
            }
        }
    }
}

/// Posts QBUF, or lines it up.
fn send(
    handle: &Handle<SessionNode>,
    buffer: &mut Buffer,
    planes: &mut [Plane],
    loan: Option<&Loan>,
    mut request: CommandRequest,
    number: u64,
) -> Result {
    let session: &Session = handle;
    let device = session.device();
    let posting = Posting {
        session_id: session.id(),
        buf_type: buffer.type_,
        index: buffer.index,
        number,
    };
    let fence = loan.and_then(Loan::fence);
    let mut state = session.state().lock();
    let sleepers = state.sleepers > 0;
    let more = state.streams.any_done();
    let queue = state.streams.get(buffer.type_)?;
    let wire = queue.settle(buffer, planes, loan, false)?;
    set_buffer(&mut request, &wire, loan.map_or(&[], Loan::entries));
    set_posting(&mut request, posting);
    if fence.is_some() || queue.has_line() {
        let old = queue.hold(buffer.index, posting.number, request, fence);
        let filled = queue.fill(buffer, planes);
        drop(state);
        drop(old);
        filled?;
        // The fence may be over by now.
        handle.advance();
        return Ok(());
    }
    let submitted = match device.post_later(request) {
        Ok(submitted) => submitted,
        Err((request, error)) => {
            drop(state);
            drop(request);
            return Err(error);
        }
    };
    queue.queue(buffer.index, posting.number, submitted.round);
    queue.fill(buffer, planes)?;
    let rings = queue.rings(submitted.round, more);
    drop(state);
    if submitted.drain {
        device.reap();
    }
    if rings || sleepers || handle.is_polled() {
        device.commands().kick();
    }
    Ok(())
}

/// Calls QBUF number `posting`. Returns whether the device has taken the memory.
///
/// # Errors
///
/// As any command, but the device's.
fn try_out(
    session: &Session,
    buffer: &mut Buffer,
    planes: &mut [Plane],
    loan: &Loan,
    posting: u64,
) -> Result<bool> {
    let (buf_type, index) = (buffer.type_, buffer.index);
    let round = session.device().commands().round();
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    let mut wire = queue.settle(buffer, planes, Some(loan), false)?;
    // The device may return it before it answers.
    queue.queue(index, posting, round);
    queue.fill(buffer, planes)?;
    drop(state);

    let result = exchange_wire(session, number::QBUF, &mut wire, Some(loan));
    match result {
        Ok(()) => {
            session.lending().accepted(buffer);
            let mut state = session.state().lock();
            state.streams.get(buf_type)?.settled(index, posting, true);
            Ok(true)
        }
        Err(error) if error == EINTR || error == ETIMEDOUT => Err(error),
        Err(_) => {
            let mut state = session.state().lock();
            let queue = state.streams.get(buf_type)?;
            // A device that refuses what it has returned already is no reason to do it again.
            let refused = queue.unqueue(index, posting);
            queue.settled(index, posting, false);
            Ok(!refused)
        }
    }
}

/// Calls QBUF or PREPARE_BUF.
///
/// # Errors
///
/// The device's; as any command.
pub(super) fn exchange_wire(
    session: &Session,
    number: u32,
    wire: &mut OnWire,
    loan: Option<&Loan>,
) -> Result {
    let mut request = Request {
        number,
        payload: wire.buffer.as_mut_bytes(),
        array: wire
            .planes
            .get_mut(..wire.count)
            .ok_or(EINVAL)?
            .as_mut_bytes(),
        nonblocking: false,
    };
    let entries = loan.map_or(&[][..], Loan::entries);
    let tail = loan.map_or(0, Loan::reply_tail);
    exchange_tail(session, &mut request, entries, Lent::new(), tail).map(|_| ())
}
