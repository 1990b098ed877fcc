// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Kernel, guest and QEMU. `tests/vm/prepare` makes them and says where they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cache;
use crate::devices::camera_frames;

/// Where the parts of a virtual machine are.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Release of the guest's kernel.
    pub kernel_release: String,
    /// Its image (`vmlinuz`) and its source tree (`tree`).
    pub kernel_dir: PathBuf,
    /// The guest's initramfs (`initramfs.img`) and root file system (`root.ext4`).
    pub guest_dir: PathBuf,
    /// An unpacked Debian root with QEMU.
    pub qemu_root: PathBuf,
    /// Version of QEMU.
    pub qemu_version: String,
    /// 48 where this QEMU knows the media device, else 30, the reserved ID.
    pub qemu_virtio_id: u32,
}

impl Parts {
    /// Makes what is missing, and finds it all. `kernel` is a series, for instance `7.2-debug`.
    ///
    /// # Errors
    ///
    /// Something cannot be made; `tests/vm/prepare` has said why.
    pub fn prepare(kernel: Option<&str>) -> Result<Self> {
        Self::print(kernel, &["--print"])
    }

    /// The same, and what the host of a VM needs: vicodec and the camera's frames.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn prepare_host(kernel: Option<&str>) -> Result<Self> {
        camera_frames()?;
        Self::print(kernel, &["--print", "host"])
    }

    fn print(kernel: Option<&str>, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(cache::repository().join("tests/vm/prepare"));
        command.args(arguments).stderr(Stdio::inherit());
        if let Some(kernel) = kernel {
            command.env("KERNEL", kernel);
        }
        let output = command
            .stdin(Stdio::null())
            .output()
            .context("tests/vm/prepare")?;
        if !output.status.success() {
            bail!("preparing failed (see above)");
        }
        let text = String::from_utf8(output.stdout)?;
        let found: HashMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let value = |key: &str| {
            let value = found.get(key).copied();
            value.with_context(|| format!("tests/vm/prepare --print says no {key}"))
        };
        Ok(Self {
            kernel_release: value("KERNEL_RELEASE")?.to_owned(),
            kernel_dir: value("KERNEL_DIR")?.into(),
            guest_dir: value("GUEST_DIR")?.into(),
            qemu_root: value("QEMU_ROOT")?.into(),
            qemu_version: value("QEMU_VERSION")?.to_owned(),
            qemu_virtio_id: value("QEMU_VIRTIO_ID")?.parse()?,
        })
    }

    /// The command that starts QEMU, without the machine: by the loader of its own root, so that it
    /// runs on older hosts, without chroot. It ends with the thread that starts it. With `core` it
    /// runs on that processor only.
    pub fn qemu(&self, core: Option<usize>) -> Command {
        let library = self.qemu_root.join("usr/lib/x86_64-linux-gnu");
        let share = self.qemu_root.join("usr/share");
        let loader = library.join("ld-linux-x86-64.so.2");
        let mut command = match core {
            None => until_our_end(&loader),
            Some(core) => {
                let mut command = until_our_end(Path::new("taskset"));
                command.arg("-c").arg(core.to_string()).arg(loader);
                command
            }
        };
        command
            .env("QEMU_MODULE_DIR", library.join("qemu"))
            .arg("--library-path")
            .arg(&library)
            .arg(self.qemu_root.join("usr/bin/qemu-system-x86_64"))
            .arg("-L")
            .arg(share.join("qemu"))
            .arg("-L")
            .arg(share.join("seabios"));
        command
    }
}

/// A command for `program` that is killed when the thread that starts it ends.
pub fn until_our_end(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}
