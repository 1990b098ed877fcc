// SPDX-License-Identifier: GPL-2.0

//! EXPBUF: MMAP buffers as dmabufs.
//!
//! A dmabuf has the memory of its buffer, not the buffer: it stays when the buffer is freed and
//! when its session is closed. If the device has given it a UUID, it is a virtio dmabuf, which can
//! be queued to this device, and others of the host, as an object.

use super::args::payload;
use super::forward::exchange;
use crate::driver::memory::{establish, Mapping};
use crate::driver::queue::{Mappable, User};
use crate::driver::session::Session;
use crate::media::export::{export, Export, Place};
use crate::media::ioctl::number;
use crate::media::pages::OwnPages;
use crate::media::Request;
use crate::wire::command::MMAP_FLAG_RW;
use crate::wire::v4l2::ExportBuffer;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::IntoBytes;

/// `O_ACCMODE`.
const ACCESS_MODE: u32 = kernel::bindings::O_ACCMODE;
/// `O_CLOEXEC`.
const CLOSE_ON_EXEC: u32 = kernel::bindings::O_CLOEXEC;

/// Memory of a plane.
enum Memory {
    /// Pages of the driver's own.
    Own(Arc<OwnPages>),
    /// Memory of the device.
    Mapped {
        mapping: Mapping,
        addr: u64,
        uuid: Option<[u8; 16]>,
    },
}

/// What a dmabuf has.
struct Exported {
    memory: Memory,
    _user: User,
}

impl Export for Exported {
    fn place(&self) -> Place<'_> {
        match &self.memory {
            Memory::Own(pages) => Place::Pages(pages),
            Memory::Mapped { mapping, addr, .. } => Place::Device(mapping.memory(), *addr),
        }
    }

    fn uuid(&self) -> Option<[u8; 16]> {
        match &self.memory {
            Memory::Own(_) => None,
            Memory::Mapped { uuid, .. } => *uuid,
        }
    }
}

/// Runs EXPBUF.
///
/// # Errors
///
/// - `EINVAL`: no such plane, not an MMAP buffer, unknown flags.
/// - `EMFILE`: the process has too many files.
/// - `ENOMEM`; the device's; as any command.
pub(super) fn expbuf(session: &Session, request: &mut Request<'_>) -> Result {
    let wanted = *payload::<ExportBuffer>(request)?;
    if wanted.flags & !(ACCESS_MODE | CLOSE_ON_EXEC) != 0 {
        return Err(EINVAL);
    }
    let _passing = session.gate().pass()?;
    let mut state = session.state().lock();
    let (buf_type, plane) = (wanted.type_, wanted.plane as usize);
    let plane = state.streams.mappable(buf_type, wanted.index, plane);
    drop(state);
    let plane = plane?;

    let own = session
        .imports()
        .own_pages(plane.buf_type, plane.index, plane.plane);
    let (memory, size) = match own {
        Some(pages) => {
            let size = pages.count() * PAGE_SIZE;
            (Memory::Own(pages), size)
        }
        None => mapped(session, &wanted, &plane)?,
    };
    if size < plane.length as usize {
        return Err(EIO);
    }
    let exported = Exported {
        memory,
        _user: plane.user,
    };
    let exported = Arc::new(exported, GFP_KERNEL_ACCOUNT)?;
    let access = wanted.flags & ACCESS_MODE;
    let dmabuf = export(exported, size, access)?;
    let fd = dmabuf.into_fd(wanted.flags & CLOSE_ON_EXEC)?;
    payload::<ExportBuffer>(request)?.fd = fd;
    Ok(())
}

/// A plane of the device's memory, and its size in whole pages.
fn mapped(session: &Session, wanted: &ExportBuffer, plane: &Mappable) -> Result<(Memory, usize)> {
    let mut export = *wanted;
    export.fd = 0;
    let mut uuid = [0; 16];
    let mut request = Request {
        number: number::EXPBUF,
        payload: export.as_mut_bytes(),
        array: &mut uuid,
        nonblocking: false,
    };
    let uuid = match exchange(session, &mut request, &[], KVec::new()) {
        Ok(_) => Some(uuid),
        // It does not give its buffers to others, but here they can be shared.
        Err(error) if error == ENOTTY => None,
        Err(error) => return Err(error),
    };
    let at = u32::try_from(plane.at).map_err(|_| EIO)?;
    // Writable whatever the client's file is: other drivers that import it do not ask.
    let (mapping, addr, len) = establish(session.device(), session.id(), at, MMAP_FLAG_RW)?;
    let memory = Memory::Mapped {
        mapping,
        addr,
        uuid,
    };
    Ok((memory, len as usize))
}
