// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Guests that run the client, case by case.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use e2e::counters::Answerer;
use e2e::fixtures;
use e2e::process::say;
use e2e::{Devices, Output, Results, Spec, TestVm, results};

use super::alone::Alone;
use super::cases::{self, Case};
use super::host::Pinned;
use super::{Bench, SIZES, frames_name};

/// Time of a case, in seconds.
const LIMIT: u32 = 300;

/// What runs beside the guest.
#[derive(Debug, Default)]
pub struct Beside<'a> {
    /// The daemon whose encoders have core 1, unless it is the machine's own.
    pub pinned: Option<&'a Pinned>,
    /// The encoder alone, for cases that ask for it.
    pub alone: Option<Alone>,
}

/// Runs `cases` in a guest; what they leave is in `out`. Whether all ran to their end.
///
/// # Errors
///
/// The guest does not boot, or is lost.
pub fn run(
    name: &str,
    spec: &Spec,
    cases: &[Case],
    beside: Beside<'_>,
    out: &Path,
) -> Result<bool> {
    let start = Instant::now();
    say(&format!("{name}: {} cases in a guest", cases.len()));
    let vm = TestVm::boot(Results::new(name), spec, out)?;
    let mut answerer = match beside.pinned {
        Some(pinned) => {
            Answerer::new(vm.out(), pinned.daemon.pid(), &pinned.log)?.pinning_encoders()
        }
        None => Answerer::new(vm.out(), vm.daemon().pid(), vm.daemon().log_file())?,
    };
    let host_only = vm.out().join("host-only.jsonl");
    if let Some(alone) = beside.alone {
        answerer = answerer.host_only(move |label| alone.run(label, &host_only));
    }
    let mut good = true;
    for case in cases {
        let said = one(&vm, &mut answerer, case)?;
        if said.success() {
            say(&format!("{name}: {}", case.label));
        } else {
            say(&format!("{name}: {} FAILED", case.label));
            results::excerpt(&said.lines, 5);
            good = false;
        }
    }
    drop(answerer);
    vm.end()?;
    say(&format!("{name}: {} s", start.elapsed().as_secs()));
    Ok(good)
}

/// One case.
fn one(vm: &TestVm, answerer: &mut Answerer<'_>, case: &Case) -> Result<Output> {
    let Case { label, arguments } = case;
    let mut process = vm.spawn(&format!("/job/bench label={label} {arguments}"));
    let end = Instant::now() + vm.guest.limit(LIMIT);
    // A guest that is gone is seen by wait().
    answerer.until(|| process.ends(0).unwrap_or(true) || Instant::now() >= end)?;
    process.wait(0)
}

/// The run `sink`: a device that discards frames.
///
/// # Errors
///
/// As [`run`].
pub fn sink(bench: &Bench) -> Result<bool> {
    let spec = Spec {
        daemon: bench.programs.join("examples/sink-device"),
        files: vec![fixtures::program("bench")],
        ..Spec::default()
    };
    let cases = cases::counted("sink", "frames=640 trace=1", "frames=240");
    run("sink", &spec, &cases, Beside::default(), &bench.raw("sink"))
}

/// The run `encoder`: x264enc with one thread.
///
/// # Errors
///
/// As [`run`].
pub fn encoder(bench: &Bench) -> Result<bool> {
    let spec = Spec {
        daemon_args: vec!["--device=encoder,threads=1".to_owned()],
        files: vec![fixtures::program("bench")],
        ..Spec::default()
    };
    let cases = cases::counted("encoder", "frames=140", "frames=140");
    run(
        "encoder",
        &spec,
        &cases,
        Beside::default(),
        &bench.raw("encoder"),
    )
}

/// The run `guest`: pairs of a guest and the encoder alone. The guest has core 0 with the daemon,
/// its encoder core 1.
///
/// # Errors
///
/// As [`run`].
pub fn pairs(bench: &Bench) -> Result<bool> {
    let raw = bench.raw("guest");
    let mut pinned = Pinned::start(bench.raw("guest-daemon.log"))?;
    let frames = SIZES.map(|size| pinned.work.path().join(frames_name(size)));
    let spec = Spec {
        devices: Devices::Socket(pinned.socket()),
        processors: 1,
        core: Some(0),
        files: [&frames[..], &[fixtures::program("bench")]].concat(),
        ..Spec::default()
    };
    let beside = Beside {
        pinned: Some(&pinned),
        alone: Some(pinned.alone(bench)),
    };
    let good = run("guest", &spec, &cases::pairs(bench.pairs), beside, &raw)?;
    pinned.daemon.end();
    std::fs::rename(&pinned.log, raw.join("daemon.log"))?;
    Ok(good)
}
