// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The device is unplugged under a program that is blocked in DQBUF, then plugged in again. Before
//! that the driver is taken from it, under programs that map its memory all the time.

use std::time::Duration;

use e2e::TestVm;

/// Where the driver has its devices.
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_v4l2";

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    memory_is_revoked(vm);
    blocked_program_ends(vm);
    vm.plug();
    vm.check_within(
        "/dev/video0 is back after plugging in",
        20,
        "test -c /dev/video0",
    );
    vm.client("drains");

    // Taken from the driver by sysfs, in the worst of moments.
    vm.run("insmod /job/test_wait.ko");
    vm.client("wait-ends");
    vm.run("rmmod test_wait");
    vm.client("event-waiters");
    vm.client("silent-memory");
    vm.check_within("rmmod after unplug", 5, "rmmod virtio_v4l2");
    vm.dmesg_clean("no kernel warning from insmod to rmmod", &[]);
}

fn memory_is_revoked(vm: &TestVm) {
    let found = vm.run(&format!("ls {DRIVER}"));
    let device = found.lines.iter().find(|name| name.starts_with("virtio"));
    let device = device.expect("the driver has a device");
    for round in 1..=4 {
        let command = "/job/client revoke";
        let mut client = vm.spawn(command);
        let ready = client.says(20, "ready").unwrap();
        vm.results.verdict(
            &format!("round {round}: programs map the device's memory"),
            ready,
            "not within 20 s",
        );
        vm.run(&format!("echo {device} >{DRIVER}/unbind"));
        vm.results_of(command, &client.wait(60).unwrap());
        vm.run(&format!("echo {device} >{DRIVER}/bind"));
        vm.check_within(
            &format!("round {round}: /dev/video0 is back"),
            10,
            "test -c /dev/video0",
        );
    }
}

fn blocked_program_ends(vm: &TestVm) {
    vm.run("modprobe pciehp");
    let mut client = vm.spawn("/job/client hold");
    assert!(client.says(10, "ready").unwrap(), "a program streams");
    std::thread::sleep(Duration::from_millis(300));
    vm.unplug();
    let ended = client.says(20, "DQBUF E").unwrap();
    vm.results.verdict(
        "a blocked DQBUF ends when the device is unplugged",
        ended,
        "not within 20 s",
    );
    let closed = client.says(10, "closed").unwrap();
    let output = client.wait(10).unwrap();
    vm.results
        .verdict("the program ends by itself", closed, &output.text());
    for (name, wanted) in [
        (
            "DQBUF says that the device is gone",
            &["DQBUF ENODEV", "DQBUF EIO"][..],
        ),
        ("poll says that something is wrong", &["poll 1 revents"]),
        ("a further ioctl says ENODEV", &["G_FMT ENODEV"]),
    ] {
        let said = |line: &String| wanted.iter().any(|start| line.starts_with(start));
        vm.results
            .verdict(name, output.lines.iter().any(said), &output.text());
    }
    vm.check_within("/dev/video0 is gone", 10, "! test -e /dev/video0");
}
