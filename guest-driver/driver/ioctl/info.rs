// SPDX-License-Identifier: GPL-2.0

//! What the driver adds to, or takes from, the device's description of itself.

use super::args::payload;
use super::forward::forward;
use crate::driver::session::Session;
use crate::media::ioctl::number;
use crate::media::Request;
use crate::wire::v4l2::{
    Capability, FmtDesc, FrequencyBand, Modulator, StreamParm, Tuner, TUNER_CAP_RDS,
    TUNER_CAP_RDS_BLOCK_IO, TUNER_CAP_RDS_CONTROLS, TUNER_SUB_RDS,
};
use kernel::prelude::*;

/// The core fills in the other fields.
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

/// Reports no buffers for `read(2)`, which the driver does not have.
pub(super) fn without_read(request: &mut Request<'_>) -> Result {
    payload::<StreamParm>(request)?.buffers = 0;
    Ok(())
}

/// Takes RDS from a tuner, modulator or band: its blocks travel by `read(2)` and `write(2)`.
pub(super) fn without_rds(request: &mut Request<'_>) -> Result {
    const CAPABILITY: u32 = TUNER_CAP_RDS | TUNER_CAP_RDS_BLOCK_IO | TUNER_CAP_RDS_CONTROLS;
    match request.number {
        number::G_TUNER => {
            let tuner = payload::<Tuner>(request)?;
            tuner.capability &= !CAPABILITY;
            tuner.rxsubchans &= !TUNER_SUB_RDS;
        }
        number::G_MODULATOR => {
            let modulator = payload::<Modulator>(request)?;
            modulator.capability &= !CAPABILITY;
            modulator.txsubchans &= !TUNER_SUB_RDS;
        }
        _ => payload::<FrequencyBand>(request)?.capability &= !CAPABILITY,
    }
    Ok(())
}
