// SPDX-License-Identifier: GPL-2.0

//! Analogue standards.
//!
//! The V4L2 core lists a node's standards by itself, and passes no others to S_STD: it must know them before there is a
//! file.

use super::command::{close_request, set_session, Lent, Patience, Undo};
use super::device::MediaDevice;
use crate::media::{Direction, Node};
use crate::wire::command::{CmdIoctl, CmdOpen, RespIoctl};
use crate::wire::config::DeviceType;
use crate::wire::ioctl::ENUMSTD;
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// There are 64 of them, and three names for several.
const MAX_STANDARDS: u32 = 67;

/// `struct v4l2_standard`.
#[derive(
    Default,
    zerocopy_derive::FromBytes,
    zerocopy_derive::IntoBytes,
    zerocopy_derive::Immutable,
    zerocopy_derive::KnownLayout,
)]
#[repr(C)]
struct Standard {
    index: u32,
    pad: u32,
    id: u64,
    rest: [u64; 7],
}

/// All standards (`V4L2_STD_*`) that the device has; 0 if it has none, or does not say.
pub(super) fn of(device: &MediaDevice, node: &Node) -> u64 {
    let kinds = [DeviceType::Video as u32, DeviceType::Vbi as u32];
    if node.direction == Direction::M2m || !kinds.contains(&node.kind) {
        return 0;
    }
    ask(device).unwrap_or(0)
}

fn ask(device: &MediaDevice) -> Result<u64> {
    let (reply, undo) = device.command(&CmdOpen::new(), Undo::Close(close_request()?))?;
    let session = reply.session_id;
    let mut norms = 0;
    for index in 0..MAX_STANDARDS {
        match standard(device, session, index) {
            Ok(id) => norms |= id,
            Err(_) => break,
        }
    }
    if let Undo::Close(mut close) = undo {
        set_session(&mut close, session);
        device.post(close);
    }
    Ok(norms)
}

fn standard(device: &MediaDevice, session: u32, index: u32) -> Result<u64> {
    let mut bytes = KVVec::new();
    bytes.extend_from_slice(CmdIoctl::new(session, ENUMSTD).as_bytes(), GFP_KERNEL)?;
    let asked = Standard {
        index,
        ..Default::default()
    };
    bytes.extend_from_slice(asked.as_bytes(), GFP_KERNEL)?;
    let room = size_of::<RespIoctl>() + size_of::<Standard>();
    let (completed, _) = device.call(bytes, room, Lent::new(), Undo::No, Patience::UntilKilled)?;
    let reply = completed.reply()?;
    super::command::status(reply)?;
    let payload = reply.get(size_of::<RespIoctl>()..).unwrap_or_default();
    let (standard, _) = Standard::read_from_prefix(payload).map_err(|_| EIO)?;
    Ok(standard.id)
}
