// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The guest driver as kbuild sees it, and the programs that guests need.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

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
    let daemon = ["build", "--release", "--locked", "-p", "virtio-v4l2d"];
    tally.command("the daemon builds (release)", &mut cargo(&daemon));
    tally.command(
        "the guest's clients build",
        &mut Command::new("tests/guest/build"),
    );
    tally.command(
        "the test modules build",
        &mut kmake("out/fence", &["tests/fence"]),
    );
    Ok(())
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
