// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Commands that people are told of, to the letter.

use std::time::{Duration, Instant};

use e2e::TestVm;
use nix::sys::signal::Signal;

/// How long one may take.
const LIMIT: Duration = Duration::from_secs(300);
/// How often its file is looked at.
const TICK: Duration = Duration::from_millis(500);
/// How many of its last lines are kept.
const KEPT: usize = 12;

/// Runs `command` where `node` is `/dev/video0`, until `file` has so many bytes. Returns what it
/// has said.
pub fn as_written(
    vm: &TestVm,
    name: &str,
    node: &str,
    (file, bytes): (&str, u64),
    command: &str,
) -> String {
    let size = || {
        let size = vm.run(&format!("stat -c %s /tmp/commands/{file}"));
        size.last().parse::<u64>().unwrap_or(0)
    };
    let bind = format!("test {node} -ef /dev/video0 || mount --bind {node} /dev/video0");
    let run = format!("cd /tmp/commands && exec unshare -m bash -c '{bind}; exec {command}'");
    let mut program = vm
        .guest
        .spawn(&run)
        .unwrap_or_else(|error| panic!("{error:#}"));
    let deadline = Instant::now() + LIMIT;
    let mut written = 0;
    while written < bytes && Instant::now() < deadline && program.running() {
        std::thread::sleep(TICK);
        // Whether it has ended is found out so; what it has written by then counts.
        let _ = program.ends(0);
        written = size();
    }
    // It may have ended by itself.
    let _ = program.signal(Signal::SIGINT);
    let output = program.wait(20).unwrap_or_else(|error| panic!("{error:#}"));
    // Rates come with a carriage return.
    let lines = output.lines.iter().flat_map(|line| line.split('\r'));
    let lines: Vec<_> = lines.collect();
    let last = lines.last().copied().unwrap_or_default();
    let reason = format!("{written} bytes: {last}");
    vm.results.verdict(name, written >= bytes, &reason);
    let kept = lines[lines.len().saturating_sub(KEPT)..].join("\n");
    let stopped = format!("(stopped at {} bytes in {file})", size());
    format!("$ {command}\n{kept}\n\n{stopped}\n\n")
}
