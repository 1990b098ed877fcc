// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The devices, and [what a device is](api): each kind has a folder here, and an arm in [`open`].

use std::sync::Arc;

use anyhow::bail;

use crate::config::DeviceSpec;

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
/// There is no such device, a setting is wrong, or the host lacks what the device needs.
pub fn open(spec: &DeviceSpec) -> anyhow::Result<Arc<dyn Device>> {
    Ok(match spec.kind.as_str() {
        "encoder" => Arc::new(encoder::Encoder::from_spec(spec)?),
        "proxy" => Arc::new(proxy::Proxy::from_spec(spec)?),
        other => bail!("--device: there is no device {other:?}; there are: encoder, proxy"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_refused_by_name() {
        for kind in ["decoder", ""] {
            let spec = DeviceSpec {
                kind: kind.to_owned(),
                ..DeviceSpec::default()
            };
            let error = open(&spec).err().unwrap().to_string();
            assert!(error.contains(&format!("{kind:?}")), "{error}");
        }
    }
}
