// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One ioctl: from bytes to a typed call, and back.

use nix::errno::Errno;
use protocol::wire::ioctl::{self, Attached, Ioctl};
use protocol::wire::v4l2::{Buffer, MEMORY_DMABUF, MEMORY_MMAP};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::attached::{buffer, controls, edid, export};
use super::failure::{Failure, HEADER, set_status};
use crate::device::api::{Device, Result, Session};

/// The ioctl with number `code`, if it is one that a device answers.
///
/// # Errors
///
/// `ENOTTY` if there is none, or the specification does not forward it.
pub(super) fn lookup(code: u32) -> Result<&'static Ioctl> {
    ioctl::lookup(code)
        .filter(|ioctl| ioctl.forwarded)
        .ok_or(Errno::ENOTTY)
}

/// Whether a call may take long: it allocates, starts or stops an encoder, or has to ask the VMM;
/// or any but QBUF, if `device` may wait. `input` is the payload and what is behind it.
pub(super) fn is_slow(ioctl: &Ioctl, input: &[u8], device: &dyn Device) -> bool {
    let may_wait = device.may_wait();
    let memory = |input| Buffer::read_from_prefix(input).map(|(buffer, _)| buffer.memory);
    match ioctl.code {
        ioctl::REQBUFS
        | ioctl::CREATE_BUFS
        | ioctl::REMOVE_BUFS
        | ioctl::EXPBUF
        | ioctl::STREAMON
        | ioctl::STREAMOFF => true,
        // Objects may be another device's: the VMM is asked for them.
        ioctl::QBUF | ioctl::PREPARE_BUF if !may_wait => memory(input) == Ok(MEMORY_DMABUF),
        ioctl::QBUF => memory(input) != Ok(MEMORY_MMAP) || device.is_busy(),
        _ => may_wait,
    }
}

/// Runs `ioctl` on `session` with `input`, the device-readable bytes behind the command, and leaves
/// the response in `reply`: header, payload, array and UUIDs. `capacity` is how much of it the
/// guest can take. If it is to be `quick`, a call that may take long is not made.
///
/// # Errors
///
/// What the ioctl fails with, or `Slow`. `reply` then has the response too: the header only, but
/// for ioctls whose payload V4L2 gives back on failure as well (`error_idx` of extended controls,
/// `blocks` of an EDID).
pub(super) fn run(
    session: &mut dyn Session,
    ioctl: &'static Ioctl,
    input: &[u8],
    (capacity, quick): (usize, bool),
    reply: &mut Vec<u8>,
) -> std::result::Result<(), Failure> {
    reply.clear();
    reply.resize(HEADER, 0);
    let result = call(session, ioctl, input, (capacity, quick), reply);
    match result {
        Err(Failure::Slow) => reply.clear(),
        Ok(()) if !ioctl.direction.to_driver() => reply.truncate(HEADER),
        Ok(()) => {}
        Err(Failure::Errno(errno)) => {
            if !ioctl.answers_failure() || reply.len() <= HEADER {
                reply.truncate(HEADER);
            }
            set_status(reply, Err(errno));
        }
    }
    result
}

/// Appends payload and what belongs to it to `reply`, and makes the call.
fn call(
    session: &mut dyn Session,
    ioctl: &'static Ioctl,
    input: &[u8],
    (capacity, quick): (usize, bool),
    reply: &mut Vec<u8>,
) -> std::result::Result<(), Failure> {
    let (array_size, rest) = if ioctl.direction.to_device() {
        let payload = input.get(..ioctl.size).ok_or(Errno::EINVAL)?;
        let array_size = ioctl.array_size(payload).map_err(|_| Errno::EINVAL)?;
        let both = ioctl.size + array_size;
        reply.extend_from_slice(input.get(..both).ok_or(Errno::EINVAL)?);
        (array_size, input.get(both..).unwrap_or_default())
    } else {
        reply.resize(HEADER + ioctl.size, 0);
        (0, input)
    };
    if ioctl.direction.to_driver() && capacity < reply.len() {
        reply.truncate(HEADER);
        return Err(Errno::EINVAL.into());
    }

    let body = reply.get_mut(HEADER..).unwrap_or_default();
    let (payload, array) = body.split_at_mut_checked(ioctl.size).ok_or(Errno::EINVAL)?;
    debug_assert_eq!(array.len(), array_size);
    match ioctl.attached {
        Attached::Nothing => simple(session, ioctl, payload)?,
        Attached::Planes => {
            let uuids = buffer(session, ioctl, payload, array, rest, (capacity, quick))?;
            reply.extend_from_slice(uuids.as_bytes());
        }
        Attached::Controls => controls(session, ioctl, payload, array, rest)?,
        Attached::Edid => edid(session, ioctl, body)?,
        Attached::Uuid => {
            let uuid = export(session, payload, rest, capacity)?;
            reply.extend_from_slice(uuid.as_bytes());
        }
    }
    Ok(())
}

/// Calls `call` with the payload as a `T`, and takes back what it made of it.
fn with<T: FromBytes + IntoBytes + Immutable>(
    payload: &mut [u8],
    call: impl FnOnce(&mut T) -> Result,
) -> Result {
    let mut value = T::read_from_bytes(payload).map_err(|_| Errno::EINVAL)?;
    call(&mut value)?;
    value.write_to(payload).map_err(|_| Errno::EINVAL)
}

fn simple(session: &mut dyn Session, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result {
    match ioctl.code {
        ioctl::ENUM_FMT => with(payload, |desc| session.enum_fmt(desc)),
        ioctl::G_FMT => with(payload, |format| session.g_fmt(format)),
        ioctl::S_FMT => with(payload, |format| session.s_fmt(format)),
        ioctl::TRY_FMT => with(payload, |format| session.try_fmt(format)),
        ioctl::ENUM_FRAMESIZES => with(payload, |size| session.enum_framesizes(size)),
        ioctl::ENUM_FRAMEINTERVALS => {
            with(payload, |interval| session.enum_frameintervals(interval))
        }
        ioctl::G_PARM => with(payload, |parm| session.g_parm(parm)),
        ioctl::S_PARM => with(payload, |parm| session.s_parm(parm)),
        ioctl::G_SELECTION => with(payload, |selection| session.g_selection(selection)),
        ioctl::S_SELECTION => with(payload, |selection| session.s_selection(selection)),
        ioctl::REQBUFS => with(payload, |request| session.reqbufs(request)),
        ioctl::CREATE_BUFS => with(payload, |create| session.create_bufs(create)),
        ioctl::REMOVE_BUFS => with(payload, |remove| session.remove_bufs(remove)),
        ioctl::STREAMON => with(payload, |buf_type: &mut u32| session.streamon(*buf_type)),
        ioctl::STREAMOFF => with(payload, |buf_type: &mut u32| session.streamoff(*buf_type)),
        ioctl::ENCODER_CMD => with(payload, |cmd| session.encoder_cmd(cmd)),
        ioctl::TRY_ENCODER_CMD => with(payload, |cmd| session.try_encoder_cmd(cmd)),
        ioctl::SUBSCRIBE_EVENT => with(payload, |event| session.subscribe_event(event)),
        ioctl::UNSUBSCRIBE_EVENT => with(payload, |event| session.unsubscribe_event(event)),
        ioctl::QUERYCTRL => with(payload, |query| session.queryctrl(query)),
        ioctl::QUERY_EXT_CTRL => with(payload, |query| session.query_ext_ctrl(query)),
        ioctl::QUERYMENU => with(payload, |menu| session.querymenu(menu)),
        ioctl::G_CTRL => with(payload, |control| session.g_ctrl(control)),
        ioctl::S_CTRL => with(payload, |control| session.s_ctrl(control)),
        _ => session.other(ioctl, payload),
    }
}
