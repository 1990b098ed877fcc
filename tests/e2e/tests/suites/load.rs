// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The module comes and goes; it takes the reserved ID 30 only when told to.

use e2e::TestVm;
use nix::sys::signal::Signal;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    let gone = "! test -e /dev/video0";
    vm.run("modprobe -a videodev mc videobuf2-v4l2 virtio_dma_buf");
    vm.check(
        "insmod without a parameter",
        "insmod /harness/virtio_v4l2.ko",
    );
    vm.run("sleep 1");
    vm.check("ID 30 is left alone unless allowed", gone);
    vm.check("rmmod with nothing bound", "rmmod virtio_v4l2");

    for time in 1..=3 {
        vm.insmod(&format!("insmod with allow_id30=1, time {time}"), "");
        let node = "test -c /dev/video0";
        vm.check_within(&format!("/dev/video0 appears, time {time}"), 5, node);
        vm.rmmod(&format!("rmmod, time {time}"));
        vm.check(&format!("/dev/video0 is gone, time {time}"), gone);
    }

    vm.insmod("insmod once more", "");
    vm.within(5, "test -c /dev/video0");
    let info = |text: &str| format!("v4l2-ctl -d0 --info | grep -q '{text}'");
    vm.check(
        "QUERYCAP names the driver",
        &info("Driver name *: virtio_v4l2"),
    );
    vm.check(
        "QUERYCAP says memory-to-memory",
        &info("Memory-to-Memory Multiplanar"),
    );
    let mut open = vm.spawn("exec 9<>/dev/video0 && echo open && sleep 60");
    assert!(open.says(10, "open").unwrap(), "a program opens the node");
    vm.refuse(
        "rmmod while a program has the node open",
        "rmmod virtio_v4l2",
    );
    vm.check(
        "and the module is still there",
        "test -d /sys/module/virtio_v4l2",
    );
    open.signal(Signal::SIGKILL).unwrap();
    open.ends(10).unwrap();
    vm.rmmod("rmmod after it closed");
    vm.dmesg_clean("no kernel warning from insmod to rmmod", &[]);
}
