// SPDX-License-Identifier: GPL-2.0

//! REQBUFS and CREATE_BUFS: which memory the device is asked for, and what the buffers are like.

use super::args::payload;
use super::forward::forward;
use crate::driver::queue::{Rules, Slot, MAX_BUFFERS};
use crate::driver::session::{Session, SessionNode, Slots};
use crate::media::ioctl::number;
use crate::media::{Handle, Request};
use crate::wire::v4l2::{
    self, is_multiplanar, is_output, Buffer, CreateBuffers, Format, Plane, RequestBuffers,
    MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, VIDEO_MAX_PLANES,
};
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// `V4L2_BUF_CAP_*` that the client gets, if the device has `capabilities`.
fn capabilities(session: &Session, capabilities: u32) -> u32 {
    let mut answer = capabilities;
    if session.device().check_import().is_err() {
        answer &= !v4l2::BUF_CAP_SUPPORTS_USERPTR;
    } else if capabilities & v4l2::BUF_CAP_SUPPORTS_USERPTR != 0 {
        answer |= v4l2::BUF_CAP_SUPPORTS_MMAP | v4l2::BUF_CAP_SUPPORTS_DMABUF;
    }
    answer
}

/// Which memory to ask the device for, in this order, if the client wants `client`.
///
/// # Errors
///
/// `EINVAL` if it cannot have that.
fn candidates(session: &Session, client: u32) -> Result<&'static [u32]> {
    let region = session.device().shm().is_some();
    let possible = match client {
        MEMORY_MMAP if region => true,
        _ => session.device().check_import().is_ok(),
    };
    if !possible {
        return match client {
            // By objects, if the device takes them.
            MEMORY_DMABUF => Ok(&[MEMORY_DMABUF]),
            _ => Err(EINVAL),
        };
    }
    Ok(match client {
        MEMORY_MMAP if region => &[MEMORY_MMAP, MEMORY_USERPTR],
        MEMORY_MMAP => &[MEMORY_USERPTR, MEMORY_MMAP],
        MEMORY_USERPTR => &[MEMORY_USERPTR],
        MEMORY_DMABUF => &[MEMORY_USERPTR, MEMORY_DMABUF],
        _ => return Err(EINVAL),
    })
}

/// Sends `request` with the first of `candidates` that the device does not refuse, which `set` puts
/// in. Returns it.
fn attempt(
    session: &Session,
    request: &mut Request<'_>,
    candidates: &[u32],
    set: impl Fn(&mut [u8], u32) -> Result,
) -> Result<u32> {
    let mut result = Err(EINVAL);
    let mut sent = KVec::new();
    sent.extend_from_slice(request.payload, GFP_KERNEL_ACCOUNT)?;
    for memory in candidates {
        request.payload.copy_from_slice(&sent);
        set(request.payload, *memory)?;
        result = forward(session, request).map(|()| *memory);
        if !matches!(result, Err(error) if error == EINVAL) {
            break;
        }
    }
    result
}

/// The memory that the device has made buffers of.
#[derive(Clone, Copy)]
struct Made {
    /// `V4L2_MEMORY_*` as the device was asked for it.
    wire_memory: u32,
    /// The device takes virtio objects.
    objects: bool,
}

/// REQBUFS.
///
/// # Errors
///
/// `EINVAL`: no memory that there is; as any ioctl.
pub(super) fn reqbufs(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let session: &Session = handle;
    let wanted = *payload::<RequestBuffers>(request)?;
    let buf_type = wanted.type_;
    let _passing = session.gate().pass()?;
    handle.freeze(buf_type)?;
    let made = send_reqbufs(handle, request).inspect_err(|_| handle.thaw(buf_type))?;
    let RequestBuffers {
        count,
        capabilities,
        ..
    } = *payload::<RequestBuffers>(request)?;
    let rules = Rules {
        memory: wanted.memory,
        ..rules(session, buf_type, capabilities, count, made)
    };
    let learnt = learn(session, buf_type, 0, count, &rules).inspect_err(|_| {
        free(session, buf_type, rules.wire_memory);
    });
    let mut slots = Slots::new();
    let result = learnt.map(|learnt| slots = learnt);
    let mut state = session.state().lock();
    let stop = state.streams.get(buf_type)?.replace(&mut slots, rules);
    drop(state);
    drop((slots, stop));
    session.notify();
    result
}

/// Sends REQBUFS, after which nothing is imported. The session's gate is held.
///
/// # Errors
///
/// `EINVAL` for memory that the client cannot have; `ENOMEM`; the device's; as any command.
fn send_reqbufs(session: &Session, request: &mut Request<'_>) -> Result<Made> {
    let wanted = *payload::<RequestBuffers>(request)?;
    let candidates = candidates(session, wanted.memory)?;
    let wire_memory = attempt(session, request, candidates, |payload, memory| {
        let payload = RequestBuffers::mut_from_bytes(payload).map_err(|_| EINVAL)?;
        payload.memory = memory;
        payload.count = payload.count.min(MAX_BUFFERS);
        Ok(())
    })?;
    let made = payload::<RequestBuffers>(request)?;
    let objects = made.capabilities & v4l2::BUF_CAP_SUPPORTS_DMABUF != 0;
    made.memory = wanted.memory;
    made.capabilities = capabilities(session, made.capabilities);
    session.imports().clear(wanted.type_);
    Ok(Made {
        wire_memory,
        objects,
    })
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
    let made = send_create_bufs(session, request)?;
    let CreateBuffers {
        index: first,
        count,
        capabilities,
        ..
    } = *payload::<CreateBuffers>(request)?;
    if count == 0 {
        return Ok(());
    }
    let rules = Rules {
        memory,
        ..rules(session, buf_type, capabilities, count, made)
    };
    let mut new = learn(session, buf_type, first, count, &rules)?;
    let mut state = session.state().lock();
    let places = state.streams.get(buf_type)?.len();
    drop(state);
    let places = places.max(first as usize + count as usize);
    let mut slots = Slots::with_capacity(places, GFP_KERNEL_ACCOUNT)?;
    let mut state = session.state().lock();
    let queue = state.streams.get(buf_type)?;
    queue.rules = rules;
    let result = queue.extend(first as usize, &mut new, &mut slots);
    drop(state);
    result
}

/// Sends CREATE_BUFS. The session's gate is held.
///
/// # Errors
///
/// As [`send_reqbufs`]; `EINVAL` if there are buffers with other memory.
fn send_create_bufs(session: &Session, request: &mut Request<'_>) -> Result<Made> {
    let wanted = *payload::<CreateBuffers>(request)?;
    let candidates = candidates(session, wanted.memory)?;
    let mut state = session.state().lock();
    let queue = state.streams.get(wanted.format.type_)?;
    let existing = queue.has_buffers().then_some(queue.rules);
    drop(state);
    let set = |payload: &mut [u8], memory| {
        let payload = CreateBuffers::mut_from_bytes(payload).map_err(|_| EINVAL)?;
        payload.memory = memory;
        payload.count = payload.count.min(MAX_BUFFERS);
        Ok(())
    };
    let wire_memory = match existing {
        Some(rules) if rules.memory != wanted.memory => return Err(EINVAL),
        Some(rules) => attempt(session, request, &[rules.wire_memory], set),
        None => attempt(session, request, candidates, set),
    }?;
    let made = payload::<CreateBuffers>(request)?;
    let objects = made.capabilities & v4l2::BUF_CAP_SUPPORTS_DMABUF != 0;
    made.memory = wanted.memory;
    made.capabilities = capabilities(session, made.capabilities);
    made.max_num_buffers = made.max_num_buffers.min(MAX_BUFFERS);
    Ok(Made {
        wire_memory,
        objects,
    })
}

/// Has the device free buffers that the driver cannot use.
fn free(session: &Session, buf_type: u32, memory: u32) {
    let mut reqbufs = RequestBuffers {
        type_: buf_type,
        memory,
        ..Default::default()
    };
    let mut request = Request {
        number: number::REQBUFS,
        payload: reqbufs.as_mut_bytes(),
        array: &mut [],
        nonblocking: false,
    };
    // If that fails too the client may do the same, or close.
    let _ = forward(session, &mut request);
}

/// What holds for the buffers of a queue from now on.
fn rules(session: &Session, buf_type: u32, capabilities: u32, count: u32, made: Made) -> Rules {
    let output = is_output(buf_type);
    let field = if output && count > 0 {
        field(session, buf_type)
    } else {
        v4l2::FIELD_NONE
    };
    Rules {
        output,
        field,
        capabilities,
        wire_memory: made.wire_memory,
        objects: made.objects,
        ..Default::default()
    }
}

/// The field of the format. Formats without a field are progressive.
fn field(session: &Session, buf_type: u32) -> u32 {
    if buf_type != v4l2::BUF_TYPE_VIDEO_OUTPUT && buf_type != v4l2::BUF_TYPE_VIDEO_OUTPUT_MPLANE {
        return v4l2::FIELD_NONE;
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
        Err(_) => v4l2::FIELD_NONE,
    }
}

/// Asks the device for the planes of new buffers.
///
/// # Errors
///
/// `EIO` for an absurd number of buffers or planes; as QUERYBUF.
fn learn(session: &Session, buf_type: u32, first: u32, count: u32, rules: &Rules) -> Result<Slots> {
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
            // With other memory the request would have to say where it is.
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
        (buffer.index, buffer.type_) = (index, buf_type);
        add(&mut slots, &buffer, &planes)?;
    }
    if rules.wire_memory != MEMORY_MMAP {
        let layouts = slots.iter().flatten().map(Slot::layout);
        let own = rules.memory == MEMORY_MMAP;
        session.imports().add(buf_type, first, layouts, own)?;
    }
    Ok(slots)
}

/// Not inlined: a buffer is large, and must not be on the stack while the device is asked.
#[inline(never)]
fn add(slots: &mut Slots, buffer: &Buffer, planes: &[Plane; VIDEO_MAX_PLANES]) -> Result {
    Ok(slots.push(Some(Slot::new(buffer, planes)?), GFP_KERNEL_ACCOUNT)?)
}
