// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What `main` sets up for the process.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Handle;

use crate::config::{Limits, Place};
use crate::device::api::Device;
use crate::transport::{Endpoint, Stop, serve};

/// What `--print-capabilities` answers (QEMU, "vhost-user backend conventions").
pub const CAPABILITIES: &str = r#"{"type": "media", "features": []}"#;

/// How long calls that still run may take at the end.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Every buffer of every session is an open file: takes as many as the system allows.
pub fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
}

/// The sockets of all devices, in their order. What was passed on comes first: a socket that is
/// made must not take its number.
///
/// # Errors
///
/// Says which cannot be used, why, and what to do.
pub fn endpoints(places: &[Place]) -> anyhow::Result<Vec<Endpoint>> {
    let mut passed_on = Vec::new();
    for place in places {
        if let Place::Fd(fd) = place {
            passed_on.push(Endpoint::inherit(*fd)?);
        }
    }
    let mut passed_on = passed_on.into_iter();
    places
        .iter()
        .map(|place| match place {
            Place::Path(path) => Endpoint::bind(path),
            Place::Fd(_) => passed_on.next().context("a socket was passed on"),
        })
        .collect()
}

/// Serves each device on a thread of its own, until all have ended: one that fails ends no other.
///
/// # Errors
///
/// What the first of them failed with, if any did.
pub fn serve_all<'a>(
    devices: impl Iterator<Item = ((Endpoint, &'a Arc<dyn Device>), &'a Stop)>,
    limits: Limits,
    runtime: &Handle,
) -> anyhow::Result<()> {
    let devices: Vec<_> = devices.collect();
    let account = limits.account(devices.len());
    let account = &account;
    thread::scope(|scope| {
        let mut result = Ok(());
        let mut threads = Vec::new();
        for ((endpoint, device), stop) in devices {
            let started = thread::Builder::new()
                .name("device".to_owned())
                .spawn_scoped(scope, move || {
                    let _span = tracing::info_span!("device", socket = %endpoint).entered();
                    serve(endpoint, device, (limits, account), runtime, stop).inspect_err(|error| {
                        tracing::error!("a device is not served on: {error:#}")
                    })
                });
            match started {
                Ok(thread) => threads.push(thread),
                Err(error) => result = Err(error).context("cannot start a thread"),
            }
        }
        for thread in threads {
            let served = thread.join().unwrap_or_else(|_| {
                Err(anyhow::anyhow!(
                    "a device's thread panicked, please report it"
                ))
            });
            result = result.and(served);
        }
        result
    })
}
