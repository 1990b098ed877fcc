// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! vicodec behind the proxy, in a VM that is a host: pairs without a guest, then a guest in it with
//! counts and pairs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use e2e::daemon::Daemon;
use e2e::nested::{self, job};
use e2e::process::say;
use e2e::watch::Watch;
use e2e::{Devices, Results, Spec, TestVm, devices, fixtures};

use super::alone::{Alone, Encoder};
use super::guests::Beside;
use super::host::Driver;
use super::{Bench, PROXY_PAIRS, PROXY_SIZES, PROXY_WARMUP, cases, frames, frames_name, guests};

/// How often the VM that is a host is booted: one that is emulated is lost now and then.
const TRIES: u32 = 3;
/// How long it may run.
const LIMIT: Duration = Duration::from_secs(1500);
/// How long the guest in it may run.
const GUEST_LIMIT: Duration = Duration::from_secs(900);

/// The run `proxy`: boots the VM that is a host and has [`inner`] run there. Whether all ran to
/// its end.
///
/// # Errors
///
/// It does not boot, or is lost each time.
pub fn run(bench: &Bench) -> Result<bool> {
    let start = Instant::now();
    let work = tempfile::tempdir()?;
    let mut spec = nested::host(&std::env::current_exe()?);
    spec.files.push(bench.programs.join("bench-path"));
    spec.files.push(fixtures::program("bench"));
    for size in PROXY_SIZES {
        let link = work.path().join(frames_name(size));
        symlink(frames(size)?, &link)?;
        spec.files.push(link);
    }
    spec.watch = Some(Watch {
        limit: LIMIT,
        entry: None,
    });
    say(&format!(
        "proxy: {PROXY_PAIRS} pairs a size without a guest, then a guest in a VM"
    ));
    for number in 1..=TRIES {
        match in_host(&spec, &bench.raw("proxy")) {
            Ok(good) => {
                say(&format!("proxy: {} s", start.elapsed().as_secs()));
                return Ok(good);
            }
            Err(error) => say(&format!(
                "proxy: the VM that is a host was lost (attempt {number} of {TRIES}): {error:#}"
            )),
        }
    }
    bail!("the VM that is a host was lost {TRIES} times");
}

/// One try. Whether all cases ran to their end.
fn in_host(spec: &Spec, out: &Path) -> Result<bool> {
    let vm = TestVm::boot(Results::new("proxy"), spec, out)?;
    let program = job("bench-run").display().to_string();
    let command = nested::environment(&format!("{program} inner"));
    let mut process = vm.guest.spawn(&command)?;
    let end = Instant::now() + LIMIT;
    while let Some(line) = process.next_line(end)? {
        eprintln!("{line}");
    }
    let good = process.wait(0)?.success();
    vm.end()?;
    Ok(good)
}

/// What runs in it. Whether all cases ran to their end.
///
/// # Errors
///
/// There is no vicodec, or the guest does not boot.
pub fn inner() -> Result<bool> {
    let node = devices::vicodec(&["multiplanar=1"])?
        .get("VICODEC_ENC")?
        .to_owned();
    let alone = Alone {
        encoder: Encoder::Node(node.clone()),
        programs: nested::JOB.into(),
        frames: nested::JOB.into(),
    };
    let daemon_args = vec![format!("--device=proxy,path={}", node.display())];
    without_guest(&alone, &daemon_args)?;
    let frames = PROXY_SIZES.map(|size| job(&frames_name(size)));
    let spec = Spec {
        daemon_args,
        files: [&frames[..], &[job("bench")]].concat(),
        ..nested::guest(GUEST_LIMIT)
    };
    let beside = Beside {
        pinned: None,
        alone: Some(alone),
    };
    guests::run(
        "proxy",
        &spec,
        &cases::proxied(),
        beside,
        Path::new("/out/guest"),
    )
}

/// Pairs without a guest, to `/out/path`.
fn without_guest(alone: &Alone, daemon_args: &[String]) -> Result<()> {
    let out = PathBuf::from("/out/path");
    fs::create_dir_all(&out)?;
    let spec = Spec {
        devices: Devices::One,
        daemon: job("virtio-v4l2d"),
        daemon_args: daemon_args.to_vec(),
        ..Spec::default()
    };
    let socket = PathBuf::from("/run/bench.sock");
    let daemon = Daemon::start(&spec, |_| socket.clone(), &out.join("daemon.log"))?;
    let daemon = daemon.context("no daemon")?;
    let driver = Driver {
        command: vec![job("bench-path").display().to_string()],
        socket: socket.clone(),
        pid: daemon.pid(),
        frames: nested::JOB.into(),
        more: vec!["coded=FWHT".to_owned()],
        warmup: PROXY_WARMUP,
    };
    for size in PROXY_SIZES {
        driver.in_turns(alone, PROXY_PAIRS, size, &out)?;
        say(&format!("proxy: {PROXY_PAIRS} pairs at {size}, no guest"));
    }
    Ok(())
}
