// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! More devices than stock QEMU has memory regions for (the guest's RAM is one, too): whose buffers
//! cannot be mapped gets ENOMEM, and nothing else happens.

use e2e::fixtures::example;
use e2e::{Devices, Spec, TestVm, suite};

/// How many devices there are.
const DEVICES: usize = 8;

#[test]
fn many_devices() {
    let device = |number| (format!("d{number}"), "encoder".to_owned());
    let spec = Spec {
        devices: Devices::Many((0..DEVICES).map(device).collect()),
        daemon: example("sink-device"),
        daemon_args: ["--shm-size", "512M"].map(str::to_owned).to_vec(),
        ..Spec::default()
    };
    suite("many-devices", &spec, checks);
}

fn checks(vm: &mut TestVm) {
    some_encode(vm, "some of eight devices");
    encode(vm, 0);
    vm.check("and the first one still", "test -s /tmp/coded.0");
    vm.check_within("rmmod", 10, "rmmod virtio_v4l2");
    vm.insmod("insmod", "");
    let last = "test -c /dev/video7";
    vm.check_within("/dev/video7 is back", 20, last);
    some_encode(vm, "after a reset, those that come first");
    vm.dmesg_clean("no kernel warning", &[]);
    // Once for a device.
    let log = vm.daemon().log();
    let count = log.matches("no room for a mapping").count();
    vm.results.verdict(
        "the log says that there is no memory region left",
        count == 1,
        &format!("{count} times"),
    );
}

/// Encodes three frames to `/tmp/coded.NODE`. Returns what is said; the status is 0 either way.
fn encode(vm: &TestVm, node: usize) -> String {
    let command = format!(
        "v4l2-ctl -d /dev/video{node} -x width=320,height=240,pixelformat=NV12 \
         -v pixelformat=H264 --stream-mmap --stream-out-mmap --stream-count=3 \
         --stream-to=/tmp/coded.{node}"
    );
    vm.run(&format!("rm -f /tmp/coded.{node}"));
    vm.run(&command).text()
}

/// `name` is as it should be if some devices encode and the others are told why not.
fn some_encode(vm: &TestVm, name: &str) {
    let mut count = 0;
    for node in 0..DEVICES {
        let said = encode(vm, node);
        if vm.run(&format!("test -s /tmp/coded.{node}")).success() {
            count += 1;
        } else if !said.contains("obtain_bufs failed") {
            let last = said.lines().last().unwrap_or_default();
            vm.results
                .not_ok(name, &format!("/dev/video{node}: {last}"));
            return;
        }
    }
    vm.results.verdict(
        name,
        (4..DEVICES).contains(&count),
        &format!("{count} of {DEVICES} devices"),
    );
}
