// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The test binaries of `tests/e2e`, which boot virtual machines.

use std::process::Command;

use anyhow::Result;

use super::checks::cargo;
use super::module::{kmake, ready};
use crate::tally::Tally;

/// What the hostile devices of some suites are.
const DEVICES: [&str; 10] = [
    "build",
    "--workspace",
    "--locked",
    "--example",
    "hostile-device",
    "--example",
    "wire-device",
    "--example",
    "sink-device",
    "--bins",
];

/// Suites in a guest, each in a machine of its own.
pub fn vm(tally: &mut Tally, filters: &[&str]) -> Result<()> {
    if !ready(tally) || !tally.command("the devices of tests build", &mut cargo(&DEVICES)) {
        return Ok(());
    }
    suites(tally, "vm", &mut test("vm", filters))
}

/// The encoder in a VM whose host is a VM: a kernel with /dev/udmabuf and DMA heaps, which this
/// machine's own may not have.
pub fn nested(tally: &mut Tally, _: &[&str]) -> Result<()> {
    in_host(tally, "nested", "encoder")
}

/// Proxies of a host's devices, in the same way.
pub fn proxy(tally: &mut Tally, _: &[&str]) -> Result<()> {
    in_host(tally, "proxy", "proxy")?;
    let report = tally.logs().join("proxy/report.txt");
    if let Ok(report) = std::fs::read_to_string(report) {
        println!("{report}");
    }
    Ok(())
}

/// Runs a test in a VM that is a host.
fn in_host(tally: &mut Tally, phase: &str, name: &str) -> Result<()> {
    let camera = ["build", "--release", "--locked", "-p", "usb-camera"];
    if !ready(tally) || !tally.command("the USB camera builds", &mut cargo(&camera)) {
        return Ok(());
    }
    suites(tally, phase, &mut test("nested", &[name]))
}

/// Suites on a kernel that looks for mistakes.
pub fn debug(tally: &mut Tally, filters: &[&str]) -> Result<()> {
    let kernel = |out: &str, module: &str| {
        let mut command = kmake(out, &[module]);
        command.env("KERNEL", "7.2-debug");
        command
    };
    let built = tally.command(
        "the module builds for the debug kernel",
        &mut kernel("out/debug/module", "."),
    ) && tally.command(
        "the test modules build for it",
        &mut kernel("out/debug/fence", "tests/fence"),
    ) && tally.command("the devices of tests build", &mut cargo(&DEVICES));
    if !built {
        return Ok(());
    }
    suites(tally, "debug", &mut test("debug", filters))
}

fn test(binary: &str, filters: &[&str]) -> Command {
    let mut command = cargo(&["test", "--workspace", "--locked", "--test", binary, "--"]);
    command
        .args(["--nocapture", "--test-threads=1"])
        .args(filters);
    command
}

/// Each suite prints its own results. One that fails without saying so is a failure, too.
fn suites(tally: &mut Tally, name: &str, command: &mut Command) -> Result<()> {
    let failed = tally.failed();
    let good = tally.program(name, command)?;
    if !good && tally.failed() == failed {
        let log = std::fs::read_to_string(tally.log(name)).unwrap_or_default();
        tally.not_ok(
            &format!("{name}: runs to its end"),
            "see the end of its log",
            &log,
        );
    }
    Ok(())
}
