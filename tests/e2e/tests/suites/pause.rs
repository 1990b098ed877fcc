// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The VM is paused and continued under a program that encodes: it loses nothing. The device of an
//! idle node is suspended, too.

use std::fs;
use std::time::Duration;

use e2e::fixtures::Size;
use e2e::{TestVm, programs};
use nix::sys::signal::Signal;

/// How long a run has, in seconds.
const LIMIT: u32 = 100;
/// What the driver says when it cannot be suspended.
const OPEN: &str = "cannot be suspended: programs have the device open 1 times";

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    vm.check_for(LIMIT, "a run to compare with", &encode("whole"));
    paused(vm);
    suspended(vm);
    vm.rmmod("rmmod");
    vm.dmesg_clean(
        "no kernel warning but the one about the device",
        &["cannot be suspended"],
    );
}

/// Encodes sixty frames of 640x360 to `/out/NAME.h264`.
fn encode(name: &str) -> String {
    let options = "--stream-mmap --stream-out-mmap";
    programs::v4l2_ctl(Size::new(640, 360), options, &format!("{name}.h264"))
}

fn paused(vm: &TestVm) {
    let program = vm.spawn(&encode("paused"));
    std::thread::sleep(Duration::from_millis(300));
    vm.monitor.pause().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    vm.monitor.resume().unwrap();
    vm.results.command(
        "the program goes on after the pause",
        &program.wait(LIMIT).unwrap(),
    );
    same_stream(vm, "paused");
}

fn same_stream(vm: &TestVm, name: &str) {
    let stream = |name: &str| fs::read(vm.out().join(format!("{name}.h264"))).unwrap_or_default();
    let (whole, other) = (stream("whole"), stream(name));
    vm.results.verdict(
        "and its stream is the same",
        !whole.is_empty() && other == whole,
        &format!("{} and {} bytes", other.len(), whole.len()),
    );
}

/// The device as the system is suspended with it, and resumed.
fn suspended(vm: &TestVm) {
    let device = vm.run("readlink -f /sys/class/video4linux/video0/device/..");
    let device = device.last().rsplit('/').next().unwrap_or_default();
    let suspend = format!("insmod /job/test_suspend.ko device={device}");
    let resume = "rmmod test_suspend";

    vm.check("an idle device can be suspended", &suspend);
    vm.refuse("it is not opened meanwhile", "v4l2-ctl -d0 --list-ctrls");
    vm.check("it is resumed", resume);
    vm.check_for(LIMIT, "a program runs after that", &encode("resumed"));
    same_stream(vm, "resumed");

    let mut program = vm.spawn("exec 9<>/dev/video0 && echo open && exec sleep infinity");
    assert!(
        program.says(10, "open").unwrap(),
        "a program opens the node"
    );
    vm.refuse("it is not suspended while a program has it open", &suspend);
    let log = vm.run("dmesg");
    let ours = |line: &String| {
        let message = line.split_once("virtio_v4l2");
        message.is_some_and(|(_, message)| message.contains(OPEN))
    };
    vm.results
        .verdict("the log says why", log.lines.iter().any(ours), log.last());
    vm.check("and it works on", "v4l2-ctl -d0 --list-ctrls");
    program.signal(Signal::SIGKILL).unwrap();
    assert!(program.ends(10).unwrap(), "the program is gone");
    vm.check("it is suspended when it has been closed", &suspend);
    vm.check("and resumed", resume);
    vm.check_for(LIMIT, "a program runs after that, too", &encode("again"));
}
