// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What cargo tests without a virtual machine. Every test is a result of its own.

use std::fs::File;

use anyhow::Result;
use e2e::libtest;

use super::checks::cargo;
use crate::tally::{Tally, run};

/// Runs `cargo test`.
pub fn unit(tally: &mut Tally, filters: &[&str]) -> Result<()> {
    let name = "cargo test";
    let path = tally.log(name);
    let mut test = cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--"]);
    let good = run(test.args(filters), &File::create(&path)?)?;
    let said = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
    let mut passed = 0;
    for test in libtest::tests(&said) {
        // There are a thousand that pass.
        let quiet = test.outcome == libtest::Outcome::Ok;
        passed += usize::from(quiet);
        for line in test.lines() {
            if quiet {
                tally.count(&line);
            } else {
                tally.hear(&line);
            }
        }
    }
    for (test, reason) in said.lines().filter_map(ignored) {
        tally.skip(test, reason);
    }
    println!("{passed} tests of cargo passed");
    if good {
        tally.ok("cargo test ends with success");
    } else {
        tally.not_ok(
            "cargo test ends with success",
            "see the end of its log",
            &said,
        );
    }
    Ok(())
}

/// Name and reason of a test that was not run, and that `nested` does not run either.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (test, reason) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = reason.strip_prefix(", ").unwrap_or(reason);
    (!reason.ends_with(": cargo xtask test nested runs it")).then_some((test, reason))
}
