// SPDX-License-Identifier: GPL-2.0

//! Buffers of the device in the memory of processes.

use super::command::{munmap_request, set_mapping, CommandRequest, Undo};
use super::device::MediaDevice;
use super::session::Session;
use crate::media::revocable::Revocable;
use crate::media::Vma;
use crate::wire::command::{CmdMmap, MMAP_FLAG_RW};
use kernel::page::page_align;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A buffer that the device has mapped into its shared memory region. Dropping it tells the device to take it out
/// again.
///
/// A mapping belongs to areas of process memory or to a dmabuf, not to the session: it stays when the buffer is freed,
/// and when the session is closed.
pub(super) struct Mapping {
    device: Arc<MediaDevice>,
    id: u64,
}

impl Mapping {
    /// What it is part of.
    pub(super) fn memory(&self) -> &Arc<Revocable> {
        self.device.memory()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let munmap = self.device.mappings().lock().remove(self.id);
        if let Some(munmap) = munmap {
            self.device.post(munmap);
        }
    }
}

/// The MUNMAPs of all mappings, made when there was memory for them.
pub(super) struct Mappings {
    list: KVec<(u64, CommandRequest)>,
    next: u64,
    /// The device goes away: no more mappings.
    ended: bool,
}

impl Mappings {
    pub(super) const fn new() -> Self {
        Self {
            list: KVec::new(),
            next: 0,
            ended: false,
        }
    }

    /// There is a mapping; returns what it is known by here, or gives the request back.
    fn add(&mut self, munmap: CommandRequest) -> Result<u64, CommandRequest> {
        if self.ended || self.list.reserve(1, GFP_KERNEL_ACCOUNT).is_err() {
            return Err(munmap);
        }
        let id = self.next;
        self.next += 1;
        // There is room.
        let _ = self.list.push_within_capacity((id, munmap));
        Ok(id)
    }

    fn remove(&mut self, id: u64) -> Option<CommandRequest> {
        let at = self.list.iter().position(|entry| entry.0 == id)?;
        self.list.remove(at).ok().map(|entry| entry.1)
    }

    /// How many mappings there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// From now on there are no new mappings.
    pub(super) fn close(&mut self) {
        self.ended = true;
    }

    /// Ends all mappings: returns the MUNMAPs, which the mappings do not send any more.
    pub(super) fn end(&mut self) -> impl Iterator<Item = CommandRequest> {
        let list = core::mem::replace(&mut self.list, KVec::new());
        list.into_iter().map(|entry| entry.1)
    }
}

/// Has the device map the plane at `offset`, and tells where it is and how many bytes, in whole pages.
///
/// # Errors
///
/// - `EINVAL`: a wrong offset, a device without shared memory.
/// - `EIO`: the device mapped the plane outside of its region.
/// - `ENOMEM`, and as any command.
pub(super) fn establish(session: &Session, offset: u32, flags: u32) -> Result<(Mapping, u64, u64)> {
    let device = session.device();
    let region = device.shm().ok_or(EINVAL)?;
    let command = CmdMmap::new(session.id(), flags, offset);
    let undo = Undo::Munmap(munmap_request()?);
    let (reply, undo) = device.command(&command, undo)?;
    let Undo::Munmap(mut munmap) = undo else {
        return Err(EIO);
    };
    set_mapping(&mut munmap, reply.driver_addr);
    let added = device.mappings().lock().add(munmap);
    let id = added.map_err(|munmap| {
        device.post(munmap);
        device.check().err().unwrap_or(ENOMEM)
    })?;
    let mapping = Mapping {
        device: device.clone(),
        id,
    };

    // The host maps whole pages, whatever the length of the plane.
    let len = usize::try_from(reply.len)
        .ok()
        .and_then(page_align)
        .ok_or(EIO)? as u64;
    let end = reply.driver_addr.checked_add(len).ok_or(EIO)?;
    let addr = region.addr.checked_add(reply.driver_addr).ok_or(EIO)?;
    if len == 0 || end > region.len || page_align(addr as usize) != Some(addr as usize) {
        return Err(EIO);
    }
    Ok((mapping, addr, len))
}

/// Maps the plane whose offset the area asks for.
///
/// # Errors
///
/// `EINVAL`: no such plane, a private mapping, or one longer than the plane; as [`establish`].
pub(super) fn map(session: &Session, vma: &mut Vma<'_>) -> Result {
    session.check()?;
    if !vma.is_shared() {
        return Err(EINVAL);
    }
    let plane = session.state().lock().streams.mappable_at(vma.offset());
    let plane = plane?;
    if let Some(pages) = session.lending().own_pages(&plane) {
        let keep = Arc::new((pages.clone(), plane.user), GFP_KERNEL_ACCOUNT)?;
        return vma.insert(&pages, 0, keep);
    }
    let offset = u32::try_from(plane.at).map_err(|_| EIO)?;
    let flags = if vma.is_writable() { MMAP_FLAG_RW } else { 0 };
    let (mapping, addr, len) = establish(session, offset, flags)?;
    if vma.len() as u64 > len {
        return Err(EINVAL);
    }
    let keep = Arc::new((mapping, plane.user), GFP_KERNEL_ACCOUNT)?;
    vma.map(session.device().memory(), addr, keep)
}
