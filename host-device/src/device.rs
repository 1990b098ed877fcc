// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The devices, and [what a device is](api): each kind has a folder here, and an arm in [`open`].

use std::sync::Arc;

use crate::config::{DeviceKind, DeviceSpec};

pub mod api;
pub mod codec;
pub mod encoder;
pub mod gst;
mod import;
pub mod proxy;
mod sessions;

pub use api::{BufferArgs, ControlArgs, ControlOp, Device, Result, Session, WireMemory};

/// Opens the device that the command line asks for.
///
/// # Errors
///
/// A setting is wrong, or the host lacks what the device needs.
pub fn open(spec: &DeviceSpec) -> anyhow::Result<Arc<dyn Device>> {
    Ok(match spec.kind {
        DeviceKind::Encoder => Arc::new(encoder::Encoder::from_spec(spec)?),
        DeviceKind::Proxy => Arc::new(proxy::Proxy::from_spec(spec)?),
    })
}
