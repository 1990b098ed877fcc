// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `make vm-run` and `make vm-shell`: one script, or a login shell, in a guest.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode as FileMode;

use crate::accel::Accel;
use crate::cache;
use crate::daemon::Daemon;
use crate::machine::{Devices, Machine, Mode, Spec};
use crate::monitor::Monitor;
use crate::parts::until_our_end;
use crate::process::{self, say};
use crate::results::excerpt_of;
use crate::rundir::RunDir;
use crate::vm::{GRACE, Qemu};

/// What people and scripts are told of the environment.
pub const USAGE: &str = "usage: cargo xtask vm-run SCRIPT [FILE...]
Boots a stock Debian guest with our device and module, runs SCRIPT there as root with the FILEs
beside it in /job, and brings /out back. vm-shell: a login shell instead.
Exit status: the script's; 124 if it took longer than TIMEOUT, 125 if the guest ended before it.

Environment (each optional):
  OUT=DIR          where /out goes (default out/vm); dmesg.txt, console.log and daemon.log, too
  MODULE=0         does not load our module (it is at /harness/virtio_v4l2.ko)
  MODULE_PARAMS=\"a=1\"  parameters of it          KO=FILE    another module
  DEVICE=0         no device and no daemon        SOCKET=PATH  a daemon that already listens there
  DEVICES=\"N=SPEC …\"  instead of one device several of one daemon, each with --device SPEC
  DAEMON_ARGS      further options of the daemon  DAEMON=FILE  another daemon
  VIRTIO_ID=N      30 or 48; by default what QEMU can name
  HOST_SCRIPT=FILE runs on the host meanwhile; it has VM_OUT (the guest's /out), MONITOR (a pipe
                   that takes QEMU's monitor commands), VM_DEVICE (the device's arguments),
                   VM_SOCKET and DAEMON_PID
  ROLE=host        a VM that is itself the host of one: no device, 3G, this repository and the cache
                   in their places, writable (what is written there ends with the VM)
  UDEV=0           without udevd, which takes long in a VM in a VM
  TIMEOUT=SECONDS (600)  MEM=1G  SMP=2  ACCEL=kvm|tcg  KERNEL=7.2  KERNEL_ARGS  QEMU_ARGS";

/// The script took longer than TIMEOUT.
const TIMED_OUT: i32 = 124;
/// The guest ended before the script.
const LOST: i32 = 125;
/// SIGINT or SIGTERM ended the run.
const INTERRUPTED: i32 = 130;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn words(name: &str) -> Vec<String> {
    let text = variable(name).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn number(name: &str, default: u32) -> Result<u32> {
    variable(name).map_or(Ok(default), |text| {
        text.parse()
            .with_context(|| format!("{name} is a number, not \"{text}\""))
    })
}

/// The machine that the environment asks for.
///
/// # Errors
///
/// A variable has a value that makes no sense.
pub fn spec() -> Result<Spec> {
    let mut spec = match variable("ROLE").as_deref() {
        None | Some("guest") => Spec::default(),
        Some("host") => Spec::host(),
        Some(role) => bail!("ROLE is guest or host, not \"{role}\""),
    };
    let on = |name: &str, default: bool| match std::env::var(name).as_deref() {
        Ok("1") => true,
        Ok("") | Err(_) => default,
        Ok(_) => false,
    };
    spec.module = on("MODULE", spec.module);
    spec.udev = on("UDEV", spec.udev);
    spec.devices = devices(on("DEVICE", spec.devices.count() > 0))?;
    spec.daemon = variable("DAEMON").map_or(spec.daemon, PathBuf::from);
    spec.daemon_args = words("DAEMON_ARGS");
    spec.ko = variable("KO").map_or(spec.ko, PathBuf::from);
    spec.module_params = variable("MODULE_PARAMS").unwrap_or_default();
    spec.virtio_id = match number("VIRTIO_ID", 0)? {
        0 => None,
        id => Some(id),
    };
    spec.kernel = variable("KERNEL");
    spec.kernel_args = variable("KERNEL_ARGS").unwrap_or_default();
    spec.qemu_args = words("QEMU_ARGS");
    spec.memory = variable("MEM").unwrap_or(spec.memory);
    spec.processors = number("SMP", spec.processors)?;
    spec.accel = Accel::parse(&variable("ACCEL").unwrap_or_default())?;
    if spec.module && !spec.ko.exists() {
        bail!("no module at {}; run: make", spec.ko.display());
    }
    Ok(spec)
}

fn devices(wanted: bool) -> Result<Devices> {
    if let Some(devices) = variable("DEVICES") {
        return Devices::parse(&devices);
    }
    if !wanted {
        return Ok(Devices::None);
    }
    let Some(socket) = variable("SOCKET") else {
        return Ok(Devices::One);
    };
    let path = fs::canonicalize(&socket).ok();
    path.filter(|path| fs::metadata(path).is_ok_and(|file| file.file_type().is_socket()))
        .map(Devices::Socket)
        .with_context(|| format!("SOCKET={socket}: nothing listens there"))
}

/// Runs a script in the guest; `script` is `None` for a shell. Returns the exit status.
///
/// # Errors
///
/// There is no such file, a variable makes no sense, or the machine does not start.
pub fn run(script: Option<&Path>, files: &[PathBuf]) -> Result<i32> {
    let stopped = stop_on_signals()?;
    let files: Vec<&Path> = script
        .into_iter()
        .chain(files.iter().map(PathBuf::as_path))
        .collect();
    for file in &files {
        fs::metadata(file).with_context(|| format!("no file \"{}\" here", file.display()))?;
    }
    let spec = spec()?;
    let parts = spec.parts()?;
    let accel = spec.accel.map_or_else(|| Accel::find(&parts), Ok)?;
    let out = variable("OUT").map_or(cache::repository().join("out/vm"), PathBuf::from);
    let out = std::path::absolute(out)?;
    let mut run = RunDir::new(&out)?;
    let mode = if script.is_some() {
        Mode::Script
    } else {
        Mode::Shell
    };
    let machine = Machine {
        spec: &spec,
        parts: &parts,
        run: &run,
        accel,
        mode,
    };
    let name = script
        .and_then(Path::file_name)
        .map(OsStr::to_string_lossy)
        .unwrap_or_default();
    run.harness_files(&machine, &name)?;
    for file in files {
        let name = file.file_name().context("a directory")?;
        run.job_file_as(file, &name.to_string_lossy())?;
    }
    let start = Instant::now();
    let end = Job { machine, stopped }.run();
    let said = fs::read_to_string(run.out().join(".status")).unwrap_or_default();
    run.keep()?;
    let status = outcome(&end?, said.trim(), &out);
    if mode == Mode::Script && ![TIMED_OUT, LOST, INTERRUPTED].contains(&status) {
        say(&format!(
            "{name} ended with status {status} after {} s ({}); results in {}",
            start.elapsed().as_secs(),
            accel.name(),
            out.display()
        ));
    }
    Ok(status)
}

/// From now on SIGINT and SIGTERM set the flag that is returned. Who is started gets them as ever.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        signal_hook::flag::register(signal as i32, Arc::clone(&stopped))?;
    }
    Ok(stopped)
}

/// How a run has come to its end.
enum End {
    /// QEMU ended by itself.
    Qemu,
    /// TIMEOUT.
    Timeout(u32),
    /// A signal.
    Stopped,
}

/// The exit status, with a word about it if it is not the script's.
fn outcome(end: &End, said: &str, out: &Path) -> i32 {
    match (end, said.parse()) {
        (End::Stopped, _) => INTERRUPTED,
        (End::Timeout(limit), _) => {
            say(&format!(
                "error: no end after TIMEOUT={limit} seconds; stopped. The guest's kernel log is \
                 in {}/dmesg.txt",
                out.display()
            ));
            TIMED_OUT
        }
        (End::Qemu, Ok(status)) => status,
        (End::Qemu, Err(_)) => {
            let console = out.join("console.log");
            excerpt_of(&console, 20);
            say(&format!(
                "error: the guest ended before the script did; its last words are above, all of \
                 them in {}",
                console.display()
            ));
            LOST
        }
    }
}

struct Job<'a> {
    machine: Machine<'a>,
    stopped: Arc<AtomicBool>,
}

impl Job<'_> {
    fn run(&self) -> Result<End> {
        let run = self.machine.run;
        let socket = |name: &str| run.file(&format!("{name}.sock"));
        let mut daemon = Daemon::start(self.machine.spec, socket, &run.out().join("daemon.log"))?;
        let end = self.qemu(daemon.as_ref());
        if let Some(daemon) = &mut daemon {
            daemon.end();
        }
        end
    }

    fn qemu(&self, daemon: Option<&Daemon>) -> Result<End> {
        let shell = self.machine.mode == Mode::Shell;
        if shell {
            say(&format!(
                "a guest with kernel {} under {}; leave with \"exit\" (or ctrl-a x at once)",
                self.machine.parts.kernel_release,
                self.machine.accel.name()
            ));
        }
        let input = if shell {
            Stdio::inherit()
        } else {
            Stdio::null()
        };
        let mut qemu = Qemu::start(&self.machine, input, Stdio::inherit())?;
        let mut script = match variable("HOST_SCRIPT") {
            Some(script) if !shell => Some(self.host_script(&script, daemon, &mut qemu)?),
            _ => None,
        };
        let end = self.wait(&mut qemu);
        if let Some(script) = &mut script {
            process::end(script, "HOST_SCRIPT", GRACE);
        }
        end
    }

    fn wait(&self, qemu: &mut Qemu) -> Result<End> {
        let limit = match self.machine.mode {
            Mode::Shell => 0,
            _ => number("TIMEOUT", 600)?,
        };
        let start = Instant::now();
        loop {
            if qemu.child().try_wait()?.is_some() {
                return Ok(End::Qemu);
            }
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(End::Stopped);
            }
            if limit > 0 && start.elapsed().as_secs() >= u64::from(limit) {
                return Ok(End::Timeout(limit));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts HOST_SCRIPT, and takes what it writes to MONITOR to QEMU's monitor.
    fn host_script(&self, script: &str, daemon: Option<&Daemon>, qemu: &mut Qemu) -> Result<Child> {
        let run = self.machine.run;
        let pipe = run.file("monitor.in");
        nix::unistd::mkfifo(&pipe, FileMode::from_bits_truncate(0o600))?;
        // Opened for both directions, it neither blocks nor ends.
        let lines = BufReader::new(OpenOptions::new().read(true).write(true).open(&pipe)?);
        let socket = run.file("qmp.sock");
        qemu.socket(&socket)?;
        std::thread::spawn(move || monitor(lines, &socket));
        let log = fs::File::create(run.out().join("host.log"))?;
        let media = match &self.machine.spec.devices {
            Devices::Socket(socket) => socket.clone(),
            _ => run.file("media.sock"),
        };
        let mut command: Command = until_our_end(Path::new("bash"));
        command
            .arg(script)
            .env("VM_OUT", run.out())
            .env("MONITOR", &pipe)
            .env("VM_SOCKET", media)
            .env("VM_DEVICE", self.machine.device("media0", "media", "port0"))
            .env(
                "DAEMON_PID",
                daemon
                    .map(|daemon| daemon.pid().to_string())
                    .unwrap_or_default(),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.spawn().context("bash")
    }
}

fn monitor(lines: impl BufRead, socket: &Path) -> Result<()> {
    let monitor = Monitor::connect(socket)?;
    for line in lines.lines() {
        let said = monitor.hmp(&line?)?;
        if !said.trim().is_empty() {
            say(&format!("QEMU's monitor: {}", said.trim()));
        }
    }
    Ok(())
}
