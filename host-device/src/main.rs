// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Start-up order only: arguments, log, settings, device, socket, signals, serve.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use virtio_v4l2d::cli::Cli;
use virtio_v4l2d::config::{DeviceSpec, Limits};
use virtio_v4l2d::counters;
use virtio_v4l2d::device;
use virtio_v4l2d::log;
use virtio_v4l2d::startup;
use virtio_v4l2d::transport::Stop;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::last_words(&format!("virtio-v4l2d: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if cli.print_capabilities {
        println!("{}", startup::CAPABILITIES);
        return Ok(());
    }
    let _log = log::start(cli.log.as_deref())?;
    let limits = Limits::new(cli)?;
    let (places, specs): (Vec<_>, Vec<_>) = DeviceSpec::all(cli)?.into_iter().unzip();
    // Before anything else opens files, so that the numbers are those that we were started with.
    let endpoints = startup::endpoints(&places)?;
    let devices = specs
        .iter()
        .map(device::open)
        .collect::<anyhow::Result<Vec<_>>>()?;
    startup::raise_file_limit();
    virtio_v4l2d::memory::probe_udmabuf();

    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let stops = devices
        .iter()
        .map(|_| Stop::new())
        .collect::<std::io::Result<Vec<_>>>()
        .context("cannot start")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let stops = stops.clone();
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
        anyhow::Ok(())
    })?;
    let served = endpoints.into_iter().zip(&devices).zip(&stops);
    let result = startup::serve_all(served, limits, runtime.handle());
    runtime.shutdown_timeout(startup::SHUTDOWN_TIMEOUT);
    result
}
