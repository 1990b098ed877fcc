// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Frames in memory of every kind: no program can tell from the stream where they lay.

use e2e::{Spec, TestVm};

/// How long a test of our client has, in seconds.
const LIMIT: u32 = 240;

/// The machine, with another device that exports memory.
pub fn with_memory(machine: Spec) -> Spec {
    Spec {
        // With several threads and a bound on the rate x264 does not make the same stream every
        // time.
        daemon_args: ["--device", "encoder,threads=1"]
            .map(str::to_owned)
            .to_vec(),
        qemu_args: ["-device", "virtio-gpu-pci"].map(str::to_owned).to_vec(),
        ..machine
    }
}

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    vm.modprobe("-a vgem virtio-gpu");
    vm.modprobe("vivid n_devs=1 node_types=0x101");
    let vivid = vm.vivid_node("vid-cap");
    let fences = vm.run("insmod /job/test_fence.ko");
    assert!(fences.success(), "test_fence.ko: {}", fences.text());

    let by_user = "userptr userptr-offset userptr-scattered userptr-renewed";
    for lent in [
        &format!("640x360 {by_user} heap udmabuf vgem virtio-gpu vivid"),
        "640x360 export",
        "1296x972 userptr heap",
        "1920x1080 userptr-offset udmabuf",
        "4096x2304 userptr-scattered",
    ] {
        vm.lines_for(LIMIT, &format!("VIVID={vivid} /job/client lend {lent}"));
    }
    for test in [
        "lend-refused",
        "manage",
        "export",
        "other-process",
        "fences",
        "fence-ends",
        "fence-fails",
    ] {
        vm.client_for(LIMIT, test);
    }
    vm.leaves_cleanly();
}
