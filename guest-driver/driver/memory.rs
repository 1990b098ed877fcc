// SPDX-License-Identifier: GPL-2.0

//! Buffers of the device in the memory of processes.

use super::command::{munmap_request, set_mapping, CommandRequest, Undo};
use super::device::MediaDevice;
use super::session::Session;
use crate::media::Vma;
use crate::wire::command::{CmdMmap, MMAP_FLAG_RW};
use kernel::page::page_align;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A buffer that the device has mapped into its shared memory region. Dropping it tells the device to take it out
/// again.
///
/// A mapping belongs to areas of process memory, not to the session: it stays when the buffer is freed. (The
/// session cannot be closed before, as an area keeps its file open.)
struct Mapping {
    device: Arc<MediaDevice>,
    munmap: Option<CommandRequest>,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(munmap) = self.munmap.take() {
            self.device.post(munmap);
        }
    }
}

/// Maps the plane whose offset the area asks for.
///
/// # Errors
///
/// - `EINVAL`: a private mapping, a wrong offset, an area longer than the plane, a device without shared memory.
/// - `EIO`: the device mapped the plane outside of its region.
/// - `ENOMEM`, and as any command.
pub(super) fn map(session: &Session, vma: &mut Vma<'_>) -> Result {
    session.check()?;
    let device = session.device();
    let region = device.shm().ok_or(EINVAL)?;
    if !vma.is_shared() {
        return Err(EINVAL);
    }
    let offset = u32::try_from(vma.offset()).map_err(|_| EINVAL)?;
    let flags = if vma.is_writable() { MMAP_FLAG_RW } else { 0 };

    let munmap = munmap_request()?;
    let command = CmdMmap::new(session.id(), flags, offset);
    let (reply, undo) = device.command(&command, Undo::Munmap(munmap))?;
    let mut mapping = Mapping {
        device: device.clone(),
        munmap: match undo {
            Undo::Munmap(munmap) => Some(munmap),
            _ => None,
        },
    };
    if let Some(munmap) = &mut mapping.munmap {
        set_mapping(munmap, reply.driver_addr);
    }

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
    if vma.len() as u64 > len {
        return Err(EINVAL);
    }
    let mapping = Arc::new(mapping, GFP_KERNEL)?;
    vma.map(addr, mapping)
}
