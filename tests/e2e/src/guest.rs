// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Commands in the guest, by the agent that runs there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::agent::{Reply, Request};

/// Exit status of a command that was ended as its time was up, as timeout(1) has it.
pub const TIMED_OUT: i32 = 124;

/// How long a command has to end after SIGTERM, and then after SIGKILL.
const GRACE: Duration = Duration::from_secs(8);

/// What a command has said, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; 128 and the number of a signal; [`TIMED_OUT`].
    pub status: i32,
    /// Standard output and error, line by line.
    pub lines: Vec<String>,
}

impl Output {
    /// The command ended with status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// The lines as one text.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The last line, or nothing.
    pub fn last(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }
}

enum Event {
    Line(String),
    Exit(i32),
}

/// Who waits for the events of which command. Dropped when the guest is gone, which ends the wait.
type Waiting = Arc<Mutex<Option<HashMap<u64, Sender<Event>>>>>;

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    port: Mutex<UnixStream>,
    waiting: Waiting,
    next: AtomicU64,
    /// Time limits are this many times as long: some kernels and machines take their time.
    slow: u32,
}

impl Guest {
    /// Waits up to `limit` for the agent behind the socket at `path`, which QEMU has made.
    ///
    /// # Errors
    ///
    /// There is no such socket, QEMU has ended, or the agent does not say that it runs.
    pub fn connect(path: &Path, slow: u32, limit: Duration) -> Result<Self> {
        let port = UnixStream::connect(path).context("QEMU's port of the agent")?;
        let mut lines = BufReader::new(port.try_clone()?);
        port.set_read_timeout(Some(limit))?;
        let mut line = String::new();
        lines
            .read_line(&mut line)
            .with_context(|| format!("the guest is not up after {} s", limit.as_secs()))?;
        if line.is_empty() {
            bail!("QEMU ended before the guest was up");
        }
        let Reply::Ready = serde_json::from_str(&line).context("the agent's first line")? else {
            bail!("the agent begins with {line}");
        };
        port.set_read_timeout(None)?;
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let readers = Arc::clone(&waiting);
        std::thread::spawn(move || {
            dispatch(lines, &readers);
            readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        });
        Ok(Self {
            port: Mutex::new(port),
            waiting,
            next: AtomicU64::new(0),
            slow,
        })
    }

    /// `seconds`, as long as they are in this guest.
    pub fn limit(&self, seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds * self.slow))
    }

    fn send(&self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        port.write_all(&line).context("the guest is gone")
    }

    /// Starts `command` under `bash -c`, in `/job`.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn spawn(&self, command: &str) -> Result<Process<'_>> {
        let command = command.to_owned();
        self.begin(|id| Request::Run { id, command })
    }

    /// Asks the agent for an answer. What is returned ends when that comes.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn ping(&self) -> Result<Process<'_>> {
        self.begin(|id| Request::Ping { id })
    }

    fn begin(&self, request: impl FnOnce(u64) -> Request) -> Result<Process<'_>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = channel();
        match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(waiting) => waiting.insert(id, sender),
            None => bail!("the guest is gone"),
        };
        self.send(&request(id))?;
        Ok(Process {
            guest: self,
            id,
            events,
            status: None,
            lines: Vec::new(),
        })
    }

    /// Runs `command`; after `seconds` it is ended.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn run_for(&self, seconds: u32, command: &str) -> Result<Output> {
        self.spawn(command)?.wait(seconds)
    }

    /// Has the guest keep its kernel log and power off.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn end(&self) -> Result<()> {
        self.send(&Request::End)
    }
}

/// Hands the agent's messages to who waits for them, until there are no more.
fn dispatch(lines: impl BufRead, waiting: &Waiting) {
    for line in lines.lines() {
        let Ok(line) = line else { return };
        // A guest that dies may leave a part of a line.
        let Ok(reply) = serde_json::from_str(&line) else {
            return;
        };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = &mut *waiting else { return };
        // The test may have lost interest in a process.
        let _ = match reply {
            Reply::Ready => return,
            Reply::Line { id, text } => waiting.get(&id).map(|to| to.send(Event::Line(text))),
            Reply::Exit { id, status } => {
                waiting.remove(&id).map(|to| to.send(Event::Exit(status)))
            }
        };
    }
}

/// A command that runs in the guest. Dropped, it runs on.
#[derive(Debug)]
pub struct Process<'a> {
    guest: &'a Guest,
    id: u64,
    events: Receiver<Event>,
    status: Option<i32>,
    lines: Vec<String>,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{line}"),
            Self::Exit(status) => write!(f, "exit {status}"),
        }
    }
}

impl Process<'_> {
    /// What it has said so far.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether it is still running.
    pub fn running(&self) -> bool {
        self.status.is_none()
    }

    /// Takes the next event that comes before `deadline`: a line, or `None` when it has ended or
    /// the time is up.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn next_line(&mut self, deadline: Instant) -> Result<Option<&str>> {
        if self.status.is_some() {
            return Ok(None);
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(rest) {
            Ok(Event::Line(line)) => {
                self.lines.push(line);
                Ok(self.lines.last().map(String::as_str))
            }
            Ok(Event::Exit(status)) => {
                self.status = Some(status);
                Ok(None)
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the guest is gone"),
        }
    }

    /// Waits up to `seconds` for a line that begins with `start`, among those already read, too.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn says(&mut self, seconds: u32, start: &str) -> Result<bool> {
        if self.lines.iter().any(|line| line.starts_with(start)) {
            return Ok(true);
        }
        let deadline = Instant::now() + self.guest.limit(seconds);
        while let Some(line) = self.next_line(deadline)? {
            if line.starts_with(start) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends a signal to it and all that it has started.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let signal = signal as i32;
        self.guest.send(&Request::Signal {
            id: self.id,
            signal,
        })
    }

    /// Waits up to `seconds` for its end: `false` if it still runs.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn ends(&mut self, seconds: u32) -> Result<bool> {
        self.ends_by(Instant::now() + self.guest.limit(seconds))
    }

    fn ends_by(&mut self, deadline: Instant) -> Result<bool> {
        while self.next_line(deadline)?.is_some() {}
        Ok(self.status.is_some())
    }

    /// Its end, by SIGTERM and SIGKILL if it runs for longer than `seconds`; then the status is
    /// [`TIMED_OUT`].
    ///
    /// # Errors
    ///
    /// The guest is gone, or a process outlives SIGKILL.
    pub fn wait(self, seconds: u32) -> Result<Output> {
        self.wait_or(seconds, Signal::SIGTERM)
    }

    /// The same with another signal first. A command that has to be killed has [`TIMED_OUT`] plus
    /// SIGKILL's 9 as its status; one that ended on `signal` [`TIMED_OUT`].
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_or(mut self, seconds: u32, signal: Signal) -> Result<Output> {
        let mut ended = TIMED_OUT;
        if !self.ends(seconds)? {
            self.signal(signal)?;
            if !self.ends_by(Instant::now() + GRACE * self.guest.slow)? {
                self.signal(Signal::SIGKILL)?;
                ended = TIMED_OUT + Signal::SIGKILL as i32;
                if !self.ends_by(Instant::now() + GRACE * self.guest.slow)? {
                    bail!("a process does not end on SIGKILL");
                }
            }
            self.status = Some(ended);
        }
        Ok(Output {
            status: self.status.unwrap_or(ended),
            lines: self.lines,
        })
    }
}
