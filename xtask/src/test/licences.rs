// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Licences: of our files, by REUSE and SPDX, and of what we depend on, by `cargo deny`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use e2e::{cache, fixtures};

use super::checks::{cargo, files};
use crate::tally::{Tally, run};

/// The one tool that comes from neither Debian nor crates.io.
const REUSE_VERSION: &str = "6.2.0";

/// The licence that a file's header names is the one that REUSE.toml gives it.
pub fn spdx(log: &mut File) -> Result<bool> {
    let mut good = true;
    for file in files()? {
        let Some(licence) = licence(&file) else {
            continue;
        };
        let text = std::fs::read_to_string(&file)?;
        let line = format!("SPDX-License-Identifier: {licence}");
        // Without the end of a comment.
        let named = text.lines().take(3).any(|head| {
            head.trim_end_matches(" -->")
                .trim_end_matches(" */")
                .ends_with(&line)
        });
        if !named {
            writeln!(log, "{file} has no line {line}")?;
            good = false;
        }
    }
    Ok(good)
}

/// The licence of a source file; `None` for what has no header.
fn licence(file: &str) -> Option<&'static str> {
    let path = Path::new(file);
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let source = ["rs", "c", "h", "sh", "toml"].contains(&&*extension);
    let script =
        extension.is_empty() && ["tests/vm/", ".ci/"].iter().any(|at| file.starts_with(at));
    let name = path.file_name().unwrap_or_default();
    if file == "REUSE.toml" || !(source || script || name == "Makefile" || name == "Kbuild") {
        return None;
    }
    let kernel = file == "Kbuild" || file.starts_with("guest-driver/");
    Some(if kernel {
        "GPL-2.0"
    } else {
        "GPL-2.0 OR BSD-3-Clause"
    })
}

/// `cargo deny`, which is installed once.
pub fn deny(log: &mut File) -> Result<bool> {
    let place = cache::directory().join("cargo-deny");
    let mut path = place.join("bin").into_os_string();
    let installed = |path: &Path| path.join("cargo-deny").exists();
    let everywhere = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&everywhere).any(|path| installed(&path))
        && !installed(&place.join("bin"))
    {
        let build = cache::directory().join(".tmp.cargo-deny");
        let mut install = cargo(&["install", "--locked", "--quiet", "cargo-deny", "--root"]);
        install.arg(&place).arg("--target-dir").arg(&build);
        let done = run(&mut install, log)?;
        std::fs::remove_dir_all(build)?;
        if !done {
            bail!("cargo-deny cannot be installed");
        }
    }
    path.push(":");
    path.push(everywhere);
    let mut deny = cargo(&["deny", "--config", ".ci/deny.toml", "check"]);
    run(
        deny.args(["licenses", "bans", "sources"]).env("PATH", path),
        log,
    )
}

/// `reuse lint`; skipped where pip cannot install it.
pub fn reuse(tally: &mut Tally) {
    let name = "reuse lint: licences of our files";
    match reuse_program() {
        Ok(python) => {
            let mut lint = Command::new(python);
            tally.command(name, lint.args(["-m", "reuse", "lint"]));
        }
        Err(error) => tally.skip(name, &format!("pip cannot install reuse: {error:#}")),
    }
}

/// Runs `reuse` with `arguments`. Returns its exit status.
pub fn run_reuse(arguments: &[&str]) -> Result<i32> {
    let status = Command::new(reuse_program()?)
        .args(["-m", "reuse"])
        .args(arguments)
        .status()?;
    Ok(status.code().unwrap_or(1))
}

/// The Python that has reuse.
fn reuse_program() -> Result<PathBuf> {
    let entry = format!("reuse-{REUSE_VERSION}");
    let place = cache::once(&entry, &format!("reuse {REUSE_VERSION}"), |place| {
        fixtures::run("python3", &["-m", "venv", &place.to_string_lossy()])?;
        let python = place.join("bin/python").to_string_lossy().into_owned();
        let package = format!("reuse[charset-normalizer]=={REUSE_VERSION}");
        fixtures::run(&python, &["-m", "pip", "install", "--quiet", &package]).map(drop)
    })?;
    Ok(place.join("bin/python"))
}
