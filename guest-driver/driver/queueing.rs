// SPDX-License-Identifier: GPL-2.0

//! The ioctls of buffers.

use super::buffers::{Rules, Slot, Slots, MAX_BUFFERS};
use super::ioctl::{elements_mut, forward, payload};
use super::lend::{Lending, Loan, Occasion};
use super::qbuf::{exchange_wire, pass};
use super::session::{Session, SessionNode};
use crate::media::ioctl::number;
use crate::media::{Handle, Request};
use crate::wire::v4l2::{
    is_multiplanar, is_output, Buffer, CreateBuffers, Format, Plane, RemoveBuffers, RequestBuffers,
    MEMORY_MMAP, VIDEO_MAX_PLANES,
};
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// `V4L2_FIELD_NONE`.
const FIELD_NONE: u32 = 1;

/// The argument of a buffer ioctl and its planes.
pub(super) fn buffer<'a>(
    request: &'a mut Request<'_>,
) -> Result<(&'a mut Buffer, &'a mut [Plane])> {
    let buffer = Buffer::mut_from_bytes(request.payload).map_err(|_| EINVAL)?;
    Ok((buffer, elements_mut(request.array)?))
}

/// REQBUFS.
///
/// # Errors
///
/// `EINVAL`: no memory that there is; as any ioctl.
pub(super) fn reqbufs(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let session: &Session = handle;
    let wanted = payload::<RequestBuffers>(request)?;
    let (buf_type, memory) = (wanted.type_, wanted.memory);
    let _passing = session.gate().pass()?;
    handle.freeze(buf_type)?;
    let made = Lending::reqbufs(handle, request);
    let wire_memory = made.inspect_err(|_| handle.thaw(buf_type))?;
    let made = payload::<RequestBuffers>(request)?;
    let count = made.count;
    let rules = Rules {
        memory,
        wire_memory,
        ..rules(session, buf_type, made.capabilities, count)
    };
    let learnt = learn(session, buf_type, 0, count).inspect_err(|_| {
        Lending::free(session, buf_type);
    });
    let mut slots = Slots::new();
    let result = learnt.map(|learnt| slots = learnt);
    let mut state = session.state().lock();
    let line = state.streams.get(buf_type)?.replace(&mut slots, rules);
    drop(state);
    drop((slots, line));
    session.notify();
    result
}

/// CREATE_BUFS.
///
/// # Errors
///
/// `EINVAL`: no memory that there is; as any ioctl.
pub(super) fn create_bufs(session: &Session, request: &mut Request<'_>) -> Result {
    let wanted = payload::<CreateBuffers>(request)?;
    let (buf_type, memory) = (wanted.format.type_, wanted.memory);
    let _passing = session.gate().pass()?;
    let wire_memory = Lending::create_bufs(session, request)?;
    let made = payload::<CreateBuffers>(request)?;
    let (first, count) = (made.index, made.count);
    if count == 0 {
        return Ok(());
    }
    let rules = Rules {
        memory,
        wire_memory,
        ..rules(session, buf_type, made.capabilities, count)
    };
    let mut new = learn(session, buf_type, first, count)?;
    let mut state = session.state().lock();
    let places = state.streams.get(buf_type)?.len();
    drop(state);
    let room = places.max(first as usize + count as usize);
    let mut slots = Slots::with_capacity(room, GFP_KERNEL_ACCOUNT)?;
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    queue.rules = rules;
    let result = queue.extend(first as usize, &mut new, &mut slots);
    drop(state);
    result
}

/// REMOVE_BUFS.
///
/// # Errors
///
/// `EINVAL`: there are no such buffers; `EBUSY`: one of them is not the client's; as any ioctl.
pub(super) fn remove_bufs(session: &Session, request: &mut Request<'_>) -> Result {
    let RemoveBuffers {
        index,
        count,
        type_,
        ..
    } = *payload::<RemoveBuffers>(request)?;
    let _passing = session.gate().pass()?;
    let mut state = session.state().lock();
    let queue = state.streams.get(type_)?;
    if count > 0 {
        queue.check_remove(index, count)?;
    }
    drop(state);
    let mut removed = Slots::with_capacity(count as usize, GFP_KERNEL_ACCOUNT)?;
    forward(session, request)?;
    let mut state = session.state().lock();
    let queue = state.streams.get(type_)?;
    queue.remove(index as usize, count as usize, &mut removed);
    drop(state);
    session.lending().removed(type_, index, count);
    Ok(())
}

/// What holds for the buffers of a queue from now on.
fn rules(session: &Session, buf_type: u32, capabilities: u32, count: u32) -> Rules {
    let output = is_output(buf_type);
    let field = if output && count > 0 {
        field(session, buf_type)
    } else {
        FIELD_NONE
    };
    Rules {
        output,
        field,
        capabilities,
        ..Default::default()
    }
}

/// The field of the format. (What has no field has no frames with one.)
fn field(session: &Session, buf_type: u32) -> u32 {
    const VIDEO_OUTPUT: u32 = 2;
    const VIDEO_OUTPUT_MPLANE: u32 = 10;
    if buf_type != VIDEO_OUTPUT && buf_type != VIDEO_OUTPUT_MPLANE {
        return FIELD_NONE;
    }
    let mut format = Format {
        type_: buf_type,
        ..Default::default()
    };
    let asked = forward(
        session,
        &mut Request {
            number: number::G_FMT,
            payload: format.as_mut_bytes(),
            array: &mut [],
            nonblocking: false,
        },
    );
    match asked {
        Ok(()) if is_multiplanar(buf_type) => format.pix_mp().field,
        Ok(()) => format.pix().field,
        Err(_) => FIELD_NONE,
    }
}

/// Asks for all that is to be known of new buffers.
///
/// # Errors
///
/// `EIO` for an absurd number of buffers or planes; as QUERYBUF.
fn learn(session: &Session, buf_type: u32, first: u32, count: u32) -> Result<Slots> {
    let end = first.checked_add(count).ok_or(EIO)?;
    if end > MAX_BUFFERS {
        return Err(EIO);
    }
    let mut slots = Slots::with_capacity(count as usize, GFP_KERNEL_ACCOUNT)?;
    for index in first..end {
        let mut planes = [Plane::default(); VIDEO_MAX_PLANES];
        let mut buffer = Buffer {
            index,
            type_: buf_type,
            // Of other memory it would announce where it is.
            memory: MEMORY_MMAP,
            ..Default::default()
        };
        let array = if is_multiplanar(buf_type) {
            buffer.length = VIDEO_MAX_PLANES as u32;
            planes.as_mut_bytes()
        } else {
            &mut []
        };
        forward(
            session,
            &mut Request {
                number: number::QUERYBUF,
                payload: buffer.as_mut_bytes(),
                array,
                nonblocking: false,
            },
        )?;
        add(&mut slots, &buffer, &planes)?;
    }
    session.lending().extend(buf_type, first, &mut slots)?;
    Ok(slots)
}

/// Not inlined: a buffer is large, and must not be on the stack while the device is asked.
#[inline(never)]
fn add(slots: &mut Slots, buffer: &Buffer, planes: &[Plane; VIDEO_MAX_PLANES]) -> Result {
    Ok(slots.push(Some(Slot::new(buffer, planes)?), GFP_KERNEL_ACCOUNT)?)
}

/// QUERYBUF.
///
/// # Errors
///
/// `EINVAL`: no such buffer, or no room for its planes.
pub(super) fn querybuf(session: &Session, request: &mut Request<'_>) -> Result {
    let (buffer, planes) = buffer(request)?;
    let mut state = session.state().lock();
    state.streams.get(buffer.type_)?.fill(buffer, planes)
}

/// PREPARE_BUF, which is called.
///
/// # Errors
///
/// As videobuf2's; as any ioctl.
pub(super) fn prepare_buf(session: &Session, request: &mut Request<'_>) -> Result {
    let (buffer, planes) = buffer(request)?;
    let (_passing, loan, Occasion { number, .. }) = pass(session, buffer, planes, true)?;
    prepare(session, buffer, planes, loan, number)
}

/// PREPARE_BUF of a buffer whose memory is ready. Not inlined: its frame is large, and must not be there while memory is
/// pinned.
#[inline(never)]
fn prepare(
    session: &Session,
    buffer: &mut Buffer,
    planes: &mut [Plane],
    loan: Option<Loan>,
    number: u64,
) -> Result {
    let (buf_type, index) = (buffer.type_, buffer.index);
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    let wire = queue.settle(buffer, planes, loan.as_ref(), true);
    let mut wire = wire.inspect_err(|_| queue.failed(index, number))?;
    drop(state);
    let result = exchange_wire(session, number::PREPARE_BUF, &mut wire, loan.as_ref());
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    queue.settled(index, number, result.is_ok());
    result?;
    queue.prepared(index);
    queue.fill(buffer, planes)
}

/// DQBUF.
///
/// # Errors
///
/// As [`Session::dqbuf`].
pub(super) fn dqbuf(session: &Session, request: &mut Request<'_>) -> Result {
    let nonblocking = request.nonblocking;
    let (buffer, planes) = buffer(request)?;
    session.dqbuf(buffer, planes, nonblocking)
}
