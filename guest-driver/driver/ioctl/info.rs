// SPDX-License-Identifier: GPL-2.0

//! What the driver changes in what the device says of itself.

use super::args::payload;
use super::forward::forward;
use crate::driver::session::Session;
use crate::media::ioctl::number;
use crate::media::Request;
use crate::wire::v4l2::{FmtDesc, StreamParm};
use kernel::prelude::*;
use zerocopy::FromBytes;

/// `struct v4l2_capability`, whose other fields the core fills in.
#[derive(zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes, zerocopy_derive::KnownLayout)]
#[repr(C)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    rest: [u32; 14],
}

pub(super) fn querycap(session: &Session, request: &mut Request<'_>) -> Result {
    let config = session.channel().config();
    let capability = payload::<Capability>(request)?;
    capability.driver = *b"virtio_v4l2\0\0\0\0\0";
    capability.card = config.card;
    // The field of the configuration need not be terminated, this one must.
    capability.card[31] = 0;
    Ok(())
}

pub(super) fn enum_fmt(session: &Session, request: &mut Request<'_>) -> Result {
    forward(session, request)?;
    let format = payload::<FmtDesc>(request)?;
    // The core replaces the description of the formats that it knows, and takes it for a bug
    // (`WARN`) if one that it does not know has none.
    if format.description[0] == 0 {
        let code = format.pixelformat.to_le_bytes();
        format.description = [0; 32];
        for (to, from) in format.description.iter_mut().zip(code) {
            *to = if from.is_ascii_graphic() { from } else { b'?' };
        }
    }
    Ok(())
}

/// There is no `read(2)`, which buffers in the kernel would be for.
pub(super) fn without_read(payload: &mut [u8]) -> Result {
    StreamParm::mut_from_bytes(payload)
        .map_err(|_| EINVAL)?
        .buffers = 0;
    Ok(())
}

/// Takes RDS from a tuner, modulator or band: its blocks travel by `read(2)` and `write(2)`.
pub(super) fn without_rds(number: u32, payload: &mut [u8]) -> Result {
    /// `V4L2_TUNER_CAP_RDS*`.
    const CAPABILITY: u32 = 0x0380;
    /// `V4L2_TUNER_SUB_RDS`.
    const SUBCHANNEL: u32 = 0x0010;
    let words: &[(usize, u32)] = match number {
        number::G_TUNER => &[(40, CAPABILITY), (52, SUBCHANNEL)],
        number::G_MODULATOR => &[(36, CAPABILITY), (48, SUBCHANNEL)],
        _ => &[(12, CAPABILITY)],
    };
    for (at, mask) in words {
        let word = payload.get_mut(*at..*at + 4).ok_or(EINVAL)?;
        let word = u32::mut_from_bytes(word).map_err(|_| EINVAL)?;
        *word &= !mask;
    }
    Ok(())
}
