// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Runs in the guest: does what the test on the host asks for over a virtio-serial port.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::agent::{PORT, Reply, Request};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long the output of a command that has ended is waited for: a child in the background may
/// hold on to it for ever.
const REST: Duration = Duration::from_secs(1);

/// The port, to which several threads write whole lines.
#[derive(Clone)]
struct Port(Arc<Mutex<File>>);

impl Port {
    fn send(&self, reply: &Reply) -> Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(port.write_all(&line)?)
    }
}

/// Groups of processes that run.
type Groups = Arc<Mutex<HashMap<u64, Pid>>>;

fn main() -> Result<()> {
    let file = open()?;
    let requests = BufReader::new(file.try_clone()?);
    let port = Port(Arc::new(Mutex::new(file)));
    let groups = Groups::default();
    port.send(&Reply::Ready)?;
    for line in requests.lines() {
        match serde_json::from_str(&line?)? {
            Request::Run { id, command } => run(id, &command, &port, &groups)?,
            Request::Signal { id, signal } => {
                let group = groups.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(group) = group.get(&id) {
                    // It may have ended by itself.
                    let _ = killpg(*group, Signal::try_from(signal)?);
                }
            }
            Request::Ping { id } => port.send(&Reply::Exit { id, status: 0 })?,
            Request::End => break,
        }
    }
    Ok(())
}

/// Opens the port of our name.
fn open() -> Result<File> {
    let ports = std::fs::read_dir("/sys/class/virtio-ports").context("no virtio-serial port")?;
    for port in ports {
        let port = port?;
        if std::fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim() == PORT) {
            let device = std::path::Path::new("/dev").join(port.file_name());
            return Ok(OpenOptions::new().read(true).write(true).open(device)?);
        }
    }
    anyhow::bail!("no virtio-serial port \"{PORT}\"")
}

/// Starts a command; two threads tell of its lines and its end.
fn run(id: u64, command: &str, port: &Port, groups: &Groups) -> Result<()> {
    let (output, input) = std::io::pipe()?;
    let child = Command::new("bash")
        .args(["-c", command])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .spawn()?;
    let group = Pid::from_raw(i32::try_from(child.id())?);
    groups
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id, group);
    let (done, rest) = mpsc::channel();
    let lines = port.clone();
    std::thread::spawn(move || {
        let told = tell(id, BufReader::new(output), &lines);
        // Nobody waits for it after REST.
        let _ = done.send(());
        told
    });
    let (port, groups) = (port.clone(), Arc::clone(groups));
    std::thread::spawn(move || end(id, child, &rest, &port, &groups));
    Ok(())
}

/// Sends each line of a command's output.
fn tell(id: u64, mut output: impl BufRead, port: &Port) -> Result<()> {
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']).to_owned();
        port.send(&Reply::Line { id, text })?;
        line.clear();
    }
    Ok(())
}

/// Waits for a command and sends its status, after its last line.
fn end(
    id: u64,
    mut child: Child,
    rest: &mpsc::Receiver<()>,
    port: &Port,
    groups: &Groups,
) -> Result<()> {
    let status = child.wait()?;
    groups
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&id);
    let _ = rest.recv_timeout(REST);
    let status = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1);
    port.send(&Reply::Exit { id, status })
}
