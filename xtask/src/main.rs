// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `cargo xtask`: checks of the source that no other tool makes. [`layout`] has the rules.

use std::path::Path;
use std::process::ExitCode;

mod circles;
mod known;
mod layout;
mod modules;
mod sizes;
mod source;

const USAGE: &str = "usage: cargo xtask layout [--shrink]
  layout           no circles of files, nothing too long or too wide (CONTRIBUTING.md, \"Layout\")
  layout --shrink  the same, and removes from xtask/known what is no longer needed there";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let shrink = match arguments[..] {
        ["layout"] => false,
        ["layout", "--shrink"] => true,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    // Cargo says where this package is; the repository is around it.
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match layout::check(&repository, shrink) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
