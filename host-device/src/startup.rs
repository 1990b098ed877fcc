// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What `main` sets up for the process.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// What `--print-capabilities` answers (QEMU, "vhost-user backend conventions").
pub const CAPABILITIES: &str = r#"{"type": "media", "features": []}"#;

/// How long calls that still run may take at the end.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the log on standard error. `filter` stands before `RUST_LOG`, and that before `info`.
///
/// # Errors
///
/// `filter` is not one.
pub fn log(filter: Option<&str>) -> anyhow::Result<()> {
    let directives = filter
        .map(str::to_owned)
        .or_else(|| std::env::var("RUST_LOG").ok())
        .filter(|directives| !directives.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    // The guest can make it log an error for every kick.
    let quiet: Directive = "virtio_queue=off".parse().context("log filter")?;
    let filter = EnvFilter::builder()
        .parse(&directives)
        .map_err(|_| anyhow::anyhow!("--log: {directives:?} is no filter; try info or debug"))?
        .add_directive(quiet);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Every buffer of every session is an open file: takes as many as the system allows.
pub fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
}
