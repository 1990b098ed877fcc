// SPDX-License-Identifier: GPL-2.0

//! QBUF.

use super::args::buffer;
use super::forward::exchange_tail;
use crate::driver::channel::{
    fits, qbuf_request, set_buffer, set_posting, CommandMemory, CommandRequest, Posting,
};
use crate::driver::memory::{Import, Outcome};
use crate::driver::queue::{ImportRequest, OnWire};
use crate::driver::session::{Passing, Session, SessionNode};
use crate::media::ioctl::number;
use crate::media::{Handle, Request};
use crate::wire::v4l2::{Buffer, Plane};
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// QBUF, which is posted, or waits if another device is not done with the memory. It is called only
/// if the device may refuse the memory for what it is.
///
/// The way down is: parse, check, import, build, post.
///
/// # Errors
///
/// As videobuf2's. What only the device knows comes back as a buffer with an error.
pub(super) fn qbuf(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let session: &Session = handle;
    let (buffer, planes) = buffer(request)?;
    session.channel().reap();
    let (_passing, import, mut wanted) = pass(session, buffer, planes, false)?;
    let result = queue(handle, buffer, planes, import, &mut wanted);
    if result.is_err() {
        let mut state = session.state().lock();
        if let Ok(queue) = state.streams.get(buffer.type_) {
            queue.failed(buffer.index, wanted.number);
        }
    }
    result
}

/// QBUF of a buffer whose memory is ready. Not inlined: its frame is large, and must not be there
/// while memory is pinned.
///
/// `wanted` has the number of the last QBUF when this returns.
#[inline(never)]
fn queue(
    handle: &Handle<SessionNode>,
    buffer: &mut Buffer,
    planes: &mut [Plane],
    mut import: Option<Import>,
    wanted: &mut ImportRequest,
) -> Result {
    let session: &Session = handle;
    let mut state = session.state().lock();
    let queue = state.streams.get(buffer.type_)?;
    let size = queue.check(buffer, planes, false)?.wire_size();
    let mut kept = queue.take_request(buffer.index)?;
    let pending = queue.has_pending();
    drop(state);

    if let Some(trial) = import.as_ref().filter(|import| import.is_trial()) {
        // There is no waiting for the device while there is waiting for others: then it is posted
        // unseen.
        if !pending && trial.fence().is_none() {
            if try_out(session, buffer, planes, trial, wanted.number)? {
                return Ok(());
            }
            wanted.number = session.channel().next_posting();
            let imports = session.imports();
            import = Some(imports.refused(session.device(), session.id(), buffer, wanted)?);
        }
    }
    let import = import.as_ref();
    let entries = import.map_or(&[][..], Import::entries);
    let tail = import.map_or(0, Import::reply_tail);
    let request = match kept.take() {
        Some(request) if fits(&request, size, entries.len(), tail) => request,
        _ => qbuf_request(session.id(), size, entries.len(), tail)?,
    };
    post(handle, buffer, planes, import, request, wanted.number)
}

/// Passes the gate for QBUF or PREPARE_BUF of a buffer that may be queued like this, with its
/// memory ready for the device.
///
/// Memory of a process is pinned outside of the gate: that may take for ever, if the process has it
/// from where nobody gives it (userfaultfd, FUSE), and the end of the device waits for the gate.
///
/// The command is to have the number of the [`ImportRequest`]; the buffer is to learn what becomes
/// of it.
///
/// # Errors
///
/// As videobuf2's; `EFAULT`: the process has no such memory, or it is of a device; `EINTR`: the
/// task is being killed.
pub(super) fn pass<'a>(
    session: &'a Session,
    buffer: &Buffer,
    planes: &[Plane],
    prepare: bool,
) -> Result<(Passing<'a>, Option<Import>, ImportRequest)> {
    let mut pinned = None;
    loop {
        let passing = session.gate().pass()?;
        session.check()?;
        let mut state = session.state().lock();
        let queue = state.streams.get(buffer.type_)?;
        let number = session.channel().next_posting();
        let wanted = queue.import_request(buffer, planes, prepare, number)?;
        drop(state);
        let (device, id) = (session.device(), session.id());
        let imports = session.imports();
        match imports.import(device, id, buffer, planes, &wanted, pinned.take())? {
            Outcome::Ready(import) => return Ok((passing, import, wanted)),
            Outcome::Pin(unpinned) => {
                drop(passing);
                pinned = Some(unpinned.pin(device)?);
            }
        }
    }
}

/// Posts QBUF, or lets it wait.
fn post(
    handle: &Handle<SessionNode>,
    buffer: &mut Buffer,
    planes: &mut [Plane],
    import: Option<&Import>,
    mut request: CommandRequest,
    number: u64,
) -> Result {
    let session: &Session = handle;
    let channel = session.channel();
    let posting = Posting {
        session_id: session.id(),
        buf_type: buffer.type_,
        index: buffer.index,
        number,
    };
    let fence = import.and_then(Import::fence);
    let mut state = session.state().lock();
    let sleepers = state.sleepers > 0;
    let more = state.streams.any_done();
    let queue = state.streams.get(buffer.type_)?;
    let wire = queue.build(buffer, planes, import.map(Import::imported), false)?;
    let wire_planes = wire.planes.get(..wire.count).unwrap_or_default();
    let entries = import.map_or(&[][..], Import::entries);
    set_buffer(&mut request, &wire.buffer, wire_planes, entries);
    set_posting(&mut request, posting);
    if fence.is_some() || queue.has_pending() {
        let old = queue.wait(buffer.index, posting.number, request, fence);
        let filled = queue.fill(buffer, planes);
        drop(state);
        drop(old);
        filled?;
        // The fence may be over by now.
        handle.advance();
        return Ok(());
    }
    let submitted = match channel.post_later(request) {
        Ok(submitted) => submitted,
        Err((request, error)) => {
            drop(state);
            drop(request);
            return Err(error);
        }
    };
    queue.queue(buffer.index, posting.number, submitted.batch);
    queue.fill(buffer, planes)?;
    let kick = queue.wants_kick(submitted.batch, more);
    drop(state);
    if submitted.drain {
        channel.reap();
    }
    if kick || sleepers || handle.is_polled() {
        channel.commands().kick();
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
    import: &Import,
    posting: u64,
) -> Result<bool> {
    let (buf_type, index) = (buffer.type_, buffer.index);
    let batch = session.channel().commands().batch();
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    let mut wire = queue.build(buffer, planes, Some(import.imported()), false)?;
    // The device may return it before it answers.
    queue.queue(index, posting, batch);
    queue.fill(buffer, planes)?;
    drop(state);

    let result = exchange_wire(session, number::QBUF, &mut wire, Some(import));
    match result {
        Ok(()) => {
            session.imports().accepted(buffer);
            let mut state = session.state().lock();
            state
                .streams
                .get(buf_type)?
                .answered_call(index, posting, true);
            Ok(true)
        }
        Err(error) if error == EINTR || error == ETIMEDOUT => Err(error),
        Err(_) => {
            let mut state = session.state().lock();
            let queue = state.streams.get(buf_type)?;
            // A device that refuses what it has returned already is no reason to do it again.
            let refused = queue.unqueue(index, posting);
            queue.answered_call(index, posting, false);
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
    import: Option<&Import>,
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
    let entries = import.map_or(&[][..], Import::entries);
    let tail = import.map_or(0, Import::reply_tail);
    exchange_tail(session, &mut request, entries, CommandMemory::new(), tail).map(|_| ())
}
