// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The daemon is killed under a program that is blocked in DQBUF: nobody hangs, the module can go.

use std::time::Duration;

use e2e::TestVm;
use e2e::guest::TIMED_OUT;
use e2e::kernel_log::SILENT_DEVICE;
use nix::sys::signal::Signal;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    let mut client = vm.spawn("/job/client hold");
    assert!(client.says(10, "ready").unwrap(), "a program streams");
    std::thread::sleep(Duration::from_millis(300));
    vm.daemon().signal(Signal::SIGKILL);
    // Nothing tells a guest that its device's backend died, but the next command does.
    vm.run_for(30, "v4l2-ctl -d0 --info");
    let format = "width=640,height=360,pixelformat=NV12";
    let later = vm.run_for(30, &format!("v4l2-ctl -d0 --set-fmt-video-out {format}"));
    vm.results.verdict(
        "a program that comes later gets an error, and in time",
        !later.success() && later.status < TIMED_OUT,
        &format!("status {}", later.status),
    );
    let ended = client.says(20, "DQBUF E").unwrap();
    vm.results.verdict(
        "the blocked DQBUF ends with an error",
        ended,
        "not within 20 s",
    );
    let closed = client.says(20, "closed").unwrap();
    let output = client.wait(10).unwrap();
    vm.results
        .verdict("the program ends by itself", closed, &output.text());
    vm.rmmod("rmmod");
    // That the device fell silent is worth a message; a warning with a stack is not.
    vm.dmesg_clean(
        "no kernel warning but the one about the device",
        &[SILENT_DEVICE],
    );
}
