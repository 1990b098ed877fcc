// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What is built before something runs that needs it.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Runs a command whose output is ours.
///
/// # Errors
///
/// It is missing or does not succeed.
pub fn done(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command
        .status()
        .with_context(|| format!("{name} is missing"))?;
    if !status.success() {
        bail!("{name} failed (see above)");
    }
    Ok(())
}

/// Builds the programs of a package, for instance the guest's agent, which stands beside them.
///
/// # Errors
///
/// Cargo is missing or does not succeed.
pub fn programs(arguments: &[&str]) -> Result<()> {
    done(
        Command::new("cargo")
            .args(["build", "--locked", "--quiet"])
            .args(arguments),
    )
}
