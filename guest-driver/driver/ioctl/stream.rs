// SPDX-License-Identifier: GPL-2.0

//! STREAMON, STREAMOFF and the commands of codecs.

use super::args::payload;
use super::forward::forward;
use crate::driver::channel::ioctl_request;
use crate::driver::session::{Session, SessionNode};
use crate::media::{Handle, Request};
use kernel::prelude::*;
use zerocopy::FromBytes;

/// `V4L2_ENC_CMD_START`, `V4L2_DEC_CMD_START`.
const CMD_START: u32 = 0;
/// `V4L2_ENC_CMD_STOP`, `V4L2_DEC_CMD_STOP`.
const CMD_STOP: u32 = 1;

pub(super) fn streamon(session: &Session, request: &mut Request<'_>) -> Result {
    let buf_type = *payload::<u32>(request)?;
    let _passing = session.gate().pass()?;
    forward(session, request)?;
    session.state().lock().streams.start(buf_type);
    Ok(())
}

pub(super) fn streamoff(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let buf_type = *payload::<u32>(request)?;
    let _passing = handle.gate().pass()?;
    handle.freeze(buf_type)?;
    // Buffers that the device returns on the way are dropped with the rest: it sends none after its
    // answer, and what it sent before has been delivered when the answer is here.
    forward(handle, request).inspect_err(|_| handle.thaw(buf_type))?;
    let mut state = handle.state().lock();
    let stop = state.streams.stop(buf_type);
    drop(state);
    drop(stop);
    handle.wake_for_error();
    Ok(())
}

pub(super) fn codec_cmd(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let session: &Session = handle;
    let _passing = session.gate().pass()?;
    let (command, _) = u32::read_from_prefix(request.payload).map_err(|_| EINVAL)?;
    if matches!(command, CMD_START | CMD_STOP) && waits(handle, command, request)? {
        return Ok(());
    }
    forward(session, request)?;
    if command == CMD_START {
        session.state().lock().streams.resume();
    }
    Ok(())
}

/// Whether a command of the codec has been dealt with: STOP waits behind frames that wait
/// themselves.
///
/// # Errors
///
/// `EBUSY` while a STOP waits; `ENOMEM`.
fn waits(handle: &Handle<SessionNode>, command: u32, request: &mut Request<'_>) -> Result<bool> {
    let mut state = handle.state().lock();
    match state.streams.pending_for_stop() {
        None => return Ok(false),
        Some(queue) if queue.stops() => return Err(EBUSY),
        Some(_) => drop(state),
    }
    if command != CMD_STOP {
        return Ok(false);
    }
    // The flags of a STOP say how to cut the stream off, which the order of the frames rules out.
    if let Some(flags) = request.payload.get_mut(4..8) {
        flags.fill(0);
    }
    let stop = ioctl_request(handle.id(), request.number, request.payload)?;
    let mut state = handle.state().lock();
    let Some(queue) = state.streams.pending_for_stop() else {
        drop(state);
        drop(stop);
        return Ok(false);
    };
    let left = queue.wait_stop(stop);
    drop(state);
    drop(left);
    handle.advance();
    Ok(true)
}
