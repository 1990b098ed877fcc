// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Ioctls with more than a payload: planes, controls, EDID blocks, memory of the guest.

use nix::errno::Errno;
use protocol::wire::ioctl::{self, Ioctl};
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::{
    Buffer, Edid, ExportBuffer, ExtControl, ExtControls, MEMORY_DMABUF, MEMORY_MMAP,
    MEMORY_USERPTR, Plane, VIDEO_MAX_PLANES, is_multiplanar,
};
use zerocopy::{FromBytes, IntoBytes};

use super::failure::{Failure, HEADER};
use crate::device::api::{BufferArgs, ControlArgs, ControlOp, Result, Session, WireMemory};

/// QUERYBUF, QBUF, PREPARE_BUF. Returns the UUIDs of virtio objects, which stand in the response
/// too. `Slow` if it is to be `quick` and the session says that it is not.
pub(super) fn buffer(
    session: &mut dyn Session,
    ioctl: &'static Ioctl,
    payload: &mut [u8],
    array: &mut [u8],
    rest: &[u8],
    (capacity, quick): (usize, bool),
) -> std::result::Result<Vec<Uuid>, Failure> {
    let sent = Buffer::read_from_bytes(payload).map_err(|_| Errno::EINVAL)?;
    let mut storage = [Plane::default(); VIDEO_MAX_PLANES];
    let planes_sent = storage
        .get_mut(..array.len() / size_of::<Plane>())
        .ok_or(Errno::EINVAL)?;
    planes_sent.as_mut_bytes().copy_from_slice(array);

    let memory = if ioctl.code == ioctl::QUERYBUF {
        WireMemory::Nothing
    } else {
        memory_sent(&sent, planes_sent, rest)?
    };
    let uuids = match &memory {
        WireMemory::Objects(uuids) => uuids.clone(),
        WireMemory::Nothing | WireMemory::Pages(_) => Vec::new(),
    };
    if capacity < HEADER + payload.len() + array.len() + uuids.as_bytes().len() {
        return Err(Errno::EINVAL.into());
    }

    let mut buffer = sent;
    let mut planes = [Plane::default(); VIDEO_MAX_PLANES];
    let planes = planes.get_mut(..planes_sent.len()).ok_or(Errno::EINVAL)?;
    planes.copy_from_slice(planes_sent);
    let args = BufferArgs {
        buffer: &mut buffer,
        planes,
        memory,
    };
    if quick && ioctl.code != ioctl::QUERYBUF && !session.is_quick(&args) {
        return Err(Failure::Slow);
    }
    match ioctl.code {
        ioctl::QBUF => session.qbuf(args),
        ioctl::PREPARE_BUF => session.prepare_buf(args),
        _ => session.querybuf(args),
    }?;

    restore_pointers((&mut buffer, planes), (&sent, planes_sent));
    buffer.write_to(payload).map_err(|_| Errno::EINVAL)?;
    planes.write_to(array).map_err(|_| Errno::EINVAL)?;
    Ok(uuids)
}

/// What the guest has put behind the planes of a buffer.
fn memory_sent(buffer: &Buffer, planes: &[Plane], rest: &[u8]) -> Result<WireMemory> {
    if is_multiplanar(buffer.type_) {
        wire_memory(buffer.memory, planes.iter().map(|plane| plane.length), rest)
    } else {
        wire_memory(buffer.memory, std::iter::once(buffer.length), rest)
    }
}

/// Pointers go back as they came. Offsets of the device's own buffers are its answer.
fn restore_pointers(
    (buffer, planes): (&mut Buffer, &mut [Plane]),
    (sent, planes_sent): (&Buffer, &[Plane]),
) {
    let own = buffer.memory == MEMORY_MMAP;
    if is_multiplanar(sent.type_) || !own {
        buffer.m = sent.m;
    }
    if !own {
        for (plane, sent) in planes.iter_mut().zip(planes_sent) {
            plane.m = sent.m;
        }
    }
}

/// What stands behind planes of the given lengths, by memory type. An unknown type is the session's
/// to refuse.
fn wire_memory(
    memory: u32,
    mut lengths: impl ExactSizeIterator<Item = u32>,
    mut rest: &[u8],
) -> Result<WireMemory> {
    match memory {
        MEMORY_USERPTR => lengths
            .map(|length| pages(length, &mut rest))
            .collect::<Result<_>>()
            .map(WireMemory::Pages),
        MEMORY_DMABUF => lengths
            .try_fold(Vec::new(), |mut uuids, _| {
                let (uuid, tail) = Uuid::read_from_prefix(rest).map_err(|_| Errno::EINVAL)?;
                rest = tail;
                uuids.push(uuid);
                Ok(uuids)
            })
            .map(WireMemory::Objects),
        _ => Ok(WireMemory::Nothing),
    }
}

/// Takes the SG entries that cover `length` bytes off `rest`. Their number is bounded by the
/// command's size.
fn pages(length: u32, rest: &mut &[u8]) -> Result<Vec<SgEntry>> {
    let mut entries = Vec::new();
    let mut covered = 0;
    while covered < u64::from(length) {
        let (entry, tail) = SgEntry::read_from_prefix(rest).map_err(|_| Errno::EINVAL)?;
        if entry.len == 0 {
            return Err(Errno::EINVAL);
        }
        *rest = tail;
        covered += u64::from(entry.len);
        entries.push(entry);
    }
    Ok(entries)
}

/// G_EXT_CTRLS, S_EXT_CTRLS, TRY_EXT_CTRLS. Leaves header and controls in place on failure too.
pub(super) fn controls(
    session: &mut dyn Session,
    ioctl: &'static Ioctl,
    payload: &mut [u8],
    array: &mut [u8],
    mut rest: &[u8],
) -> Result {
    let sent = ExtControls::read_from_bytes(payload).map_err(|_| Errno::EINVAL)?;
    let mut controls = vec![ExtControl::default(); array.len() / size_of::<ExtControl>()];
    controls.as_mut_bytes().copy_from_slice(array);
    let payloads = controls
        .iter()
        .map(|control| pages(control.size, &mut rest))
        .collect::<Result<_>>()?;
    let pointers: Vec<(bool, [u32; 2])> = controls
        .iter()
        .map(|control| (control.size != 0, control.value))
        .collect();

    let mut header = sent;
    let op = match ioctl.code {
        ioctl::S_EXT_CTRLS => ControlOp::Set,
        ioctl::TRY_EXT_CTRLS => ControlOp::Try,
        _ => ControlOp::Get,
    };
    let result = session.ext_ctrls(
        op,
        ControlArgs {
            header: &mut header,
            controls: &mut controls,
            payloads,
        },
    );

    // The pointers of the driver mean nothing here and go back as they came, and so does the count.
    header.controls = sent.controls;
    header.count = sent.count;
    for (control, (is_pointer, value)) in controls.iter_mut().zip(pointers) {
        if is_pointer {
            control.value = value;
        }
    }
    header.write_to(payload).map_err(|_| Errno::EINVAL)?;
    controls.write_to(array).map_err(|_| Errno::EINVAL)?;
    result
}

/// G_EDID, S_EDID: `body` is the payload and the blocks.
pub(super) fn edid(session: &mut dyn Session, ioctl: &'static Ioctl, body: &mut [u8]) -> Result {
    let (sent, _) = Edid::read_from_prefix(body).map_err(|_| Errno::EINVAL)?;
    let result = session.other(ioctl, body);
    let (mut answer, _) = Edid::read_from_prefix(body).map_err(|_| Errno::EINVAL)?;
    answer.edid = sent.edid;
    answer.write_to_prefix(body).map_err(|_| Errno::EINVAL)?;
    result
}

/// EXPBUF: a UUID stands in for the file descriptor, whose placeholder stays as it is.
pub(super) fn export(
    session: &mut dyn Session,
    payload: &mut [u8],
    rest: &[u8],
    capacity: usize,
) -> Result<Uuid> {
    let mut export = ExportBuffer::read_from_bytes(payload).map_err(|_| Errno::EINVAL)?;
    let fd = export.fd;
    // The driver need not send the placeholder, but it must provide a buffer for the answer.
    let mut uuid = Uuid::read_from_prefix(rest).map_or_else(|_| Uuid::default(), |(uuid, _)| uuid);
    session.expbuf(&mut export, &mut uuid)?;
    if capacity < HEADER + payload.len() + size_of::<Uuid>() {
        return Err(Errno::EINVAL);
    }
    export.fd = fd;
    export.write_to(payload).map_err(|_| Errno::EINVAL)?;
    Ok(uuid)
}
