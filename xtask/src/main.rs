// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `cargo xtask`: what `make` does beyond building.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use e2e::{cache, job};

mod build;
mod circles;
mod demo;
mod kernel;
mod known;
mod layout;
mod modules;
mod sizes;
mod source;
mod tally;
mod test;

const USAGE: &str = "usage: cargo xtask COMMAND
  test [PHASE...] [-- NAME...]  every check and test, or some phases, or of these the tests
                   whose names contain NAME; phases: format lint unit module vm nested proxy debug
  check            the fast part of it: format, lints, docs, unit and wire tests
  demo             encodes a clip in a guest with three programs; results in out/demo
  bench            what a frame costs; results in out/bench
  layout           no circles of files, nothing too long or too wide (CONTRIBUTING.md, \"Layout\")
  layout --shrink  the same, and removes from xtask/known what is no longer needed there
  reuse ARGUMENT...  runs reuse, which is installed once
  vm-run SCRIPT [FILE...]  runs SCRIPT in a guest; without SCRIPT it says more
  vm-shell         a login shell in a guest";

fn main() -> ExitCode {
    match command() {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the arguments say; returns the exit status.
fn command() -> Result<i32> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["check"] => test::run(&test::CHECK, &[]),
        ["test", ref rest @ ..] => {
            let at = rest
                .iter()
                .position(|word| *word == "--")
                .unwrap_or(rest.len());
            test::run(&rest[..at], rest.get(at + 1..).unwrap_or_default())
        }
        ["bench"] => bench(),
        ["demo"] => demo::demo(),
        ["reuse", ref rest @ ..] => test::run_reuse(rest),
        ["layout"] => check_layout(false),
        ["layout", "--shrink"] => check_layout(true),
        ["vm-run"] => bail!("{}", job::USAGE),
        ["vm-run", script, ref files @ ..] => {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            job::run(Some(Path::new(script)), &files)
        }
        ["vm-shell"] => job::run(None, &[]),
        _ => {
            eprintln!("{USAGE}");
            Ok(2)
        }
    }
}

/// Builds what measures and runs it.
fn bench() -> Result<i32> {
    let packages = ["strace", "linux-perf", "gnuplot-nox"];
    build::done(
        Command::new("tests/vm/prepare")
            .arg("--packages")
            .args(packages),
    )?;
    build::programs(&[
        "--release",
        "-p",
        "virtio-v4l2-bench",
        "-p",
        "virtio-v4l2-e2e",
    ])?;
    let sink = ["-p", "virtio-v4l2-tests", "--example", "sink-device"];
    build::programs(&[&["--release"], &sink[..]].concat())?;
    let status = Command::new(cache::target().join("release/bench-run")).status()?;
    Ok(status.code().unwrap_or(1))
}

fn check_layout(shrink: bool) -> Result<i32> {
    let good = layout::check(&cache::repository(), shrink).map_err(anyhow::Error::msg)?;
    Ok(i32::from(!good))
}
