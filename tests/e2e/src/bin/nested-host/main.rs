// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Runs in a VM that is a host: what needs such a kernel, and a guest in it. It prints results,
//! which become those of `tests/nested` outside.

mod cargo;
mod encoder;
mod local;
mod proxy;

use std::process::ExitCode;

use anyhow::{Result, bail};
use e2e::Results;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The test outside knows what it is called.
    let results = Results::new("");
    if let Err(error) = run(&results, &words) {
        results.not_ok("runs to its end", &format!("{error:#}"));
    }
    ExitCode::from(u8::from(results.failed() > 0))
}

fn run(results: &Results, words: &[&str]) -> Result<()> {
    match words {
        ["encoder", programs @ ..] => {
            cargo::tests(results, programs)?;
            encoder::guest(results)
        }
        ["proxy"] => proxy::run(results),
        _ => bail!("usage: nested-host encoder PROGRAM... (the test binaries of cargo) | proxy"),
    }
}
