// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! KVM or TCG.
//!
//! `/dev/kvm` may open and yet not run a kernel, so the answer comes from booting one. It is
//! remembered until the machine boots again.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::unistd::{AccessFlags, access};

use crate::cache;
use crate::parts::Parts;
use crate::process::say;

/// How QEMU runs the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the host's kernel.
    Kvm,
    /// By emulation, which is slower.
    Tcg,
}

impl Accel {
    /// As QEMU has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// QEMU's arguments.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// What ACCEL asks for, if anything.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        Ok(Some(match text {
            "" => return Ok(None),
            "kvm" => Self::Kvm,
            "tcg" => Self::Tcg,
            _ => bail!("ACCEL is kvm or tcg, not \"{text}\""),
        }))
    }

    /// What works on this machine.
    ///
    /// # Errors
    ///
    /// The answer cannot be kept, or QEMU does not start.
    pub fn find(parts: &Parts) -> Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let memory = cache::directory().join(format!("accel-{}", boot.trim()));
        if let Ok(Some(accel)) = Self::parse(fs::read_to_string(&memory).unwrap_or_default().trim())
        {
            return Ok(accel);
        }
        say("does KVM run a guest here? trying");
        let accel = if kvm_boots(parts)? {
            Self::Kvm
        } else {
            Self::Tcg
        };
        for entry in fs::read_dir(cache::directory())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("accel-") {
                fs::remove_file(entry.path())?;
            }
        }
        fs::write(&memory, accel.name())?;
        say(match accel {
            Self::Kvm => "KVM: works",
            Self::Tcg => {
                "KVM: does not run a guest here; using TCG (emulation, slower). ACCEL=kvm insists"
            }
        });
        Ok(accel)
    }
}

/// Whether the kernel says its first words under KVM, within seconds.
fn kvm_boots(parts: &Parts) -> Result<bool> {
    if access(Path::new("/dev/kvm"), AccessFlags::W_OK).is_err() {
        return Ok(false);
    }
    let log = tempfile::NamedTempFile::new()?;
    // No root file system: what the kernel says without one on the serial port is all we wait for.
    let mut child = parts
        .qemu(None)
        .args(["-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512M"])
        .args([
            "-display",
            "none",
            "-nodefaults",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(parts.kernel_dir.join("vmlinuz"))
        .args(["-append", "console=ttyS0 panic=-1"])
        .stdin(Stdio::null())
        .stdout(log.reopen()?)
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(8);
    let mut found = false;
    while !found && Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(100));
        let said = fs::read(log.path()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        found = said.contains("Kernel panic") || said.contains("VFS: ");
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(found)
}
