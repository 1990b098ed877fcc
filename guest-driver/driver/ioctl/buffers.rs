// SPDX-License-Identifier: GPL-2.0

//! The ioctls of buffers but QBUF and those that make buffers.

use super::args::{buffer, payload};
use super::forward::forward;
use super::qbuf::{exchange_wire, pass};
use crate::driver::memory::Import;
use crate::driver::session::{Session, Slots};
use crate::media::ioctl::number;
use crate::media::Request;
use crate::wire::v4l2::{Buffer, Plane, RemoveBuffers};
use kernel::prelude::*;

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
    session.imports().remove(type_, index, count);
    Ok(())
}

/// QUERYBUF.
///
/// # Errors
///
/// `EINVAL`: no such buffer, or too short an array for its planes.
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
    let (_passing, import, wanted) = pass(session, buffer, planes, true)?;
    prepare(session, buffer, planes, import, wanted.number)
}

/// PREPARE_BUF of a buffer whose memory is ready. Not inlined: its frame is large, and must not be
/// there while memory is pinned.
#[inline(never)]
fn prepare(
    session: &Session,
    buffer: &mut Buffer,
    planes: &mut [Plane],
    import: Option<Import>,
    number: u64,
) -> Result {
    let (buf_type, index) = (buffer.type_, buffer.index);
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    let imported = import.as_ref().map(Import::imported);
    let wire = queue.build(buffer, planes, imported, true);
    let mut wire = wire.inspect_err(|_| queue.failed(index, number))?;
    drop(state);
    let result = exchange_wire(session, number::PREPARE_BUF, &mut wire, import.as_ref());
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    queue.answered_call(index, number, result.is_ok());
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
