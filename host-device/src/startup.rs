// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Start-up order: arguments, log, settings, sockets, devices, signals, serve.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Cli;
use crate::config::{DeviceSpec, Limits, Place};
use crate::device::api::Device;
use crate::transport::{Endpoint, Stop, serve};
use crate::{counters, log, memory};

/// Makes the device that the command line asks for.
pub type Open = fn(&DeviceSpec) -> anyhow::Result<Arc<dyn Device>>;

/// The daemon, with the devices that `open` makes: serves until it is stopped.
pub fn main(open: Open) -> ExitCode {
    match run(&Cli::parse(), open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::last_words(&format!("virtio-v4l2d: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, open: Open) -> anyhow::Result<()> {
    if cli.print_capabilities {
        println!("{CAPABILITIES}");
        return Ok(());
    }
    let _log = log::start(cli.log.as_deref())?;
    let limits = Limits::new(cli)?;
    let (places, specs): (Vec<_>, Vec<_>) = DeviceSpec::all(cli)?.into_iter().unzip();
    // Before anything else opens files, so that the numbers are those that we were started with.
    let endpoints = endpoints(&places)?;
    let devices = specs.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    raise_file_limit();
    memory::probe_udmabuf();

    let runtime = Runtime::new().context("cannot start threads")?;
    let stops = devices
        .iter()
        .map(|_| Stop::new())
        .collect::<std::io::Result<Vec<_>>>()
        .context("cannot start")?;
    runtime.block_on(async { catch_signals(stops.clone()) })?;
    let served = endpoints.into_iter().zip(&devices).zip(&stops);
    let result = serve_all(served, limits, runtime.handle());
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

/// Has SIGTERM and SIGINT set `stops`, and SIGUSR1 log counts, in tasks of this runtime.
fn catch_signals(stops: Vec<Stop>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stops.iter().for_each(Stop::set);
    });
    let mut statistics = signal(SignalKind::user_defined1()).context("cannot catch SIGUSR1")?;
    tokio::spawn(async move {
        while statistics.recv().await.is_some() {
            counters::log_all();
        }
    });
    Ok(())
}

/// What `--print-capabilities` answers (QEMU, "vhost-user backend conventions").
const CAPABILITIES: &str = r#"{"type": "media", "features": []}"#;

/// How long calls that still run may take at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Every buffer of every session is an open file: takes as many as the system allows.
fn raise_file_limit() {
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
fn endpoints(places: &[Place]) -> anyhow::Result<Vec<Endpoint>> {
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
fn serve_all<'a>(
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
