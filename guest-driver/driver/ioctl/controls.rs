// SPDX-License-Identifier: GPL-2.0

//! Extended controls. The value of a compound one stands in memory of the process.

use super::args::elements_mut;
use super::forward::{exchange, forward};
use crate::driver::channel::CommandMemory;
use crate::driver::session::Session;
use crate::media::ioctl::number;
use crate::media::Request;
use crate::virtio::request::{copy_from_device, physical_runs};
use crate::wire::sg::SgEntry;
use crate::wire::v4l2::{ExtControl, QueryExtCtrl, CTRL_FLAG_HAS_PAYLOAD};
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};
use zerocopy::IntoBytes;

/// Most bytes that the controls of one ioctl may have besides their structures.
const MAX_PAYLOADS: usize = 1 << 20;

/// A control whose value stands elsewhere.
struct Elsewhere {
    /// Which of the controls.
    index: usize,
    /// Where the process has it.
    user: usize,
    /// How long it is.
    size: usize,
}

/// Runs G/S/TRY_EXT_CTRLS.
///
/// # Errors
///
/// - `EFAULT`: a control's pointer is wrong.
/// - `EINVAL`: the values are larger than any control.
/// - `EOPNOTSUPP`: values stand elsewhere, and the device cannot reach memory of the guest.
/// - the device's; as any command.
pub(super) fn run(session: &Session, request: &mut Request<'_>) -> Result {
    let count = elements_mut::<ExtControl>(request.array)?.len();
    let mut elsewhere = KVec::new();
    let mut sizes = KVVec::new();
    for index in 0..count {
        let control = *control_mut(request.array, index)?;
        if control.size == 0 {
            continue;
        }
        if has_payload(session, control.id)? {
            elsewhere.push(
                Elsewhere {
                    index,
                    user: control.value64() as usize,
                    size: control.size as usize,
                },
                GFP_KERNEL_ACCOUNT,
            )?;
        } else {
            // Only then does `size` mean anything; to the device it would announce memory.
            control_mut(request.array, index)?.size = 0;
            sizes.push((index, control.size), GFP_KERNEL_ACCOUNT)?;
        }
    }
    let result = if elsewhere.is_empty() {
        forward(session, request)
    } else {
        with_memory(session, request, &elsewhere)
    };
    for (index, size) in sizes.iter() {
        control_mut(request.array, *index)?.size = *size;
    }
    result
}

fn with_memory(session: &Session, request: &mut Request<'_>, elsewhere: &[Elsewhere]) -> Result {
    session.device().check_import()?;
    let mut memories = CommandMemory::new();
    let mut entries = KVVec::new();
    let mut total = 0usize;
    for control in elsewhere {
        total = total.saturating_add(control.size);
        if total > MAX_PAYLOADS {
            return Err(EINVAL);
        }
        let mut memory = KVVec::from_elem(0u8, control.size, GFP_KERNEL_ACCOUNT)?;
        if request.number != number::G_EXT_CTRLS {
            user(control).reader().read_slice(&mut memory)?;
        }
        physical_runs(&memory, |start, len| {
            let entry = SgEntry::new(start, len);
            Ok(entries.extend_from_slice(entry.as_bytes(), GFP_KERNEL_ACCOUNT)?)
        })?;
        // The pointer is the process's, and none of the device's business.
        control_mut(request.array, control.index)?.value = [0; 2];
        memories.push(memory, GFP_KERNEL_ACCOUNT)?;
    }
    let result = exchange(session, request, &entries, memories);
    for control in elsewhere {
        let pointer = control_mut(request.array, control.index)?;
        pointer.set_value64(control.user as i64);
    }
    for (control, memory) in elsewhere.iter().zip(result?.iter()) {
        // The device says how much of it there is, which is not more.
        let size = control_mut(request.array, control.index)?.size as usize;
        give(control, memory, size.min(memory.len()))?;
    }
    Ok(())
}

/// Gives the process the first `size` bytes of a value, which the device may still change.
fn give(control: &Elsewhere, memory: &KVVec<u8>, size: usize) -> Result {
    let mut writer = user(control).writer();
    let mut part = [0u8; 256];
    let mut at = 0;
    while at < size {
        let len = part.len().min(size - at);
        let part = part.get_mut(..len).ok_or(EINVAL)?;
        copy_from_device(memory, at, part);
        writer.write_slice(part)?;
        at += len;
    }
    Ok(())
}

fn user(control: &Elsewhere) -> UserSlice {
    UserSlice::new(UserPtr::from_addr(control.user), control.size)
}

fn control_mut(array: &mut [u8], index: usize) -> Result<&mut ExtControl> {
    elements_mut(array)?.get_mut(index).ok_or(EINVAL)
}

/// Whether the control's value stands in memory of its own.
///
/// User space must set `size` for such controls, but may have left anything there for others.
fn has_payload(session: &Session, id: u32) -> Result<bool> {
    if let Some(known) = session.kinds().get(id) {
        return Ok(known);
    }
    let mut query = QueryExtCtrl {
        id,
        ..Default::default()
    };
    let result = forward(
        session,
        &mut Request {
            number: number::QUERY_EXT_CTRL,
            payload: query.as_mut_bytes(),
            array: &mut [],
            nonblocking: false,
        },
    );
    match result {
        Ok(()) => {
            let elsewhere = query.flags & CTRL_FLAG_HAS_PAYLOAD != 0;
            session.kinds().note(id, elsewhere);
            Ok(elsewhere)
        }
        // Not a control: the ioctl itself will say so.
        Err(error) if error == EINVAL => Ok(false),
        Err(error) => Err(error),
    }
}
