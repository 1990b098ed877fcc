// SPDX-License-Identifier: GPL-2.0

//! STREAMON, STREAMOFF and the commands of codecs.

use super::args::payload;
use super::forward::forward;
use crate::driver::channel::ioctl_request;
use crate::driver::session::{Session, SessionNode};
use crate::media::{Handle, Request};
use crate::wire::v4l2::{
    DecoderCmd, EncoderCmd, DEC_CMD_START, DEC_CMD_STOP, ENC_CMD_START, ENC_CMD_STOP,
};
use core::mem::offset_of;
use kernel::prelude::*;
use zerocopy::FromBytes;

// A command means the same whichever of the two structures carries it.
const _: () = {
    assert!(ENC_CMD_START == DEC_CMD_START && ENC_CMD_STOP == DEC_CMD_STOP);
    assert!(offset_of!(EncoderCmd, cmd) == 0 && offset_of!(DecoderCmd, cmd) == 0);
    assert!(offset_of!(EncoderCmd, flags) == offset_of!(DecoderCmd, flags));
};

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
    if matches!(command, ENC_CMD_START | ENC_CMD_STOP) && waits(handle, command, request)? {
        return Ok(());
    }
    forward(session, request)?;
    if command == ENC_CMD_START {
        session.state().lock().streams.resume();
    }
    Ok(())
}

/// Whether a STOP was queued behind pending frames; then it is not to be sent now.
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
    if command != ENC_CMD_STOP {
        return Ok(false);
    }
    // The flags of a STOP say how to cut the stream off, which the order of the frames rules out.
    let flags = offset_of!(EncoderCmd, flags)..offset_of!(EncoderCmd, raw);
    if let Some(flags) = request.payload.get_mut(flags) {
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
