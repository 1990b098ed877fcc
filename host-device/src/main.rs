// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Start-up order only: arguments, log, settings, device, socket, signals, serve.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use virtio_v4l2d::cli::Cli;
use virtio_v4l2d::config::{DeviceSpec, Limits};
use virtio_v4l2d::counters;
use virtio_v4l2d::device::{self, Device};
use virtio_v4l2d::startup;
use virtio_v4l2d::transport::{Endpoint, Stop, serve};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtio-v4l2d: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if cli.print_capabilities {
        println!("{}", startup::CAPABILITIES);
        return Ok(());
    }
    startup::log(cli.log.as_deref())?;
    let limits = Limits::new(cli)?;
    let spec = DeviceSpec::new(cli)?;
    // Before anything else opens files, so that the number is the one that we were started with.
    let endpoint = match (&cli.socket_path, cli.fd) {
        (Some(path), _) => Endpoint::bind(path)?,
        (None, fd) => Endpoint::inherit(fd.unwrap_or_default())?,
    };
    let device: Arc<dyn Device> = device::open(&spec)?;
    startup::raise_file_limit();
    virtio_v4l2d::memory::probe_udmabuf();

    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let stop = Stop::new().context("cannot start")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
            stop.set();
        });
        let mut statistics = signal(SignalKind::user_defined1()).context("cannot catch SIGUSR1")?;
        tokio::spawn(async move {
            while statistics.recv().await.is_some() {
                counters::log_all();
            }
        });
        anyhow::Ok(())
    })?;
    let result = serve(endpoint, &device, limits, runtime.handle(), &stop);
    runtime.shutdown_timeout(startup::SHUTDOWN_TIMEOUT);
    result
}
