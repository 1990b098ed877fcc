// SPDX-License-Identifier: GPL-2.0

//! Commands and answers as bytes.

use super::pending::{CommandRequest, Pending, Posting};
use crate::virtio::{Completed, Request};
use crate::wire::command::{
    CmdClose, CmdIoctl, CmdMmap, CmdMunmap, CmdOpen, RespHeader, RespIoctl, RespMmap, RespMunmap,
    RespOpen,
};
use crate::wire::ioctl;
use crate::wire::v4l2::{Buffer, Plane};
use kernel::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A command of fixed size with an answer of fixed size.
pub(in crate::driver) trait Command: IntoBytes + Immutable {
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
pub(in crate::driver) const MAX_ERRNO: u32 = 133;

/// Whether an answer says that the command was done.
///
/// # Errors
///
/// As in [`parse`].
pub(super) fn status(completed: &Completed<Pending>) -> Result {
    result_of(&completed.read()?)
}

/// As [`status`], of a copy of the answer.
pub(in crate::driver) fn status_in(answer: &[u8]) -> Result {
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
pub(in crate::driver) fn close_request() -> Result<CommandRequest> {
    posted(&CmdClose::new(0), 0)
}

/// Names the session of a CLOSE.
pub(in crate::driver) fn set_session(request: &mut CommandRequest, session_id: u32) {
    overwrite(request, &CmdClose::new(session_id));
}

/// A MUNMAP command, for a mapping that [`set_mapping`] names.
pub(in crate::driver) fn munmap_request() -> Result<CommandRequest> {
    posted(&CmdMunmap::new(0), size_of::<RespMunmap>())
}

/// Names the mapping of a MUNMAP.
pub(in crate::driver) fn set_mapping(request: &mut CommandRequest, driver_addr: u64) {
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
pub(in crate::driver) fn qbuf_request(
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
pub(in crate::driver) fn fits(
    request: &CommandRequest,
    size: usize,
    entries: usize,
    tail: usize,
) -> bool {
    let reply = size_of::<RespIoctl>() + size + tail;
    request.lengths() == (size_of::<CmdIoctl>() + size + entries, reply)
}

/// Sets the argument of a QBUF, and what follows its planes.
pub(in crate::driver) fn set_buffer(
    request: &mut CommandRequest,
    buffer: &Buffer,
    planes: &[Plane],
    entries: &[u8],
) {
    let mut to = request.readable_mut();
    to = to.get_mut(size_of::<CmdIoctl>()..).unwrap_or_default();
    for part in [buffer.as_bytes(), planes.as_bytes(), entries] {
        let Some((here, rest)) = to.split_at_mut_checked(part.len()) else {
            break;
        };
        here.copy_from_slice(part);
        to = rest;
    }
}

/// Names the buffer that a [`qbuf_request`] is for.
pub(in crate::driver) fn set_posting(request: &mut CommandRequest, posting: Posting) {
    *request.context_mut() = Pending::Queued(posting);
}

/// An ioctl whose answer nobody looks at.
pub(in crate::driver) fn ioctl_request(
    session_id: u32,
    code: u32,
    payload: &[u8],
) -> Result<CommandRequest> {
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
