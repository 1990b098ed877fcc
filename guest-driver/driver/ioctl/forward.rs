// SPDX-License-Identifier: GPL-2.0

//! Ioctls that the device answers.

use crate::driver::channel::{status_in, CommandMemory, Patience, Pending, Undo};
use crate::driver::session::Session;
use crate::media::ioctl::{number, NUMBERS};
use crate::media::Request;
use crate::wire::answer::{merge, Fault};
use crate::wire::command::{CmdIoctl, RespIoctl};
use crate::wire::ioctl::{lookup, Ioctl, TABLE};
use kernel::c_str;
use kernel::prelude::*;
use zerocopy::IntoBytes;

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

/// Sends an ioctl as it is, and merges the answer into its argument.
pub(super) fn forward(session: &Session, request: &mut Request<'_>) -> Result {
    exchange(session, request, &[], CommandMemory::new()).map(|_| ())
}

/// How the answer to an ioctl is waited for: what waits for signals of the air, not of this device,
/// ends with one of the process's. It goes on in the device.
fn patience(code: u32) -> Patience {
    match code {
        number::S_HW_FREQ_SEEK | number::QUERYSTD | number::QUERY_DV_TIMINGS => {
            Patience::UntilSignal
        }
        _ => Patience::UntilKilled,
    }
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

/// Sends an ioctl, followed by `entries` (the SG lists of `memory`), and [merges](merge) the answer
/// into its argument.
///
/// # Errors
///
/// The device's; `ENOTTY` for an ioctl that it does not have; as any command. The argument is
/// updated even then, if V4L2 gives it back on failure.
pub(super) fn exchange(
    session: &Session,
    request: &mut Request<'_>,
    entries: &[u8],
    memory: CommandMemory,
) -> Result<CommandMemory> {
    exchange_tail(session, request, entries, memory, 0)
}

/// The bytes of an ioctl for the device, `entries` included.
fn encode(
    session: &Session,
    ioctl: &Ioctl,
    request: &Request<'_>,
    entries: &[u8],
) -> Result<KVVec<u8>> {
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
    Ok(bytes)
}

/// As [`exchange`]; `tail` bytes, which nobody wants, may follow the array in the answer.
pub(super) fn exchange_tail(
    session: &Session,
    request: &mut Request<'_>,
    entries: &[u8],
    memory: CommandMemory,
    tail: usize,
) -> Result<CommandMemory> {
    let ioctl = lookup(request.number)
        .filter(|ioctl| ioctl.forwarded && ioctl.size == request.payload.len())
        .ok_or(ENOTTY)?;
    let bytes = encode(session, ioctl, request, entries)?;
    let size = request.payload.len() + request.array.len();
    let (capacity, tail) = match ioctl.direction.to_driver() {
        true => (size, tail),
        false => (0, 0),
    };

    let reply = size_of::<RespIoctl>() + capacity + tail;
    // Now: when the device has done it, it is too late to fail.
    let mut answer = KVVec::from_elem(0u8, size_of::<RespIoctl>() + capacity, GFP_KERNEL_ACCOUNT)?;
    let patience = patience(ioctl.code);
    let result = session
        .channel()
        .call(bytes, reply, memory, Undo::No, patience);
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
    let memory = match core::mem::replace(completed.context_mut(), Pending::Posted) {
        Pending::Returned(memory) => memory,
        _ => CommandMemory::new(),
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
        session.channel().complain(match fault {
            Fault::NoPayload => c_str!("it answered an ioctl without its payload"),
            Fault::Cut => c_str!("it answered an ioctl with less than it says"),
            Fault::TooMany => c_str!("it answered an ioctl with more elements than were asked for"),
        });
        EIO
    })?;
    Ok(memory)
}
