// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The daemon stops answering (SIGSTOP): programs can be interrupted, commands time out, late
//! answers harm nobody.

use std::fs::File;
use std::time::{Duration, Instant};

use e2e::TestVm;
use e2e::kernel_log::SILENT_DEVICE;
use nix::sys::signal::Signal;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    interrupted(vm);
    for test in ["posted", "abandoned", "replaced"] {
        client_with_daemon(vm, test);
    }
    vm.daemon().signal(Signal::SIGSTOP);
    let begin = Instant::now();
    vm.refuse(
        "a command that nobody answers times out",
        "v4l2-ctl -d0 --list-ctrls",
    );
    let took = begin.elapsed();
    vm.results.verdict(
        "within its limit",
        took < Duration::from_secs(15),
        &format!("{took:?}"),
    );
    vm.daemon().signal(Signal::SIGCONT);
    std::thread::sleep(Duration::from_millis(500));
    vm.rmmod("rmmod");
    vm.dmesg_clean(
        "no kernel warning but the one about the device",
        &[SILENT_DEVICE],
    );
}

/// Long before the time limit of a command.
fn interrupted(vm: &TestVm) {
    vm.daemon().signal(Signal::SIGSTOP);
    let begin = Instant::now();
    let mut program = vm.spawn("exec v4l2-ctl -d0 --list-ctrls");
    std::thread::sleep(Duration::from_secs(1));
    program.signal(Signal::SIGINT).unwrap();
    program.ends(20).unwrap();
    let took = begin.elapsed();
    vm.results.verdict(
        "SIGINT ends a program that waits for a silent daemon",
        took < Duration::from_secs(3),
        &format!("{took:?}"),
    );
    vm.daemon().signal(Signal::SIGCONT);
    // The late answer comes now, to a command whose program is gone.
    std::thread::sleep(Duration::from_millis(500));
    let controls = vm.run_for(20, "v4l2-ctl -d0 --list-ctrls");
    vm.results.verdict(
        "after the late answer the device serves on",
        controls.success() && controls.text().contains("video_bitrate"),
        controls.last(),
    );
}

/// A test of our client that asks for the daemon to be stopped, and to be continued, each by a file
/// in `/out`, and waits for the file that says that it is done.
fn client_with_daemon(vm: &TestVm, test: &str) {
    let command = format!("/job/client {test}");
    let mut client = vm.spawn(&command);
    let deadline = Instant::now() + vm.guest.limit(60);
    for (ask, signal, done) in [
        ("stop-daemon", Signal::SIGSTOP, "daemon-stopped"),
        ("continue-daemon", Signal::SIGCONT, "daemon-continued"),
    ] {
        let ask = vm.out().join(format!("{ask}-{test}"));
        // A client that fails ends before it asks.
        while !ask.exists() && client.running() && Instant::now() < deadline {
            client
                .next_line(Instant::now() + Duration::from_millis(50))
                .unwrap();
        }
        if ask.exists() {
            vm.daemon().signal(signal);
            File::create(vm.out().join(format!("{done}-{test}"))).unwrap();
        }
    }
    vm.daemon().signal(Signal::SIGCONT);
    vm.results_of(&command, &client.wait(60).unwrap());
}
