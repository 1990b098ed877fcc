// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A device that is not ours, of the crate virtio-media (`tests/examples/wire-device`). Then, when
//! the module has been loaded again, it lies in every byte of its answers and events, for programs
//! of 64 and of 32 bits, with the core's debug output on.

use std::fs;
use std::time::Duration;

use e2e::TestVm;
use e2e::compliance::Report;
use e2e::kernel_log::BAD_DEVICE;

/// Bytes of a frame.
const FRAME: usize = 460_800;
/// How many are streamed.
const FRAMES: usize = 10;
/// A part of a line of debug output that another message came between.
const DEBUG_OUTPUT: &str = "^(, |: |[a-z_/]*=)";

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    honest(vm);
    vm.check_within("rmmod", 10, "rmmod virtio_v4l2");
    vm.insmod("insmod; from now on the device lies", "timeout_ms=1000");
    std::thread::sleep(Duration::from_millis(500));
    lying(vm);
    vm.rmmod("rmmod");
    vm.no_process_is_stuck();
    vm.dmesg_clean(
        "no kernel warning but those about the device",
        &[BAD_DEVICE, DEBUG_OUTPUT],
    );
}

fn honest(vm: &TestVm) {
    // QEMU 11.1 has vhost-user's eight memory regions, and gives one to each buffer that is mapped:
    // three here.
    vm.check_for(
        20,
        "v4l2-ctl streams",
        &format!("v4l2-ctl -d0 --stream-mmap=3 --stream-count={FRAMES} --stream-to=/out/frames"),
    );
    // The device counts in the first byte of each frame.
    let frames = fs::read(vm.out().join("frames")).unwrap_or_default();
    let seen: Vec<_> = frames.iter().copied().step_by(FRAME).collect();
    vm.results.verdict(
        "ten frames, each as it should be",
        frames.len() == FRAMES * FRAME && seen == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &format!("{} bytes: {seen:?}", frames.len()),
    );
    let compliance = vm.run("v4l2-compliance -d0");
    let log = compliance.text();
    fs::write(vm.out().join("compliance.txt"), &log).unwrap();
    vm.results.verdict(
        "v4l2-compliance",
        compliance.success(),
        &Report::parse(&log).complaints.join("; "),
    );
    vm.dmesg_clean("no kernel warning from another device", &[]);
}

fn lying(vm: &TestVm) {
    // Ioctls with their arguments, and those of streaming.
    vm.run("echo 31 >/sys/class/video4linux/video0/dev_debug");
    for program in ["client", "client32", "client32-time64"] {
        e2e::results::remark(program);
        vm.lines_for(60, &format!("/job/{program} answers"));
    }
    vm.ended("v4l2-compliance", 15, "v4l2-compliance -d0 -s");
    for round in 1..=4 {
        vm.ended(
            &format!("v4l2-ctl, round {round},"),
            5,
            "v4l2-ctl -d0 --stream-mmap=3 --stream-count=20 --stream-to=/dev/null",
        );
        vm.ended(
            &format!("v4l2-ctl --all, round {round},"),
            5,
            "v4l2-ctl -d0 --all",
        );
    }
}
