// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The files of one run: nothing of it is shared with another run.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cache;
use crate::machine::{Devices, Machine, Mode, Role};

/// The daemon's log. Tests read it while the daemon writes, so it is not among what the guest
/// writes until the end: in a VM in a VM that is 9p, which gave readers zeros for new lines.
pub const DAEMON_LOG: &str = "daemon.log";

/// Sockets and what the guest reads, in a directory of its own; what the guest writes, in another,
/// which is moved to its place at the end.
#[derive(Debug)]
pub struct RunDir {
    work: TempDir,
    out: Option<TempDir>,
    place: PathBuf,
}

impl RunDir {
    /// Makes the directories. What the guest writes is to be at `place` in the end.
    ///
    /// # Errors
    ///
    /// They cannot be made.
    pub fn new(place: &Path) -> Result<Self> {
        let parent = place.parent().context("OUT is the root directory")?;
        fs::create_dir_all(parent)?;
        let work = tempfile::Builder::new().prefix("virtio-v4l2.").tempdir()?;
        let out = tempfile::Builder::new().prefix(".vm.").tempdir_in(parent)?;
        fs::set_permissions(out.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(work.path().join("harness/job"))?;
        Ok(Self {
            work,
            out: Some(out),
            place: place.to_owned(),
        })
    }

    /// A file of the run: a socket, a log.
    pub fn file(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// What the guest reads at `/harness`.
    pub fn harness(&self) -> PathBuf {
        self.file("harness")
    }

    /// What the guest writes to `/out`.
    pub fn out(&self) -> &Path {
        self.out.as_ref().map_or(&self.place, TempDir::path)
    }

    /// Puts a file into `/job`, by a hard link where possible: raw video is large, and `/job` is an
    /// overlay that leaves the file alone.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn job_file(&self, file: &Path) -> Result<()> {
        let name = file.file_name().context("a directory")?;
        self.job_file_as(file, &name.to_string_lossy())
    }

    /// The same under another name.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn job_file_as(&self, file: &Path, name: &str) -> Result<()> {
        let to = self.harness().join("job").join(name);
        let linked = fs::canonicalize(file).and_then(|real| fs::hard_link(real, &to));
        if linked.is_err() {
            // It may be a pipe.
            let copy = || {
                let mut from = File::open(file)?;
                std::io::copy(&mut from, &mut File::create(&to)?)?;
                fs::set_permissions(&to, from.metadata()?.permissions())
            };
            copy().with_context(|| format!("no file {}", file.display()))?;
        }
        Ok(())
    }

    /// Writes what the guest's init reads.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn harness_files(&self, machine: &Machine<'_>, script: &str) -> Result<()> {
        let guest = cache::repository().join("tests/vm/guest");
        for name in ["init", "fstab", "start"] {
            fs::copy(guest.join(name), self.harness().join(name))?;
        }
        if machine.spec.ko.exists() {
            fs::copy(&machine.spec.ko, self.harness().join("virtio_v4l2.ko"))?;
        }
        if machine.mode == Mode::Agent {
            let agent = agent_program()?;
            fs::copy(&agent, self.harness().join("guest-agent"))
                .with_context(|| format!("{}", agent.display()))?;
        }
        fs::write(self.harness().join("conf"), conf(machine, script))?;
        Ok(())
    }

    /// Moves what the guest has written to its place, with the logs; again it does nothing.
    ///
    /// # Errors
    ///
    /// It cannot be moved.
    pub fn keep(&mut self) -> Result<()> {
        let Some(out) = self.out.take() else {
            return Ok(());
        };
        // For who waits for the script, who has read it.
        let _ = fs::remove_file(out.path().join(".status"));
        let daemon = self.file(DAEMON_LOG);
        if daemon.exists() {
            fs::copy(daemon, out.path().join(DAEMON_LOG))?;
        }
        let console = self.file("console.log");
        if console.exists() {
            fs::copy(&console, out.path().join("console.log"))?;
            let log = out.path().join("dmesg.txt");
            if !log.exists() {
                fs::copy(&console, log)?;
            }
        }
        if self.place.exists() {
            fs::remove_dir_all(&self.place)?;
        }
        let out = out.keep();
        fs::rename(&out, &self.place).with_context(|| {
            format!(
                "{}: results stay in {}",
                self.place.display(),
                out.display()
            )
        })
    }
}

/// The agent that cargo has built beside this program.
fn agent_program() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    program
        .ancestors()
        .skip(1)
        .map(|directory| directory.join("guest-agent"))
        .find(|agent| {
            agent
                .metadata()
                .is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
        })
        .with_context(|| format!("no guest-agent beside {}", program.display()))
}

/// Variables of bash for the guest's init.
fn conf(machine: &Machine<'_>, script: &str) -> String {
    let spec = machine.spec;
    let mut parameters = spec.module_params.clone();
    if machine.virtio_id() == 30 {
        parameters.insert_str(0, "allow_id30=1 ");
    }
    let nodes = match &spec.devices {
        Devices::Many(devices) => devices.len(),
        _ => 1,
    };
    let mode = match machine.mode {
        Mode::Agent => "agent",
        Mode::Script => "script",
        Mode::Shell => "shell",
    };
    let role = match spec.role {
        Role::Guest => "guest",
        Role::Host => "host",
    };
    let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut conf = String::new();
    for (name, value) in [
        ("MODE", mode.to_owned()),
        ("SCRIPT_NAME", script.to_owned()),
        ("MODULE", flag(spec.module)),
        ("MODULE_PARAMETERS", parameters),
        ("NODES", nodes.to_string()),
        ("UDEV", flag(spec.udev)),
        ("ROLE", role.to_owned()),
        ("HOST_ACCEL", machine.accel.name().to_owned()),
        ("REPO", path(cache::repository())),
        ("CACHE", path(cache::directory())),
        (
            "GUEST_IMAGE",
            path(machine.parts.guest_dir.join("root.ext4")),
        ),
        (
            "TERM",
            std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned()),
        ),
        ("TTY_SIZE", terminal_size()),
    ] {
        let _ = writeln!(conf, "{name}={}", quoted(&value));
    }
    conf
}

/// Rows and columns of the terminal.
fn terminal_size() -> String {
    let size = std::process::Command::new("stty")
        .arg("size")
        .stdin(std::process::Stdio::inherit())
        .stderr(std::process::Stdio::null())
        .output();
    match size {
        Ok(size) if size.status.success() => {
            String::from_utf8_lossy(&size.stdout).trim().to_owned()
        }
        _ => "24 80".to_owned(),
    }
}

/// One word for a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_stays_one() {
        assert_eq!(quoted("a b$c"), "'a b$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
