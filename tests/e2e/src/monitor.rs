// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! QEMU's monitor: QMP over a Unix socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// How long QEMU may take for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection to the monitor.
#[derive(Debug)]
pub struct Monitor(Mutex<Streams>);

#[derive(Debug)]
struct Streams {
    read: BufReader<UnixStream>,
    write: UnixStream,
}

impl Monitor {
    /// Connects to the socket at `path`, which QEMU has made.
    ///
    /// # Errors
    ///
    /// There is no such socket, or QEMU does not greet.
    pub fn connect(path: &Path) -> Result<Self> {
        let write = UnixStream::connect(path).context("QEMU's monitor")?;
        write.set_read_timeout(Some(LIMIT))?;
        let read = BufReader::new(write.try_clone()?);
        let mut streams = Streams { read, write };
        if streams.message()?.get("QMP").is_none() {
            bail!("QEMU's monitor does not begin with a greeting");
        }
        let monitor = Self(Mutex::new(streams));
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Runs a command of QMP and returns what it returns.
    ///
    /// # Errors
    ///
    /// QEMU is gone, does not answer, or refuses.
    pub fn execute(&self, command: &str, arguments: &Value) -> Result<Value> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(streams.write, "{request}").context("QEMU is gone")?;
        loop {
            // Events come between a command and its answer.
            let message = streams.message()?;
            if let Some(value) = message.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = message.get("error") {
                bail!("QEMU's monitor: {command}: {}", error["desc"]);
            }
        }
    }

    /// Runs a command of the monitor for people (HMP) and returns what it prints.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute). HMP's own errors are part of the text.
    pub fn hmp(&self, line: &str) -> Result<String> {
        let text = self.execute("human-monitor-command", &json!({"command-line": line}))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Program counter of processor 0.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn program_counter(&self) -> Result<u64> {
        let registers = self.hmp("info registers")?;
        let counter = registers
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix("RIP="))
            .context("QEMU shows no RIP")?;
        Ok(u64::from_str_radix(counter, 16)?)
    }

    /// Stops the processors; they go on with [`resume`](Self::resume).
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn pause(&self) -> Result<()> {
        self.execute("stop", &json!({})).map(drop)
    }

    /// Lets the processors go on.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn resume(&self) -> Result<()> {
        self.execute("cont", &json!({})).map(drop)
    }
}

impl Streams {
    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        let bytes = self.read.read_line(&mut line);
        if bytes.context("QEMU's monitor does not answer")? == 0 {
            bail!("QEMU is gone");
        }
        serde_json::from_str(&line).context("QEMU's monitor")
    }
}
