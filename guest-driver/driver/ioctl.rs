// SPDX-License-Identifier: GPL-2.0

//! Ioctls: which are forwarded as they are, and what the driver does about the others.

use super::command::{ioctl_request, status_in, Lent, Patience, Pending, Undo};
use super::controls;
use super::session::{Session, SessionNode};
use super::{cap, lend, qbuf, queueing};
use crate::media::ioctl::{number, NUMBERS};
use crate::media::{Handle, Request};
use crate::wire::answer::{merge, Fault};
use crate::wire::command::{CmdIoctl, RespIoctl};
use crate::wire::ioctl::{lookup, TABLE};
use crate::wire::v4l2::{FmtDesc, StreamParm};
use kernel::c_str;
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

// The V4L2 layer and the wire agree on the numbers.
const _: () = {
    let mut i = 0;
    while i < NUMBERS.len() {
        let mut j = 0;
        while TABLE[j].code != NUMBERS[i].1 {
            j += 1;
        }
        i += 1;
    }
};

/// `V4L2_ENC_CMD_START`, `V4L2_DEC_CMD_START`.
const CMD_START: u32 = 0;
/// `V4L2_ENC_CMD_STOP`, `V4L2_DEC_CMD_STOP`.
const CMD_STOP: u32 = 1;

/// Runs an ioctl.
///
/// # Errors
///
/// The device's; `ENOTTY` for those that it does not have; as [`Session::check`] and as any command.
pub(super) fn run(handle: &Handle<SessionNode>, mut request: Request<'_>) -> Result {
    let session: &Session = handle;
    match request.number {
        number::QUERYCAP => {
            session.check_alive()?;
            return querycap(session, &mut request);
        }
        number::DQBUF => return queueing::dqbuf(session, &mut request),
        _ => session.check()?,
    }
    match request.number {
        number::REQBUFS => queueing::reqbufs(handle, &mut request),
        number::CREATE_BUFS => queueing::create_bufs(session, &mut request),
        number::REMOVE_BUFS => queueing::remove_bufs(session, &mut request),
        number::QUERYBUF => queueing::querybuf(session, &mut request),
        number::PREPARE_BUF => queueing::prepare_buf(session, &mut request),
        number::QBUF => qbuf::qbuf(handle, &mut request),
        number::EXPBUF => lend::expbuf(session, &mut request),
        number::STREAMON => streamon(session, &mut request),
        number::STREAMOFF => streamoff(handle, &mut request),
        number::ENCODER_CMD | number::DECODER_CMD => codec_cmd(handle, &mut request),
        number::SUBSCRIBE_EVENT => subscribe(handle, &mut request),
        number::UNSUBSCRIBE_EVENT => unsubscribe(handle, &mut request),
        number::G_EXT_CTRLS | number::S_EXT_CTRLS | number::TRY_EXT_CTRLS => {
            controls::run(session, &mut request)
        }
        number::ENUM_FMT => enum_fmt(session, &mut request),
        number::G_TUNER | number::G_MODULATOR | number::ENUM_FREQ_BANDS => {
            forward(session, &mut request)?;
            without_rds(request.number, request.payload)
        }
        number::G_PARM | number::S_PARM => {
            forward(session, &mut request)?;
            without_read(request.payload)
        }
        // A seek waits for what it finds.
        number::S_HW_FREQ_SEEK if request.nonblocking && can_seek(session) => Err(EAGAIN),
        _ => forward(session, &mut request),
    }
}

/// Sends an ioctl as it is, and merges the answer into its argument.
pub(super) fn forward(session: &Session, request: &mut Request<'_>) -> Result {
    exchange(session, request, &[], Lent::new()).map(|_| ())
}

/// How the answer to an ioctl is waited for: what waits for signals of the air, not of this device, ends with one of the
/// process's. It goes on in the device.
fn patience(code: u32) -> Patience {
    match code {
        number::S_HW_FREQ_SEEK | number::QUERYSTD | number::QUERY_DV_TIMINGS => {
            Patience::UntilSignal
        }
        _ => Patience::UntilKilled,
    }
}

fn can_seek(session: &Session) -> bool {
    session.device().config().device_caps & cap::HW_FREQ_SEEK != 0
}

/// Whether an ioctl changes what the driver knows of the session.
fn changes_buffers(code: u32) -> bool {
    matches!(
        code,
        number::REQBUFS
            | number::CREATE_BUFS
            | number::REMOVE_BUFS
            | number::QBUF
            | number::PREPARE_BUF
            | number::STREAMON
            | number::STREAMOFF
            | number::ENCODER_CMD
            | number::DECODER_CMD
    )
}

/// Sends an ioctl, followed by `entries` (the SG lists of `lent`), and [merges](merge) the answer into its argument.
///
/// # Errors
///
/// As [`run`]. The argument is updated even then, if V4L2 gives it back on failure.
pub(super) fn exchange(
    session: &Session,
    request: &mut Request<'_>,
    entries: &[u8],
    lent: Lent,
) -> Result<Lent> {
    exchange_tail(session, request, entries, lent, 0)
}

/// As [`exchange`]; `tail` bytes, which nobody wants, may follow the array in the answer.
pub(super) fn exchange_tail(
    session: &Session,
    request: &mut Request<'_>,
    entries: &[u8],
    lent: Lent,
    tail: usize,
) -> Result<Lent> {
    let ioctl = lookup(request.number)
        .filter(|ioctl| ioctl.forwarded && ioctl.size == request.payload.len())
        .ok_or(ENOTTY)?;
    let pointer = ioctl.pointer(request.payload);
    let size = request.payload.len() + request.array.len();

    let mut bytes = KVVec::with_capacity(
        size_of::<CmdIoctl>() + size + entries.len(),
        GFP_KERNEL_ACCOUNT,
    )?;
    let command = CmdIoctl::new(session.id(), ioctl.code);
    bytes.extend_from_slice(command.as_bytes(), GFP_KERNEL_ACCOUNT)?;
    if ioctl.direction.to_device() {
        bytes.extend_from_slice(request.payload, GFP_KERNEL_ACCOUNT)?;
        let start = size_of::<CmdIoctl>() + pointer.unwrap_or(0);
        if let (Some(_), Some(hidden)) = (pointer, bytes.get_mut(start..start + 8)) {
            hidden.fill(0);
        }
        bytes.extend_from_slice(request.array, GFP_KERNEL_ACCOUNT)?;
    }
    bytes.extend_from_slice(entries, GFP_KERNEL_ACCOUNT)?;
    let (room, tail) = match ioctl.direction.to_driver() {
        true => (size, tail),
        false => (0, 0),
    };

    let reply = size_of::<RespIoctl>() + room + tail;
    // Now: when the device has done it, it is too late to fail.
    let mut answer = KVVec::from_elem(0u8, size_of::<RespIoctl>() + room, GFP_KERNEL_ACCOUNT)?;
    let patience = patience(ioctl.code);
    let result = session
        .device()
        .call(bytes, reply, lent, Undo::No, patience);
    let (mut completed, _) = match result {
        Ok(answer) => answer,
        Err(error) => {
            if (error == ETIMEDOUT || error == EINTR) && changes_buffers(ioctl.code) {
                // The device may have done it or not: nobody knows the state of the session now.
                session.abandon();
            }
            return Err(error);
        }
    };
    let lent = match core::mem::replace(completed.context_mut(), Pending::Posted) {
        Pending::Returned(lent) => lent,
        _ => Lent::new(),
    };
    let written = completed.copy(&mut answer)?;
    let answer = answer.get(..written).unwrap_or_default();
    let result = status_in(answer);
    let answer = answer.get(size_of::<RespIoctl>()..).unwrap_or_default();
    let merged = merge(
        ioctl,
        result.is_ok(),
        answer,
        request.payload,
        request.array,
    );
    result?;
    merged.map_err(|fault| {
        session.device().complain(match fault {
            Fault::NoPayload => c_str!("it answered an ioctl without its payload"),
            Fault::Cut => c_str!("it answered an ioctl with less than it says"),
            Fault::TooMany => c_str!("it answered an ioctl with more than there is room for"),
        });
        EIO
    })?;
    Ok(lent)
}

/// The argument as a structure of the wire.
pub(super) fn payload<'a, T>(request: &'a mut Request<'_>) -> Result<&'a mut T>
where
    T: FromBytes + IntoBytes + zerocopy::KnownLayout,
{
    T::mut_from_bytes(request.payload).map_err(|_| EINVAL)
}

/// `struct v4l2_capability`, whose other fields the core fills in.
#[derive(zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes, zerocopy_derive::KnownLayout)]
#[repr(C)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    rest: [u32; 14],
}

fn querycap(session: &Session, request: &mut Request<'_>) -> Result {
    let device = session.device();
    let capability = payload::<Capability>(request)?;
    capability.driver = *b"virtio_v4l2\0\0\0\0\0";
    capability.card = device.config().card;
    // The field of the configuration need not be terminated, this one must.
    capability.card[31] = 0;
    Ok(())
}

fn enum_fmt(session: &Session, request: &mut Request<'_>) -> Result {
    forward(session, request)?;
    let format = payload::<FmtDesc>(request)?;
    // The core replaces the description of the formats that it knows, and takes it for a bug (`WARN`) if one that it
    // does not know has none.
    if format.description[0] == 0 {
        let code = format.pixelformat.to_le_bytes();
        format.description = [0; 32];
        for (to, from) in format.description.iter_mut().zip(code) {
            *to = if from.is_ascii_graphic() { from } else { b'?' };
        }
    }
    Ok(())
}

/// There is no `read(2)`, which buffers in the kernel would be for.
fn without_read(payload: &mut [u8]) -> Result {
    StreamParm::mut_from_bytes(payload)
        .map_err(|_| EINVAL)?
        .buffers = 0;
    Ok(())
}

/// Takes RDS from a tuner, modulator or band: its blocks travel by `read(2)` and `write(2)`.
fn without_rds(number: u32, payload: &mut [u8]) -> Result {
    /// `V4L2_TUNER_CAP_RDS*`.
    const CAPABILITY: u32 = 0x0380;
    /// `V4L2_TUNER_SUB_RDS`.
    const SUBCHANNEL: u32 = 0x0010;
    let words: &[(usize, u32)] = match number {
        number::G_TUNER => &[(40, CAPABILITY), (52, SUBCHANNEL)],
        number::G_MODULATOR => &[(36, CAPABILITY), (48, SUBCHANNEL)],
        _ => &[(12, CAPABILITY)],
    };
    for (at, mask) in words {
        let word = payload.get_mut(*at..*at + 4).ok_or(EINVAL)?;
        let word = u32::mut_from_bytes(word).map_err(|_| EINVAL)?;
        *word &= !mask;
    }
    Ok(())
}

/// An array as structures of the wire. (An empty one has no address, so also none that is aligned.)
pub(super) fn elements_mut<T>(array: &mut [u8]) -> Result<&mut [T]>
where
    T: FromBytes + IntoBytes + zerocopy::KnownLayout,
{
    if array.is_empty() {
        return Ok(&mut []);
    }
    <[T]>::mut_from_bytes(array).map_err(|_| EINVAL)
}

fn streamon(session: &Session, request: &mut Request<'_>) -> Result {
    let buf_type = *payload::<u32>(request)?;
    let _passing = session.gate().pass()?;
    forward(session, request)?;
    session.state().lock().streams.start(buf_type);
    Ok(())
}

fn streamoff(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let buf_type = *payload::<u32>(request)?;
    let _passing = handle.gate().pass()?;
    handle.freeze(buf_type)?;
    // Buffers that the device returns on the way are dropped with the rest: it sends none after its answer, and
    // what it sent before has been delivered when the answer is here.
    forward(handle, request).inspect_err(|_| handle.thaw(buf_type))?;
    let mut state = handle.state().lock();
    let line = state.streams.stop(buf_type);
    drop(state);
    drop(line);
    handle.wake_for_error();
    Ok(())
}

fn codec_cmd(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
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

/// Whether a command of the codec has been dealt with: STOP waits behind frames that wait themselves.
///
/// # Errors
///
/// `EBUSY` while a STOP waits; `ENOMEM`.
fn waits(handle: &Handle<SessionNode>, command: u32, request: &mut Request<'_>) -> Result<bool> {
    let mut state = handle.state().lock();
    match state.streams.line_for_stop() {
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
    let Some(queue) = state.streams.line_for_stop() else {
        drop(state);
        drop(stop);
        return Ok(false);
    };
    let left = queue.hold_stop(stop);
    drop(state);
    drop(left);
    handle.advance();
    Ok(true)
}

fn subscribe(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let subscription = (&*request.payload).try_into().map_err(|_| EINVAL)?;
    // First here: the device may send the initial event before it answers.
    handle.subscribe(subscription)?;
    let copy = *subscription;
    forward(handle, request).inspect_err(|_| {
        let _ = handle.end_subscription(&copy);
    })
}

fn unsubscribe(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let subscription = (&*request.payload).try_into().map_err(|_| EINVAL)?;
    handle.end_subscription(subscription)?;
    forward(handle, request)
}
