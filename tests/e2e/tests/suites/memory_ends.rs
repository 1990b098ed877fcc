// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Programs that die, a module and a device that go, with lent memory queued and dmabufs of the
//! device's alive.

use e2e::{Process, TestVm};
use nix::sys::signal::Signal;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    vm.modprobe("vgem");
    for kind in ["mmap", "userptr", "heap", "vgem", "export"] {
        killed(vm, &format!("hold-lent {kind}"));
        vm.client(&format!("lend 320x240 {kind}"));
    }
    killed(vm, "hold-fence");
    vm.client("lend 320x240 vgem");
    killed(vm, "hold-fence");
    vm.rmmod("rmmod");
    vm.insmod("insmod again", "");
    vm.check_within("/dev/video0 is back", 10, "test -c /dev/video0");

    unplugged(vm);
    vm.plug();
    vm.check_within(
        "/dev/video0 is back after plugging in",
        20,
        "test -c /dev/video0",
    );
    vm.client("lend 320x240 userptr vgem export");
    vm.rmmod("rmmod after unplug");
    vm.dmesg_clean("no kernel warning from insmod to rmmod", &[]);
}

/// A test of our client that keeps its memory with the device.
fn held<'a>(vm: &'a TestVm, test: &str, name: &str) -> Process<'a> {
    let mut program = vm.spawn(&format!("/job/client {test}"));
    let ready = program.says(20, "ready").unwrap();
    vm.results
        .verdict(name, ready, "it does not say that it is ready within 20 s");
    program
}

/// SIGKILL for a program that has its memory with the device.
fn killed(vm: &TestVm, test: &str) {
    let name = format!("{test}: a program that has its memory with the device");
    let mut program = held(vm, test, &name);
    let name = format!("{test}: rmmod while it lives");
    vm.refuse(&name, "rmmod virtio_v4l2");
    program.signal(Signal::SIGKILL).unwrap();
    assert!(program.ends(10).unwrap(), "{test} outlives SIGKILL");
}

/// The device goes while three programs have their memory with it.
fn unplugged(vm: &TestVm) {
    let mut programs = ["userptr", "vgem", "export"].map(|kind| {
        let name = format!("{kind}: memory is with the device");
        (kind, held(vm, &format!("hold-lent {kind}"), &name))
    });
    vm.unplug();
    for (kind, program) in &mut programs {
        let name =
            format!("{kind}: the program ends after the unplug, its dmabuf alive until then");
        let closed = program.says(20, "closed").unwrap();
        vm.results
            .verdict(&name, closed, "it does not say \"closed\" within 20 s");
    }
    for (_, program) in programs {
        program.wait(60).unwrap();
    }
    vm.check_within("/dev/video0 is gone", 10, "! test -e /dev/video0");
}
