// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What needs no program of ours: formatting, lints, documentation, licences.

use std::process::Command;

use anyhow::Result;

use super::licences;
use crate::tally::Tally;

/// A cargo command in the repository.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments);
    command
}

/// How the source is written.
pub fn format(tally: &mut Tally, _: &[&str]) -> Result<()> {
    tally.command("rustfmt", &mut cargo(&["fmt", "--all", "--check"]));
    let mut kfmt = Command::new("tests/vm/kfmt");
    tally.command(
        "rustfmt of guest-driver, as the kernel does",
        kfmt.arg("--check"),
    );
    let mut shellcheck = Command::new("shellcheck");
    shellcheck
        .args(["--shell=bash", "--source-path=tests"])
        .args(shell_scripts()?);
    tally.command("shellcheck", &mut shellcheck);
    tally.check("SPDX line in every source file", licences::spdx);
    Ok(())
}

/// What tools say of the source.
pub fn lint(tally: &mut Tally, _: &[&str]) -> Result<()> {
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    tally.command("clippy", &mut cargo(&clippy));
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    tally.command("cargo doc", doc.env("RUSTDOCFLAGS", "-D warnings"));
    tally.check("cargo deny: licences, bans, sources", licences::deny);
    licences::reuse(tally);
    let mut layout = Command::new(std::env::current_exe()?);
    tally.command(
        "layout: circles of files, lengths, columns",
        layout.arg("layout"),
    );
    Ok(())
}

/// Files of the repository.
pub fn files() -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Those that are for a shell: they begin with how to run them, or say it to shellcheck.
fn shell_scripts() -> Result<Vec<String>> {
    let is_script = |file: &String| {
        std::fs::read_to_string(file).is_ok_and(|text| {
            let mut lines = text.lines().take(3);
            let first = lines.next().unwrap_or_default();
            first.starts_with("#!") && first.ends_with("sh")
                || lines.any(|line| line == "# shellcheck shell=bash")
        })
    };
    Ok(files()?.into_iter().filter(is_script).collect())
}
