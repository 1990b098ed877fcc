// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The device lies: in answers, errors, mappings and events (`tests/examples/hostile-device.rs`).
//! Programs end, the module goes, the kernel is none the worse.

use std::time::Duration;

use e2e::TestVm;
use e2e::kernel_log::BAD_DEVICE;

/// Parameters of the module when it is loaded again.
const PARAMETERS: &str = "timeout_ms=1000";

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    vm.run("head -c 3000000 /dev/urandom >/tmp/raw");
    for round in 1..=2 {
        programs_end(vm, round);
        vm.rmmod(&format!("rmmod, round {round}"));
        vm.insmod(&format!("insmod, round {round}"), PARAMETERS);
        std::thread::sleep(Duration::from_millis(500));
    }
    vm.client("bounds");
    vm.no_process_is_stuck();
    vm.dmesg_clean(
        "no kernel warning but those about the device",
        &[BAD_DEVICE],
    );
}

fn programs_end(vm: &TestVm, round: u32) {
    let ended = |name: &str, seconds: u32, command: &str| {
        vm.ended(&format!("round {round}: {name}"), seconds, command);
    };
    let stream = |memory: &str| {
        format!(
            "v4l2-ctl -d0 --set-fmt-video-out width=64,height=64,pixelformat=NV12 \
             --stream-{memory} --stream-out-{memory} --stream-from=/tmp/raw \
             --stream-to=/dev/null --stream-count=50"
        )
    };
    ended("v4l2-compliance", 12, "v4l2-compliance -d0 -s");
    ended("v4l2-ctl", 8, &stream("mmap"));
    ended("v4l2-ctl with memory of its own", 8, &stream("user"));
    ended(
        "v4l2-compliance with exported buffers",
        12,
        "v4l2-compliance -d0 -s -e /dev/video0",
    );
    for test in [
        "drains",
        "bad-requests",
        "abandon",
        "opens",
        "keyframe",
        "restart",
        "refused",
    ] {
        ended(&format!("client {test}"), 5, &format!("/job/client {test}"));
    }
    let programs: Vec<_> = (0..6)
        .map(|_| vm.spawn("exec v4l2-ctl -d0 --all"))
        .collect();
    for program in programs {
        program.wait(3).unwrap();
    }
}
