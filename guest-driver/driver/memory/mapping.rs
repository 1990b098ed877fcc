// SPDX-License-Identifier: GPL-2.0

//! Buffers that the device has mapped into its shared memory region.

use super::device::DeviceMemory;
use crate::driver::channel::{munmap_request, set_mapping, Undo};
use crate::media::revocable::Revocable;
use crate::wire::command::CmdMmap;
use kernel::page::page_align;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A buffer that the device has mapped into its shared memory region. Dropping it has the device
/// unmap it.
///
/// A mapping belongs to areas of process memory or to a dmabuf, not to the session: it stays when
/// the buffer is freed, and when the session is closed.
pub(in crate::driver) struct Mapping {
    device: Arc<DeviceMemory>,
    id: u64,
}

impl Mapping {
    /// The device's memory, which it is part of.
    pub(in crate::driver) fn memory(&self) -> &Arc<Revocable> {
        self.device.revocable()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let munmap = self.device.mappings().lock().remove(self.id);
        if let Some(munmap) = munmap {
            self.device.channel().post(munmap);
        }
    }
}

/// Has the device map the plane of that `session` which it calls `offset`. Returns the mapping,
/// where it is in guest-physical memory, and its length in bytes, which are whole pages.
///
/// # Errors
///
/// - `EINVAL`: a wrong offset, a device without shared memory.
/// - `EIO`: the device mapped the plane outside of its region.
/// - `ENOMEM`, and as any command.
pub(in crate::driver) fn establish(
    device: &Arc<DeviceMemory>,
    session: u32,
    offset: u32,
    flags: u32,
) -> Result<(Mapping, u64, u64)> {
    let channel = device.channel();
    let region = device.shm().ok_or(EINVAL)?;
    let command = CmdMmap::new(session, flags, offset);
    let undo = Undo::Munmap(munmap_request()?);
    let (reply, undo) = channel.command(&command, undo)?;
    let Undo::Munmap(mut munmap) = undo else {
        return Err(EIO);
    };
    set_mapping(&mut munmap, reply.driver_addr);
    let added = device.mappings().lock().add(munmap);
    let id = added.map_err(|munmap| {
        channel.post(munmap);
        channel.check().err().unwrap_or(ENOMEM)
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
