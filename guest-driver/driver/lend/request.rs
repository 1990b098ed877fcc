// SPDX-License-Identifier: GPL-2.0

//! REQBUFS and CREATE_BUFS: which memory the device is asked for, and what the buffers are like.

use super::{Layout, Lending, Queue, Slot};
use crate::driver::buffers::{offset, Slots, MAX_BUFFERS};
use crate::driver::ioctl::forward;
use crate::driver::session::Session;
use crate::media::ioctl::number;
use crate::media::pages::OwnPages;
use crate::media::Request;
use crate::wire::v4l2::{
    CreateBuffers, RequestBuffers, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR,
};
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// `V4L2_BUF_CAP_SUPPORTS_*`.
mod supports {
    pub(super) const MMAP: u32 = 0x1;
    pub(super) const USERPTR: u32 = 0x2;
    pub(super) const DMABUF: u32 = 0x4;
}

/// What the client can have, if the device has `capabilities`.
fn capabilities(session: &Session, capabilities: u32) -> u32 {
    let mut answer = capabilities;
    if session.device().check_lending().is_err() {
        answer &= !supports::USERPTR;
    } else if capabilities & supports::USERPTR != 0 {
        answer |= supports::MMAP | supports::DMABUF;
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
    let lends = match client {
        MEMORY_MMAP if region => true,
        _ => session.device().check_lending().is_ok(),
    };
    if !lends {
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

/// Sends `request` with the first of `candidates` that the device does not refuse, which `set` puts in. Returns it.
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

impl Lending {
    /// Runs REQBUFS, after which nothing is lent. The session's gate is held. Returns the memory that the device was
    /// asked for.
    ///
    /// # Errors
    ///
    /// `EINVAL` for memory that the client cannot have; `ENOMEM`; the device's; as any command.
    pub(in crate::driver) fn reqbufs(session: &Session, request: &mut Request<'_>) -> Result<u32> {
        let wanted = RequestBuffers::read_from_bytes(request.payload).map_err(|_| EINVAL)?;
        let candidates = candidates(session, wanted.memory)?;
        let device = attempt(session, request, candidates, |payload, memory| {
            let payload = RequestBuffers::mut_from_bytes(payload).map_err(|_| EINVAL)?;
            payload.memory = memory;
            payload.count = payload.count.min(MAX_BUFFERS);
            Ok(())
        })?;
        let made = RequestBuffers::mut_from_bytes(request.payload).map_err(|_| EINVAL)?;
        let objects = made.capabilities & supports::DMABUF != 0;
        made.memory = wanted.memory;
        made.capabilities = capabilities(session, made.capabilities);
        let new = Queue {
            client: wanted.memory,
            device,
            objects,
            slots: KVVec::new(),
        };
        let lending = session.lending();
        let old = lending.with(wanted.type_, |queue| Ok(core::mem::replace(queue, new)))?;
        // Out of the lock.
        drop(old);
        Ok(device)
    }

    /// Runs CREATE_BUFS. The session's gate is held. Returns the memory that the device was asked for.
    ///
    /// # Errors
    ///
    /// As [`Self::reqbufs`]; `EINVAL` if there are buffers with other memory.
    pub(in crate::driver) fn create_bufs(
        session: &Session,
        request: &mut Request<'_>,
    ) -> Result<u32> {
        let wanted = CreateBuffers::read_from_bytes(request.payload).map_err(|_| EINVAL)?;
        let buf_type = wanted.format.type_;
        let lending = session.lending();
        let candidates = candidates(session, wanted.memory)?;
        let existing = lending.with(buf_type, |queue| {
            let any = queue.slots.iter().any(|slot| slot.layout.planes > 0);
            Ok(any.then_some((queue.client, queue.device)))
        })?;
        let set = |payload: &mut [u8], memory| {
            let payload = CreateBuffers::mut_from_bytes(payload).map_err(|_| EINVAL)?;
            payload.memory = memory;
            payload.count = payload.count.min(MAX_BUFFERS);
            Ok(())
        };
        let device = match existing {
            Some((client, _)) if client != wanted.memory => return Err(EINVAL),
            Some((_, device)) => attempt(session, request, &[device], set),
            None => attempt(session, request, candidates, set),
        }?;
        let made = CreateBuffers::mut_from_bytes(request.payload).map_err(|_| EINVAL)?;
        let objects = made.capabilities & supports::DMABUF != 0;
        made.memory = wanted.memory;
        made.capabilities = capabilities(session, made.capabilities);
        made.max_num_buffers = made.max_num_buffers.min(MAX_BUFFERS);
        if made.count == 0 {
            return Ok(device);
        }
        lending.with(buf_type, |queue| {
            (queue.client, queue.device) = (wanted.memory, device);
            queue.objects = objects;
            Ok(())
        })?;
        Ok(device)
    }

    /// There are new buffers from index `first` on, of which the device has said what they are like. Gives those that
    /// are to be of the driver's pages such pages, and all of them the pointers that the client is to see.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also for more than half of all memory; `EINVAL` if there are too many.
    pub(in crate::driver) fn extend(&self, buf_type: u32, first: u32, new: &mut Slots) -> Result {
        let (lent, mapped) = self.with(buf_type, |queue| {
            Ok((queue.device != MEMORY_MMAP, queue.client == MEMORY_MMAP))
        })?;
        for (index, buffer) in (first..).zip(new.iter_mut().flatten()) {
            for plane in 0..buffer.layout().planes {
                let pointer = match mapped {
                    true => offset(buf_type, index, plane)?,
                    false => 0,
                };
                buffer.set_pointer(plane, pointer);
            }
        }
        if !lent {
            return Ok(());
        }
        let own = mapped;
        // Sizes are the device's word.
        let layouts = new.iter().flatten().map(|buffer| buffer.layout());
        let total: u64 = layouts.map(|layout| layout.bytes()).sum();
        if own && total > OwnPages::limit() {
            return Err(ENOMEM);
        }
        let mut slots = KVVec::with_capacity(new.len(), GFP_KERNEL_ACCOUNT)?;
        for buffer in new.iter().flatten() {
            let layout = buffer.layout();
            let mut slot = Slot::new(layout);
            let lengths = layout.lengths.iter().take(layout.planes);
            for length in lengths.take_while(|_| own) {
                let pages = OwnPages::new(*length as usize)?;
                slot.own
                    .push(Arc::new(pages, GFP_KERNEL_ACCOUNT)?, GFP_KERNEL_ACCOUNT)?;
            }
            slots.push(slot, GFP_KERNEL_ACCOUNT)?;
        }
        self.with(buf_type, |queue| {
            let end = first as usize + slots.len();
            while queue.slots.len() < end {
                queue
                    .slots
                    .push(Slot::new(Layout::default()), GFP_KERNEL_ACCOUNT)?;
            }
            let places = queue.slots.iter_mut().skip(first as usize);
            for (place, slot) in places.zip(slots) {
                *place = slot;
            }
            Ok(())
        })
    }

    /// Gives buffers of the device back that are of no use.
    pub(in crate::driver) fn free(session: &Session, buf_type: u32) {
        let memory = session.lending().with(buf_type, |queue| Ok(queue.device));
        let mut reqbufs = RequestBuffers {
            type_: buf_type,
            memory: memory.unwrap_or(MEMORY_MMAP),
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
}
