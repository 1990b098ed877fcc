// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a virtual machine is made of, and the arguments that QEMU gets for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::accel::Accel;
use crate::agent::PORT;
use crate::cache;
use crate::parts::Parts;
use crate::rundir::RunDir;
use crate::watch::Watch;

/// The device, or devices, of a machine.
#[derive(Clone, Debug)]
pub enum Devices {
    /// None, and no daemon.
    None,
    /// One, of a daemon of its own.
    One,
    /// One, of a daemon that listens there already.
    Socket(PathBuf),
    /// Several of one daemon, in this order in the guest: a name, and what `--device` says.
    Many(Vec<(String, String)>),
}

impl Devices {
    /// Reads `NAME=SPEC NAME=SPEC …`.
    ///
    /// # Errors
    ///
    /// It is not of that form.
    pub fn parse(text: &str) -> Result<Self> {
        let mut devices = Vec::new();
        for device in text.split_ascii_whitespace() {
            match device.split_once('=') {
                Some((name, spec)) if !spec.is_empty() && is_name(name) => {
                    devices.push((name.to_owned(), spec.to_owned()));
                }
                _ => bail!(
                    "DEVICES: \"{device}\" is not NAME=SPEC (NAME: small letters, digits, - and _)"
                ),
            }
        }
        Ok(Self::Many(devices))
    }

    /// How many nodes the guest gets at least.
    pub fn count(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One | Self::Socket(_) => 1,
            Self::Many(devices) => devices.len(),
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name.chars().all(allowed)
}

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A guest with our device.
    Guest,
    /// The host of such a guest: repository and cache are in their places, writable (what is
    /// written there ends with the machine).
    Host,
}

/// A machine, and the daemon beside it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is for.
    pub role: Role,
    /// Its devices.
    pub devices: Devices,
    /// Virtio device ID: 30 or 48; by default what QEMU can name.
    pub virtio_id: Option<u32>,
    /// The daemon.
    pub daemon: PathBuf,
    /// Further options of it.
    pub daemon_args: Vec<String>,
    /// Environment of it.
    pub daemon_env: Vec<(String, String)>,
    /// Load the module. It is at `/harness/virtio_v4l2.ko` either way.
    pub module: bool,
    /// The module.
    pub ko: PathBuf,
    /// Parameters of it.
    pub module_params: String,
    /// Series of kernels, for instance `7.2` or `7.2-debug`; by default the one of the harness.
    pub kernel: Option<String>,
    /// Further arguments of the kernel.
    pub kernel_args: String,
    /// Further arguments of QEMU.
    pub qemu_args: Vec<String>,
    /// Size of its memory, as QEMU has it.
    pub memory: String,
    /// How many processors.
    pub processors: u32,
    /// The only processor of the host that QEMU may run on.
    pub core: Option<usize>,
    /// KVM or TCG; by default what works here.
    pub accel: Option<Accel>,
    /// Run udevd, which takes long in a VM in a VM.
    pub udev: bool,
    /// Copied to `/job`.
    pub files: Vec<PathBuf>,
    /// Time limits are this many times as long.
    pub slow: u32,
    /// What the guest is watched for, if it may be lost.
    pub watch: Option<Watch>,
}

impl Default for Spec {
    /// A guest with one device, and the module loaded.
    fn default() -> Self {
        Self {
            role: Role::Guest,
            devices: Devices::One,
            virtio_id: None,
            daemon: cache::target().join("release/virtio-v4l2d"),
            daemon_args: Vec::new(),
            daemon_env: Vec::new(),
            module: true,
            ko: cache::repository().join("out/module/virtio_v4l2.ko"),
            module_params: String::new(),
            kernel: None,
            kernel_args: String::new(),
            qemu_args: Vec::new(),
            memory: "1G".to_owned(),
            processors: 2,
            core: None,
            accel: None,
            udev: true,
            files: Vec::new(),
            slow: 1,
            watch: None,
        }
    }
}

impl Spec {
    /// A machine that is the host of a guest.
    pub fn host() -> Self {
        Self {
            role: Role::Host,
            devices: Devices::None,
            module: false,
            memory: "3G".to_owned(),
            ..Self::default()
        }
    }

    /// Makes what the machine is made of, and finds it.
    ///
    /// # Errors
    ///
    /// As [`Parts::prepare`].
    pub fn parts(&self) -> Result<Parts> {
        let kernel = self.kernel.as_deref();
        match self.role {
            Role::Guest => Parts::prepare(kernel),
            Role::Host => Parts::prepare_host(kernel),
        }
    }
}

/// What the guest is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The agent, for tests.
    Agent,
    /// A script, whose output is QEMU's.
    Script,
    /// A login shell at this terminal.
    Shell,
}

/// A machine that is to be started.
#[derive(Debug)]
pub struct Machine<'a> {
    /// What it is.
    pub spec: &'a Spec,
    /// What it is made of.
    pub parts: &'a Parts,
    /// Its files.
    pub run: &'a RunDir,
    /// KVM or TCG.
    pub accel: Accel,
    /// What for.
    pub mode: Mode,
}

impl Machine<'_> {
    /// Virtio device ID of its devices.
    pub fn virtio_id(&self) -> u32 {
        self.spec.virtio_id.unwrap_or(self.parts.qemu_virtio_id)
    }

    /// The value of QEMU's `-device` for one of ours.
    pub fn device(&self, id: &str, chardev: &str, bus: &str) -> String {
        format!(
            "vhost-user-test-device-pci,id={id},bus={bus},chardev={chardev},virtio-id={},\
             num_vqs=2,config_size=40,vq_size=256",
            self.virtio_id()
        )
    }

    /// QEMU's arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut list = Arguments::default();
        self.board(&mut list);
        self.channels(&mut list);
        self.shares(&mut list);
        self.devices(&mut list);
        for argument in &self.spec.qemu_args {
            list.add(argument);
        }
        list.0
    }

    fn board(&self, list: &mut Arguments) {
        let (spec, parts) = (self.spec, self.parts);
        list.option("-name", "virtio-v4l2");
        list.option("-M", "q35");
        for argument in self.accel.arguments() {
            list.add(argument);
        }
        list.option("-smp", &spec.processors.to_string());
        list.option("-m", &spec.memory);
        list.option(
            "-object",
            &format!("memory-backend-memfd,id=ram,share=on,size={}", spec.memory),
        );
        list.option("-machine", "memory-backend=ram");
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            list.add(flag);
        }
        list.option("-display", "none");
        list.option(
            "-kernel",
            &parts.kernel_dir.join("vmlinuz").to_string_lossy(),
        );
        list.option(
            "-initrd",
            &parts.guest_dir.join("initramfs.img").to_string_lossy(),
        );
        // On a busy host an emulated clock jitters, about which the guest would complain
        // (tsc=reliable), and its first ticks may come so late that it would panic
        // (no_timer_check).
        list.option(
            "-append",
            &format!(
                "console=ttyS0 panic=-1 printk.time=1 tsc=reliable no_timer_check {}",
                spec.kernel_args
            ),
        );
        list.drive("root", &parts.guest_dir.join("root.ext4"), "snapshot=on");
        // The device sits on a root port, so that it can be unplugged.
        list.option("-device", "pcie-root-port,id=port0,chassis=1,slot=1");
    }

    fn channels(&self, list: &mut Arguments) {
        let path = |name: &str| self.run.file(name).to_string_lossy().into_owned();
        list.option("-serial", &format!("file:{}", path("console.log")));
        let server = "server=on,wait=off";
        list.option("-qmp", &format!("unix:{},{server}", path("qmp.sock")));
        list.option("-device", "virtio-serial-pci");
        list.option("-device", "virtconsole,chardev=hvc");
        let mux = if self.mode == Mode::Shell {
            ",mux=on"
        } else {
            ""
        };
        list.option("-chardev", &format!("stdio,id=hvc,signal=off{mux}"));
        if self.mode == Mode::Agent {
            list.option(
                "-chardev",
                &format!("socket,id=agent,path={},{server}", path("agent.sock")),
            );
            list.option(
                "-device",
                &format!("virtserialport,chardev=agent,name={PORT}"),
            );
        }
    }

    fn shares(&self, list: &mut Arguments) {
        list.share("harness", &self.run.harness(), true);
        list.share("out", self.run.out(), false);
        if self.spec.role == Role::Host {
            list.share("repo", &cache::repository(), true);
            list.share("cache", &cache::directory(), true);
            // The image of the guest's guest. As a file of the share it would be slow.
            list.drive(
                "guest",
                &self.parts.guest_dir.join("root.ext4"),
                "readonly=on",
            );
        }
    }

    fn devices(&self, list: &mut Arguments) {
        let mut one = |id: &str, chardev: &str, socket: &Path, bus: &str| {
            let socket = socket.to_string_lossy();
            list.option("-chardev", &format!("socket,id={chardev},path={socket}"));
            list.option("-device", &self.device(id, chardev, bus));
        };
        match &self.spec.devices {
            Devices::None => {}
            Devices::One => one("media0", "media", &self.run.file("media.sock"), "port0"),
            Devices::Socket(socket) => one("media0", "media", socket, "port0"),
            Devices::Many(devices) => {
                for (name, _) in devices {
                    let socket = self.run.file(&format!("{name}.sock"));
                    one(&format!("device-{name}"), name, &socket, "pcie.0");
                }
            }
        }
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, argument: &str) {
        self.0.push(argument.into());
    }

    fn option(&mut self, name: &str, value: &str) {
        self.add(name);
        self.add(value);
    }

    fn drive(&mut self, id: &str, image: &Path, mode: &str) {
        let image = image.to_string_lossy();
        self.option(
            "-drive",
            &format!("file={image},format=raw,if=none,id={id},{mode}"),
        );
        self.option("-device", &format!("virtio-blk-pci,drive={id}"));
    }

    fn share(&mut self, tag: &str, path: &Path, read_only: bool) {
        let (path, mode) = (path.to_string_lossy(), if read_only { "on" } else { "off" });
        self.option(
            "-fsdev",
            &format!("local,id={tag},path={path},security_model=none,readonly={mode}"),
        );
        self.option(
            "-device",
            &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
        );
    }
}
