// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The guest driver as kbuild sees it, and the programs that guests need.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use e2e::cache;

use super::cfi;
use super::checks::cargo;
use crate::kernel;
use crate::tally::{Tally, run};

/// Builds and checks the module, the daemon and the guest's programs.
pub fn module(tally: &mut Tally, _: &[&str]) -> Result<()> {
    let name = "the module builds without a warning";
    let log = tally.log(name);
    tally.check(name, |file| {
        // From nothing: what is not compiled again does not warn again.
        if Path::new("out/module").exists() {
            std::fs::remove_dir_all("out/module")?;
        }
        without_warning(&mut kmake("out/module", &["."]), file, &log)
    });
    // With the kernel's choice of lints.
    let (name, clippy) = ("clippy of the module", tally.logs().join("clippy"));
    let log = tally.log(name);
    tally.check(name, |file| {
        without_warning(
            &mut kmake(&clippy.to_string_lossy(), &[".", "CLIPPY=1"]),
            file,
            &log,
        )
    });
    tally.check("rustdoc of the module", |log| {
        run(&mut kernel::document()?, log)
    });
    tally.check(
        "a kernel with CFI would call the module's callbacks",
        cfi::check,
    );
    programs(tally);
    Ok(())
}

/// Builds what guests run besides the module. Whether all of it does.
fn programs(tally: &mut Tally) -> bool {
    let daemon = ["build", "--release", "--locked", "-p", "virtio-v4l2d"];
    let clients = &mut Command::new("tests/guest/build");
    let modules = &mut kmake("out/fence", &["tests/fence"]);
    tally.command("the daemon builds (release)", &mut cargo(&daemon))
        & tally.command("the guest's clients build", clients)
        & tally.command("the test modules build", modules)
}

/// For phases that run without this one: builds what guests need if some of it is missing. What is
/// there stays as it is. Whether it is all there now.
pub fn ready(tally: &mut Tally) -> bool {
    let daemon = cache::target().join("release/virtio-v4l2d");
    let made = [
        "out/module/virtio_v4l2.ko",
        "out/guest/client",
        "out/fence/test_fence.ko",
    ];
    if daemon.exists() && made.iter().all(|file| Path::new(file).exists()) {
        return true;
    }
    tally.command("the module builds", &mut kmake("out/module", &["."])) && programs(tally)
}

/// kbuild for an external module; its products go to `out`.
pub fn kmake(out: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("tests/vm/kmake");
    command.env("OUT", out).args(arguments);
    command
}

fn without_warning(command: &mut Command, log: &File, path: &Path) -> Result<bool> {
    let good = run(command, log)?;
    let said = std::fs::read(path)?;
    Ok(good
        && !String::from_utf8_lossy(&said)
            .to_lowercase()
            .contains("warning"))
}
