// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Commands in this machine, as `Guest` runs them in a guest, and files of it.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use e2e::{Output, Results};

/// Runs `command` under `bash -c`; after `seconds` it is ended.
pub fn run_for(seconds: u32, command: &str) -> Result<Output> {
    let (mut output, input) = std::io::pipe()?;
    let mut child = Command::new("timeout")
        .args(["-k", "5", &seconds.to_string(), "bash", "-c", command])
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .spawn()?;
    let mut said = Vec::new();
    output.read_to_end(&mut said)?;
    let status = child.wait()?.code().unwrap_or(-1);
    let text = String::from_utf8_lossy(&said);
    let lines = text.lines().map(str::to_owned).collect();
    Ok(Output { status, lines })
}

/// `name` is as it should be if `command` succeeds within ten minutes.
pub fn check(results: &Results, name: &str, command: &str) -> Result<bool> {
    Ok(results.command(name, &run_for(600, command)?))
}

/// `name` is as it should be if both files have the same bytes.
pub fn same(results: &Results, name: &str, one: &Path, other: &Path) -> bool {
    let reason = match (fs::read(one), fs::read(other)) {
        (Ok(a), Ok(b)) if a == b => None,
        (Ok(a), Ok(b)) => {
            let place = a.iter().zip(&b).position(|(a, b)| a != b);
            let place = place.unwrap_or(a.len().min(b.len()));
            let (a, b) = (a.len(), b.len());
            Some(format!("{a} and {b} bytes differ from byte {place} on"))
        }
        (Err(error), _) => Some(format!("{}: {error}", one.display())),
        (_, Err(error)) => Some(format!("{}: {error}", other.display())),
    };
    results.verdict(name, reason.is_none(), &reason.unwrap_or_default())
}
