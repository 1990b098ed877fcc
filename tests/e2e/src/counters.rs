// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a frame costs, counted on the host when the program in the guest asks for it.
//!
//! `bench` (`tests/bench/guest`) makes a file `/out/ask.*` with two words, what it asks for and the
//! label of its case, and waits for a file of the same name and `.done`. Answers are lines of
//! `/out/host.txt`: LABEL WHAT VALUE.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process;

mod counts;
pub mod threads;

pub use counts::{Notes, Stats, Window, strace_calls, windows};

/// How long the daemon and strace have for what they are asked for. In a VM in a VM they may need
/// seconds.
const LIMIT: Duration = Duration::from_secs(15);
/// How long perf has to open its counters, of which it says nothing.
const PERF: Duration = Duration::from_secs(2);
/// How long perf and strace have to end and to write what they counted.
const END: Duration = Duration::from_secs(10);
/// How often is looked for a question.
const TICK: Duration = Duration::from_millis(10);
/// What perf counts: entries into system calls.
const EVENT: &str = "raw_syscalls:sys_enter";

/// Encodes the same frames without a guest; it is given the label of the case.
pub type HostOnly<'a> = Box<dyn FnMut(&str) -> Result<()> + Send + 'a>;

/// Answers what the program in the guest asks for.
pub struct Answerer<'a> {
    out: PathBuf,
    daemon: i32,
    log: PathBuf,
    pins: bool,
    host_only: Option<HostOnly<'a>>,
    perf: Option<Child>,
    strace: Option<Child>,
}

impl std::fmt::Debug for Answerer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Answerer");
        text.field("out", &self.out).field("daemon", &self.daemon);
        text.finish_non_exhaustive()
    }
}

impl<'a> Answerer<'a> {
    /// For a guest whose `/out` is `out`, and the daemon that serves it, with its log.
    ///
    /// # Errors
    ///
    /// `daemon` is no process ID.
    pub fn new(out: &Path, daemon: u32, log: &Path) -> Result<Self> {
        Ok(Self {
            out: out.to_owned(),
            daemon: i32::try_from(daemon).context("the daemon's process ID")?,
            log: log.to_owned(),
            pins: false,
            host_only: None,
            perf: None,
            strace: None,
        })
    }

    /// Puts the daemon's encoders on a processor of their own as soon as they are there.
    #[must_use]
    pub fn pinning_encoders(mut self) -> Self {
        self.pins = true;
        self
    }

    /// What is done when the guest asks for `host-only`.
    #[must_use]
    pub fn host_only(mut self, run: impl FnMut(&str) -> Result<()> + Send + 'a) -> Self {
        self.host_only = Some(Box::new(run));
        self
    }

    /// Answers until `done`, which is asked between two looks for questions.
    ///
    /// # Errors
    ///
    /// A program that counts cannot be started, or a file cannot be read or written.
    pub fn until(&mut self, mut done: impl FnMut() -> bool) -> Result<()> {
        while !done() {
            self.answer_all()?;
            std::thread::sleep(TICK);
        }
        self.answer_all()
    }

    /// Answers what has been asked for so far.
    ///
    /// # Errors
    ///
    /// As [`until`](Self::until).
    pub fn answer_all(&mut self) -> Result<()> {
        for entry in fs::read_dir(&self.out)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with("ask.") || name.ends_with(".done") {
                continue;
            }
            let ask = self.out.join(&name);
            let text = fs::read_to_string(&ask)?;
            fs::remove_file(&ask)?;
            let (what, label) = text.trim().split_once(' ').context("a question's words")?;
            self.answer(what, label)
                .with_context(|| format!("{label}: {what}"))?;
            File::create(self.out.join(format!("{name}.done")))?;
        }
        Ok(())
    }

    fn answer(&mut self, what: &str, label: &str) -> Result<()> {
        match what.split_once('-').unwrap_or((what, "")) {
            ("streaming", _) if self.pins => threads::pin_encoders(self.daemon),
            ("stats", point) => self.stats(label, point),
            ("count", _) => self.count(),
            ("counted", window) => self.counted(label, window),
            ("trace", _) => self.trace(label),
            ("traced", _) => self.traced(label),
            ("host", "only") => match &mut self.host_only {
                Some(run) => run(label),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn note(&self, label: &str, what: &str, value: &str) -> Result<()> {
        let mut file = OpenOptions::new();
        let mut file = file
            .create(true)
            .append(true)
            .open(self.out.join("host.txt"))?;
        Ok(writeln!(file, "{label} {what} {value}")?)
    }

    /// The daemon's own counters, and how long its threads have worked.
    fn stats(&self, label: &str, point: &str) -> Result<()> {
        let read = || fs::read_to_string(&self.log).unwrap_or_default();
        let seen = Stats::lines(&read()).count();
        kill(Pid::from_raw(self.daemon), Signal::SIGUSR1).context("the daemon")?;
        let more = || Stats::lines(&read()).count() > seen;
        if within(LIMIT, more)
            && let Some(stats) = Stats::lines(&read()).last()
        {
            self.note(label, &format!("stats-{point}"), stats)?;
        }
        for (what, threads) in [("cpu", ""), ("encoder", threads::ENCODER)] {
            let time = threads::cpu_time(self.daemon, threads).to_string();
            self.note(label, &format!("{what}-{point}"), &time)?;
        }
        Ok(())
    }

    /// Has perf count the daemon's system calls, where the kernel lets us; it slows nothing down.
    fn count(&mut self) -> Result<()> {
        let daemon = self.daemon.to_string();
        let mut trial = Command::new("perf");
        trial.args(["stat", "-e", EVENT, "-p", &daemon, "--", "true"]);
        if !quiet(&mut trial)
            .status()
            .is_ok_and(|status| status.success())
        {
            return Ok(());
        }
        let file = self.out.join("perf.txt");
        // That of the last window.
        let _ = fs::remove_file(&file);
        let mut command = Command::new("perf");
        command.args(["stat", "-x,", "-o"]).arg(&file);
        command.args(["-e", EVENT, "-p", &daemon]);
        self.perf = Some(quiet(&mut command).spawn().context("perf")?);
        std::thread::sleep(PERF);
        Ok(())
    }

    fn counted(&mut self, label: &str, window: &str) -> Result<()> {
        let Some(perf) = self.perf.take() else {
            return Ok(());
        };
        finish(perf, "perf");
        let text = fs::read_to_string(self.out.join("perf.txt"))?;
        let line = text.lines().find(|line| line.contains("raw_syscalls"));
        let count = line.and_then(|line| line.split(',').next());
        self.note(label, &format!("perf-{window}"), count.unwrap_or_default())
    }

    /// Has strace count them by name.
    fn trace(&mut self, label: &str) -> Result<()> {
        let log = self.out.join("strace.log");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-c", "-p", &self.daemon.to_string(), "-o"])
            .arg(self.out.join(format!("strace-{label}.txt")))
            .stdin(Stdio::null())
            .stderr(File::create(&log)?);
        self.strace = Some(command.spawn().context("strace (package strace)")?);
        within(LIMIT, || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("attached"))
        });
        Ok(())
    }

    fn traced(&mut self, label: &str) -> Result<()> {
        let Some(strace) = self.strace.take() else {
            return Ok(());
        };
        finish(strace, "strace");
        let table = fs::read_to_string(self.out.join(format!("strace-{label}.txt")))?;
        self.note(label, "strace", &strace_calls(&table).to_string())
    }
}

impl Drop for Answerer<'_> {
    fn drop(&mut self) {
        for child in [self.perf.take(), self.strace.take()].into_iter().flatten() {
            finish(child, "a program that counts");
        }
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// Has perf or strace write what it has counted, and end.
fn finish(mut child: Child, name: &str) {
    process::signal(&child, Signal::SIGINT);
    if process::ends(&mut child, END).is_none() {
        process::end(&mut child, name, LIMIT);
    }
}

/// Waits up to `limit` for `done`. Whether it came.
fn within(limit: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(2 * TICK);
    }
    true
}
