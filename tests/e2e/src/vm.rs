// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A guest that runs, its daemon and QEMU's monitor.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::accel::Accel;
use crate::daemon::Daemon;
use crate::guest::{Guest, Output, Process, TIMED_OUT};
use crate::kernel_log;
use crate::machine::{Devices, Machine, Mode, Spec};
use crate::monitor::Monitor;
use crate::process;
use crate::results::Results;
use crate::rundir::{DAEMON_LOG, RunDir};
use crate::watch::Watcher;

/// How long a command has where nothing else is said, in seconds.
const LIMIT: u32 = 60;
/// How long a guest has to boot, in seconds.
const BOOT: u32 = 300;
/// How long it has to power off, in seconds.
const POWER_OFF: u32 = 60;
/// How long a process of the host has to end after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(5);
/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(100);

/// QEMU with a machine. Dropped, it is ended.
#[derive(Debug)]
pub struct Qemu(Child);

impl Qemu {
    /// Starts QEMU. Its output is that of the guest's first console.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(machine: &Machine<'_>, input: Stdio, output: Stdio) -> Result<Self> {
        let mut command = machine.parts.qemu(machine.spec.core);
        let child = command
            .args(machine.arguments())
            .stdin(input)
            .stdout(output);
        Ok(Self(child.spawn().context("setpriv (package util-linux)")?))
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits until QEMU has made a socket.
    ///
    /// # Errors
    ///
    /// It has ended, or takes too long.
    pub fn socket(&mut self, path: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !path.exists() {
            if let Some(status) = self.0.try_wait()? {
                bail!("QEMU ended ({status}); its message is above");
            }
            if Instant::now() >= deadline {
                bail!("QEMU has not made {} after 30 s", path.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits up to `limit` for its end by itself; ends it then. Whether it ended by itself.
    pub fn ends(&mut self, limit: Duration) -> bool {
        let ended = process::ends(&mut self.0, limit).is_some();
        if !ended {
            process::end(&mut self.0, "QEMU", GRACE);
        }
        ended
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.ends(Duration::ZERO);
    }
}

/// A guest that runs. Commands that find it gone panic: the test cannot go on.
#[derive(Debug)]
pub struct TestVm {
    /// The agent in it.
    pub guest: Arc<Guest>,
    /// QEMU's monitor.
    pub monitor: Arc<Monitor>,
    /// Where results go.
    pub results: Results,
    daemon: Option<Daemon>,
    watcher: Option<Watcher>,
    qemu: Qemu,
    run: RunDir,
    socket: PathBuf,
    device: String,
    slow: u32,
}

impl TestVm {
    /// Boots a guest. What it writes to `/out` is at `out` in the end, with the logs.
    ///
    /// # Errors
    ///
    /// A part is missing, the daemon does not start, or the guest is not up in time. The logs are
    /// at `out` then, too.
    pub fn boot(results: Results, spec: &Spec, out: &Path) -> Result<Self> {
        let mut run = RunDir::new(out)?;
        match Self::start(results, spec, &run) {
            Ok(start) => Ok(start(run)),
            Err(error) => {
                run.keep()?;
                Err(error)
            }
        }
    }

    /// Does all that may fail; the function that is returned makes a `TestVm` of it.
    fn start(
        results: Results,
        spec: &Spec,
        run: &RunDir,
    ) -> Result<impl FnOnce(RunDir) -> Self + use<>> {
        let parts = spec.parts()?;
        let accel = match spec.accel {
            Some(accel) => accel,
            None => Accel::parse(&std::env::var("ACCEL").unwrap_or_default())?
                .map_or_else(|| Accel::find(&parts), Ok)?,
        };
        let machine = Machine {
            spec,
            parts: &parts,
            run,
            accel,
            mode: Mode::Agent,
        };
        run.harness_files(&machine, "")?;
        for file in &spec.files {
            run.job_file(file)?;
        }
        let daemon = Daemon::start(
            spec,
            |name| run.file(&format!("{name}.sock")),
            &run.file(DAEMON_LOG),
        )?;
        let console = File::create(run.out().join("hvc.log"))?;
        let mut qemu = Qemu::start(&machine, Stdio::null(), console.into())?;
        let (agent, qmp) = (run.file("agent.sock"), run.file("qmp.sock"));
        qemu.socket(&agent)?;
        qemu.socket(&qmp)?;
        let monitor = Arc::new(Monitor::connect(&qmp)?);
        let watcher = spec
            .watch
            .map(|watch| Watcher::new(watch, qemu.child().id(), Arc::clone(&monitor)));
        let boot = Duration::from_secs(u64::from(BOOT * spec.slow));
        let guest = Guest::connect(&agent, spec.slow, boot);
        let lost = watcher.as_ref().and_then(Watcher::lost);
        let guest = Arc::new(lost.map_or(guest, |why| Err(anyhow::anyhow!(why)))?);
        if let Some(watcher) = &watcher {
            watcher.guest(&guest);
        }
        let device = machine.device("media0", "again", "port0");
        let slow = spec.slow;
        let socket = match &spec.devices {
            Devices::Socket(socket) => socket.clone(),
            _ => run.file("media.sock"),
        };
        Ok(move |run| Self {
            guest,
            monitor,
            results,
            daemon,
            watcher,
            qemu,
            run,
            socket,
            device,
            slow,
        })
    }

    /// The daemon of this machine.
    ///
    /// # Panics
    ///
    /// It has none of its own.
    pub fn daemon(&self) -> &Daemon {
        self.daemon
            .as_ref()
            .expect("this machine has no daemon of its own")
    }

    /// Why the guest is gone, or `None` if it answers.
    pub fn lost(&self) -> Option<String> {
        let answers = || self.guest.ping()?.ends(LIMIT);
        let watched = self.watcher.as_ref().and_then(Watcher::lost);
        match answers() {
            Ok(true) => watched,
            Ok(false) => watched.or(Some(format!("no answer for {LIMIT} s"))),
            Err(error) => watched.or(Some(error.to_string())),
        }
    }

    /// What the guest writes to `/out`.
    pub fn out(&self) -> &Path {
        self.run.out()
    }

    /// From now on results have another name before theirs.
    pub fn set_suite(&mut self, name: &str) {
        self.results = self.results.named(name);
    }

    /// Runs a command under `bash -c`, with a minute's time.
    pub fn run(&self, command: &str) -> Output {
        self.run_for(LIMIT, command)
    }

    /// The same with a time limit in seconds.
    pub fn run_for(&self, seconds: u32, command: &str) -> Output {
        here(self.guest.run_for(seconds, command))
    }

    /// Starts a command.
    pub fn spawn(&self, command: &str) -> Process<'_> {
        here(self.guest.spawn(command))
    }

    /// `name` is as it should be if `command` succeeds.
    pub fn check(&self, name: &str, command: &str) -> bool {
        self.check_for(LIMIT, name, command)
    }

    /// The same with a time limit in seconds.
    pub fn check_for(&self, seconds: u32, name: &str, command: &str) -> bool {
        self.results.command(name, &self.run_for(seconds, command))
    }

    /// `name` is as it should be if `command` fails, and not because of its time limit.
    pub fn refuse(&self, name: &str, command: &str) -> bool {
        let output = self.run_for(20, command);
        let refused = !output.success() && output.status < TIMED_OUT;
        let reason = format!("status {}", output.status);
        self.results.verdict(name, refused, &reason)
    }

    /// Runs a program that prints results of its own; they are ours. A crash, or the time limit, is
    /// one more.
    pub fn lines_for(&self, seconds: u32, command: &str) {
        self.results_of(command, &self.run_for(seconds, command));
    }

    /// The same of a program that has ended.
    pub fn results_of(&self, command: &str, output: &Output) {
        let failed = self.results.failed();
        for line in &output.lines {
            self.results.line(line);
        }
        // Status 1 says that one of the results is not ok.
        let told = output.status == 1 && self.results.failed() > failed;
        if !output.success() && !told {
            let reason = format!("status {}", output.status);
            self.results
                .not_ok(&format!("{command}: runs to its end"), &reason);
            self.results.excerpt(&output.lines, 20);
        }
    }

    /// Runs one test of our client (`tests/guest`).
    pub fn client(&self, test: &str) {
        self.client_for(LIMIT, test);
    }

    /// The same with a time limit in seconds.
    pub fn client_for(&self, seconds: u32, test: &str) {
        self.lines_for(seconds, &format!("/job/client {test}"));
    }

    /// `name` is as it should be if `command` ends before it has to be killed, whatever it says.
    /// After `seconds` it gets SIGINT.
    pub fn ended(&self, name: &str, seconds: u32, command: &str) -> bool {
        let output = here(self.spawn(command).wait_or(seconds, Signal::SIGINT));
        let killed = output.status == TIMED_OUT + Signal::SIGKILL as i32;
        self.results
            .verdict(&format!("{name} ends"), !killed, "had to be killed")
    }

    /// Runs `command` until it succeeds, for up to `seconds`. Whether it did.
    pub fn within(&self, seconds: u32, command: &str) -> bool {
        let deadline = Instant::now() + self.guest.limit(seconds);
        loop {
            if self.run(command).success() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(TICK);
        }
    }

    /// `name` is as it should be if `command` succeeds within `seconds`.
    pub fn check_within(&self, name: &str, seconds: u32, command: &str) -> bool {
        let reason = format!("not within {seconds} s");
        self.results
            .verdict(name, self.within(seconds, command), &reason)
    }

    /// No process sleeps for long where no signal reaches it.
    pub fn no_process_is_stuck(&self) {
        let deadline = Instant::now() + self.guest.limit(15);
        let stuck = loop {
            let mut stuck = self.run("ps -eo stat=,args=").lines;
            stuck.retain(|line| line.starts_with('D'));
            if stuck.is_empty() || Instant::now() >= deadline {
                break stuck.join("; ");
            }
            std::thread::sleep(TICK);
        };
        self.results
            .verdict("no process is stuck", stuck.is_empty(), &stuck);
    }

    /// Loads the module.
    pub fn insmod(&self, name: &str, parameters: &str) -> bool {
        self.check(
            name,
            &format!("insmod /harness/virtio_v4l2.ko allow_id30=1 {parameters}"),
        )
    }

    /// `name` is as it should be if the module can go. udev opens a new node to look at it.
    pub fn rmmod(&self, name: &str) -> bool {
        self.check_within(name, 20, "rmmod virtio_v4l2")
    }

    /// `name` is as it should be if the kernel has not complained since the module was loaded, but
    /// for messages that match one of `allowed`.
    pub fn dmesg_clean(&self, name: &str, allowed: &[&str]) {
        match kernel_log::warnings(&self.run("dmesg --decode").lines, allowed) {
            Ok(found) if found.is_empty() => self.results.ok(name),
            Ok(found) => {
                self.results.not_ok(name, &found[0]);
                self.results.excerpt(&found, 40);
            }
            Err(reason) => self.results.not_ok(name, &reason),
        }
    }

    /// The last checks of most suites: the module can go, the kernel has not complained.
    pub fn leaves_cleanly(&self) {
        self.rmmod("rmmod");
        self.dmesg_clean("no kernel warning from insmod to rmmod", &[]);
    }

    /// Unplugs the device.
    pub fn unplug(&self) {
        self.hmp("device_del media0");
    }

    /// Plugs it in again. The daemon serves one VMM connection after the other, so the old one has
    /// to go first, which it does some time after the guest has let go of the device.
    pub fn plug(&self) {
        let deadline = Instant::now() + self.guest.limit(10);
        let mut said = here(self.monitor.hmp("chardev-remove media"));
        while said.contains("is busy") && Instant::now() < deadline {
            std::thread::sleep(TICK);
            said = here(self.monitor.hmp("chardev-remove media"));
        }
        assert!(said.trim().is_empty(), "QEMU keeps the device: {said}");
        self.hmp(&format!(
            "chardev-add socket,id=again,path={}",
            self.socket.display()
        ));
        self.hmp(&format!("device_add {}", self.device));
    }

    fn hmp(&self, line: &str) {
        let said = here(self.monitor.hmp(line));
        assert!(said.trim().is_empty(), "QEMU's monitor: {line}: {said}");
    }

    /// Ends QEMU at once, whatever the guest does, and keeps the logs. Whether it ended by itself.
    ///
    /// # Errors
    ///
    /// QEMU is gone, or the logs cannot be kept.
    pub fn quit(mut self) -> Result<bool> {
        self.monitor.execute("quit", &serde_json::json!({}))?;
        let ended = self.qemu.ends(GRACE);
        self.run.keep()?;
        Ok(ended)
    }

    /// Powers the guest off, ends the daemon and keeps the logs.
    ///
    /// # Errors
    ///
    /// The guest does not power off, or the logs cannot be kept.
    pub fn end(mut self) -> Result<()> {
        if let Some(watcher) = &self.watcher {
            watcher.stop();
        }
        let asked = self.guest.end();
        let limit = if asked.is_ok() {
            POWER_OFF * self.slow
        } else {
            0
        };
        let off = self.qemu.ends(Duration::from_secs(u64::from(limit)));
        if let Some(daemon) = &mut self.daemon {
            daemon.end();
        }
        self.run.keep()?;
        asked?;
        if !off {
            bail!("the guest did not power off within {limit} s");
        }
        Ok(())
    }
}

impl Drop for TestVm {
    /// After a panic: the logs are kept all the same.
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.stop();
        }
        self.qemu.ends(Duration::ZERO);
        let _ = self.run.keep();
    }
}

fn here<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}
