// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The daemon on the host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::machine::{Devices, Spec};
use crate::parts::until_our_end;
use crate::process;

/// How long it has until it listens.
const LISTENS: Duration = Duration::from_secs(10);
/// How long it has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A daemon that listens. Dropped, it is ended.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    pid: u32,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon of `spec`, with its sockets where `socket` says; returns when it listens.
    /// `None` if the machine has no device, or another's daemon.
    ///
    /// # Errors
    ///
    /// There is no daemon, or it does not listen.
    pub fn start(
        spec: &Spec,
        socket: impl Fn(&str) -> PathBuf,
        log: &Path,
    ) -> Result<Option<Self>> {
        let mut arguments = Vec::new();
        let mut sockets = Vec::new();
        match &spec.devices {
            Devices::None | Devices::Socket(_) => return Ok(None),
            Devices::One => {
                let socket = socket("media");
                arguments.push("--socket-path".to_owned());
                arguments.push(socket.to_string_lossy().into_owned());
                sockets.push(socket);
            }
            Devices::Many(devices) => {
                for (name, device) in devices {
                    let socket = socket(name);
                    arguments.push("--device".to_owned());
                    arguments.push(format!("{device},socket={}", socket.display()));
                    sockets.push(socket);
                }
            }
        }
        let mut daemon = Self::run(spec, &arguments, log)?;
        daemon.listens(&sockets)?;
        Ok(Some(daemon))
    }

    fn run(spec: &Spec, arguments: &[String], log: &Path) -> Result<Self> {
        if !spec.daemon.exists() {
            bail!("no daemon at {}; run: make", spec.daemon.display());
        }
        let file = File::create(log)?;
        let mut command = until_our_end(&spec.daemon);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "info");
        }
        let child = command
            .envs(spec.daemon_env.iter().map(|(name, value)| (name, value)))
            .args(arguments)
            .args(&spec.daemon_args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("setpriv (package util-linux)")?;
        Ok(Self {
            pid: child.id(),
            child: Some(child),
            log: log.to_owned(),
        })
    }

    fn listens(&mut self, sockets: &[PathBuf]) -> Result<()> {
        let deadline = Instant::now() + LISTENS;
        while let Some(missing) = sockets.iter().find(|socket| !socket.exists()) {
            let child = self.child.as_mut().context("it has been ended")?;
            if child.try_wait()?.is_some() {
                bail!("the daemon ended before it listened:\n{}", self.log());
            }
            if Instant::now() >= deadline {
                let limit = LISTENS.as_secs();
                bail!(
                    "the daemon does not listen on {} after {limit} s",
                    missing.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its log is.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            process::signal(child, signal);
        }
    }

    /// Ends it: by SIGTERM, or SIGKILL after some seconds. Returns its exit status.
    pub fn end(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        // A test may have stopped it.
        process::signal(&child, Signal::SIGCONT);
        process::end(&mut child, "the daemon", GRACE);
        child.wait().ok()?.code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
