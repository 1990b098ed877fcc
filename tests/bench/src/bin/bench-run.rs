// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `make bench`: what a frame costs. Counts in guests (with a device that discards frames, and with
//! x264enc), and the throughput of the path over that of x264enc alone, in pairs. Results are in
//! `out/bench`: report.json, table.txt, plot.png. Exit status 1 if a count misses its target.
//!
//! `RUNS="sink encoder path guest proxy"` does some of it; `PAIRS=n` (10). `proxy` is the same of a
//! device of the host, vicodec, which takes a VM that is a host.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use bench::run::{Bench, guests, host, proxy};
use bench::summary;
use e2e::process::say;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            say("error: a count misses its target, or a part did not run (see above)");
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    // In the VM that is a host.
    if std::env::args().nth(1).as_deref() == Some("inner") {
        return proxy::inner();
    }
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("make bench needs two processors: one for the encoder, one for the guest");
    }
    let variable = |name: &str, default: &str| {
        let value = std::env::var(name).unwrap_or_default();
        if value.is_empty() {
            default.to_owned()
        } else {
            value
        }
    };
    let pairs = variable("PAIRS", "10");
    let pairs = pairs
        .parse()
        .with_context(|| format!("PAIRS={pairs} is not a number"))?;
    let bench = Bench::new(pairs)?;
    let mut good = true;
    for run in variable("RUNS", "sink encoder path guest proxy").split_whitespace() {
        let result = match run {
            "sink" => guests::sink(&bench),
            "encoder" => guests::encoder(&bench),
            "path" => host::run(&bench).map(|()| true),
            "guest" => guests::pairs(&bench),
            "proxy" => proxy::run(&bench),
            _ => bail!("RUNS: \"{run}\" is none of sink encoder path guest proxy"),
        };
        // One that fails does not keep the next from running.
        good &= result.unwrap_or_else(|error| {
            say(&format!("{run}: {error:#}"));
            false
        });
    }
    println!();
    good &= summary::write(&bench.out)?;
    say(&format!(
        "report.json, table.txt and plot.png are in {}",
        bench.out.display()
    ));
    Ok(good)
}
