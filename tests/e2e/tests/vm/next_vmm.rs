// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One daemon serves one VMM after the other: a VM that dies while it streams, and the next one. A
//! run of `make vm-run` that is stopped ends a QEMU that does not hear it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use e2e::daemon::Daemon;
use e2e::fixtures::program;
use e2e::parts::until_our_end;
use e2e::results::excerpt_of;
use e2e::suite::Suite;
use e2e::{Devices, Spec, TestVm, job, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many results the client's test of draining has.
const DRAINS: usize = 10;
/// Exit status of a run that was stopped.
const STOPPED: i32 = 130;
/// Variable that tells the run that it is to be stopped.
const SCRIPT: &str = "NEXT_VMM_SCRIPT";

#[test]
fn next_vmm() {
    let suite = Suite::new("next-vmm");
    suite.run(&spec(Devices::One), |vm| vm.client("drains"));
    suite.on_host(|_| shared_daemon(&suite));
    suite.on_host(|_| stopped_run(&suite));
    suite.end();
}

fn spec(devices: Devices) -> Spec {
    Spec {
        devices,
        files: vec![program("client")],
        ..Spec::default()
    }
}

/// A daemon, a VM that dies while it streams, and the next VM on the same socket.
fn shared_daemon(suite: &Suite) {
    let work = tempfile::tempdir().unwrap();
    let socket = work.path().join("socket");
    let log = suite.out().join("shared-daemon.log");
    let mut daemon = Daemon::start(&Spec::default(), |_| socket.clone(), &log)
        .unwrap()
        .unwrap();
    let results = &suite.results;
    let boot = |name: &str| {
        let spec = spec(Devices::Socket(socket.clone()));
        TestVm::boot(results.clone(), &spec, &suite.out().join(name)).unwrap()
    };

    let first = boot("killed");
    let mut client = first.spawn("/job/client hold");
    let streams = client.says(10, "ready").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    drop(client);
    results.verdict(
        "SOCKET=: the first VM ends while it streams",
        first.quit().unwrap() && streams,
        "it does not stream, or QEMU does not end",
    );

    let next = boot("next");
    let drains = next.run("/job/client drains");
    let good = |line: &&String| line.starts_with("ok - drain");
    results.verdict(
        "SOCKET=: the daemon serves the next VM, whole",
        drains.lines.iter().filter(good).count() == DRAINS,
        &drains.text(),
    );
    next.end().unwrap();
    let connected = daemon.log().matches("VMM connected").count();
    results.verdict(
        "the daemon saw two VMMs",
        connected == 2,
        &format!("{connected}"),
    );

    let status = daemon.end();
    results.verdict(
        "SIGTERM ends the daemon with status 0",
        status == Some(0),
        &format!("{status:?}"),
    );
    results.verdict(
        "and its socket is gone",
        !socket.exists(),
        "it is still there",
    );
}

/// A QEMU whose backend does not answer is deaf to SIGTERM: with a daemon of its own that is
/// stopped, and then the run.
fn stopped_run(suite: &Suite) {
    let results = &suite.results;
    let work = tempfile::tempdir().unwrap();
    let script = work.path().join("stream");
    fs::write(
        &script,
        "/job/client hold & sleep 1; touch /out/streaming; sleep 60\n",
    )
    .unwrap();
    // Where the run has what the guest writes, until it ends.
    let place = suite.out().join("deaf-run");
    fs::create_dir_all(&place).unwrap();
    let (out, log) = (place.join("out"), suite.out().join("deaf.log"));
    let mut run = until_our_end(&std::env::current_exe().unwrap())
        .args(["--exact", "next_vmm::run_to_be_stopped"])
        .args(["--ignored", "--nocapture"])
        .env(SCRIPT, &script)
        .env("OUT", &out)
        .env("TIMEOUT", "120")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !streams(&place) && process::ends(&mut run, Duration::from_millis(100)).is_none() {
        assert!(Instant::now() < deadline, "no program streams after 120 s");
    }
    for daemon in daemons(&run) {
        kill(daemon, Signal::SIGSTOP).unwrap();
    }
    process::signal(&run, Signal::SIGTERM);
    let status = process::ends(&mut run, Duration::from_secs(30)).and_then(|end| end.code());
    let good = results.verdict(
        "a run that is stopped ends a QEMU that waits for its backend",
        status == Some(STOPPED),
        &format!("status {status:?}"),
    );
    if !good {
        let _ = run.kill();
        excerpt_of(&log, 20);
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    results.verdict(
        "… by SIGKILL",
        said.contains("QEMU did not end on SIGTERM"),
        said.lines().last().unwrap_or_default(),
    );
    let kept = fs::metadata(out.join("daemon.log")).is_ok_and(|file| file.len() > 0);
    results.verdict("… and its files are there", kept, "no daemon.log");
}

/// What [`stopped_run`] runs in a process of its own.
#[test]
#[ignore = "a part of next_vmm"]
fn run_to_be_stopped() {
    let script = PathBuf::from(std::env::var_os(SCRIPT).unwrap());
    let status = job::run(Some(&script), &[program("client")]).unwrap();
    std::process::exit(status);
}

/// Whether the client in the guest streams, as a file of the only run in `place` says.
fn streams(place: &Path) -> bool {
    let runs = fs::read_dir(place).into_iter().flatten().flatten();
    runs.map(|run| run.path().join("streaming"))
        .any(|file| file.exists())
}

/// The daemons that a process has started.
fn daemons(run: &Child) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", run.id())).unwrap();
    let children = tasks.flatten().map(|task| task.path().join("children"));
    let children: String = children
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    let children = children.split_ascii_whitespace();
    children
        .filter(|child| {
            fs::read_to_string(format!("/proc/{child}/comm"))
                .is_ok_and(|comm| comm.trim() == "virtio-v4l2d")
        })
        .map(|child| Pid::from_raw(child.parse().unwrap()))
        .collect()
}
