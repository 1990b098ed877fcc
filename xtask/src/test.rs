// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `make test` and `make check`: every check and test, in phases.

use std::time::Instant;

use anyhow::{Result, bail};
use e2e::cache;

use crate::tally::Tally;

mod cfi;
mod checks;
mod guests;
mod licences;
mod module;
mod unit;

pub use licences::run_reuse;

type Phase = fn(&mut Tally, &[&str]) -> Result<()>;

/// Name, whether `make test` has it, what it does.
const PHASES: [(&str, bool, Phase); 8] = [
    ("format", true, checks::format),
    ("lint", true, checks::lint),
    ("unit", true, unit::unit),
    ("module", true, module::module),
    ("vm", true, guests::vm),
    ("nested", true, guests::nested),
    ("proxy", true, guests::proxy),
    ("debug", false, guests::debug),
];

/// What needs no virtual machine.
pub const CHECK: [&str; 3] = ["format", "lint", "unit"];

/// Runs the phases whose names `wanted` has, or else those of `make test`. `filters`: parts of the
/// names of tests, for phases that take them. Logs are in `out/test`. Returns the exit status.
pub fn run(wanted: &[&str], filters: &[&str]) -> Result<i32> {
    let known = |name: &&str| PHASES.iter().any(|(phase, ..)| phase == name);
    if let Some(name) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = PHASES.iter().map(|(name, ..)| *name).collect();
        bail!("\"{name}\": the phases are {}", names.join(" "));
    }
    std::env::set_current_dir(cache::repository())?;
    let mut tally = Tally::new(&cache::repository().join("out/test"))?;
    for (name, usual, phase) in PHASES {
        if !(wanted.contains(&name) || wanted.is_empty() && usual) {
            continue;
        }
        println!("\n== {name}");
        let start = Instant::now();
        if let Err(error) = phase(&mut tally, filters) {
            tally.not_ok(
                &format!("{name}: runs to its end"),
                &format!("{error:#}"),
                "",
            );
        }
        println!("== {name}: {} s", start.elapsed().as_secs());
    }
    Ok(i32::from(!tally.end()))
}
