// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Pairs without a guest: a driver in a process of this host, and the encoder alone.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use e2e::daemon::Daemon;
use e2e::fixtures::{self, Size};
use e2e::process::say;
use e2e::{Devices, Spec};

use super::alone::{Alone, Encoder};
use super::cases::path_first;
use super::{Bench, SIZES, WARMUP, frames_name, timed};

/// A driver in a process of its own, and the daemon that it talks to.
#[derive(Clone, Debug)]
pub struct Driver {
    /// bench-path, and further words before its arguments.
    pub command: Vec<String>,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The daemon's process.
    pub pid: u32,
    /// Where the raw frames are.
    pub frames: PathBuf,
    /// Further arguments.
    pub more: Vec<String>,
    /// Frames before those that are timed.
    pub warmup: u32,
}

impl Driver {
    /// Encodes `frames` frames and adds a line of JSON to the file `to`.
    ///
    /// # Errors
    ///
    /// The program fails.
    pub fn run(&self, label: &str, size: Size, frames: u32, to: &Path) -> Result<()> {
        let source = self.frames.join(frames_name(size));
        let mut arguments = self.command[1..].to_vec();
        arguments.extend([
            format!("label={label}"),
            format!("socket={}", self.socket.display()),
            format!("pid={}", self.pid),
            format!("size={size}"),
            format!("source={}", source.display()),
            format!("warmup={}", self.warmup),
            format!("frames={frames}"),
            "depth=4".to_owned(),
        ]);
        arguments.extend(self.more.iter().cloned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = fixtures::run(&self.command[0], &arguments)?;
        let mut file = OpenOptions::new().create(true).append(true).open(to)?;
        Ok(file.write_all(said.as_bytes())?)
    }

    /// So many pairs of this and the encoder alone, whose results go to `to`.
    ///
    /// # Errors
    ///
    /// A program fails.
    pub fn in_turns(&self, alone: &Alone, pairs: usize, size: Size, to: &Path) -> Result<()> {
        let (path, host) = (to.join("bench.jsonl"), to.join("host-only.jsonl"));
        for number in 1..=pairs {
            let label = format!("pair-{size}-{number}");
            if !path_first(number) {
                alone.run(&label, &host)?;
            }
            self.run(&label, size, timed(size), &path)?;
            if path_first(number) {
                alone.run(&label, &host)?;
            }
        }
        Ok(())
    }
}

/// A daemon on core 0, with encoders of one thread, which go to core 1 when they are there.
#[derive(Debug)]
pub struct Pinned {
    /// The daemon.
    pub daemon: Daemon,
    /// Its log.
    pub log: PathBuf,
    /// Its socket, and the raw frames.
    pub work: tempfile::TempDir,
}

impl Pinned {
    /// Starts it. Its log goes to `log`.
    ///
    /// # Errors
    ///
    /// It does not start, or there are no frames.
    pub fn start(log: PathBuf) -> Result<Self> {
        let work = tempfile::tempdir()?;
        for size in SIZES {
            std::os::unix::fs::symlink(super::frames(size)?, work.path().join(frames_name(size)))?;
        }
        let spec = Spec {
            devices: Devices::One,
            daemon_args: vec!["--device=encoder,threads=1".to_owned()],
            ..Spec::default()
        };
        let socket = |_: &str| work.path().join("socket");
        let daemon = Daemon::start(&spec, socket, &log)?;
        let daemon = anyhow::Context::context(daemon, "no daemon")?;
        fixtures::run("taskset", &["-acp", "0", &daemon.pid().to_string()])?;
        Ok(Self { daemon, log, work })
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.work.path().join("socket")
    }

    /// The encoder alone, as its log tells of it.
    pub fn alone(&self, bench: &Bench) -> Alone {
        Alone {
            encoder: Encoder::Element {
                log: self.log.clone(),
            },
            programs: bench.programs.clone(),
            frames: self.work.path().to_owned(),
        }
    }
}

/// The run `path`.
///
/// # Errors
///
/// A program fails.
pub fn run(bench: &Bench) -> Result<()> {
    let out = bench.raw("path");
    std::fs::create_dir_all(&out)?;
    let pinned = Pinned::start(out.join("daemon.log"))?;
    let program = bench.programs.join("bench-path");
    let driver = Driver {
        command: ["taskset", "-c", "0", &program.to_string_lossy()]
            .map(str::to_owned)
            .to_vec(),
        socket: pinned.socket(),
        pid: pinned.daemon.pid(),
        frames: pinned.work.path().to_owned(),
        more: Vec::new(),
        warmup: WARMUP,
    };
    for size in SIZES {
        say(&format!("path: {} pairs at {size}, no guest", bench.pairs));
        // For the line in the daemon's log.
        driver.run(&format!("first-{size}"), size, 24, &out.join("bench.jsonl"))?;
        driver.in_turns(&pinned.alone(bench), bench.pairs, size, &out)?;
    }
    Ok(())
}
