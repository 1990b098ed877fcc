// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A VMM without shared memory regions: MMAP buffers are pages of the guest, and no client sees a
//! difference.

use e2e::fixtures::{Size, program, source};
use e2e::programs::v4l2_ctl;
use e2e::streams::Expected;
use e2e::{Spec, Suite, TestVm, compliance};

const SIZE: Size = Size::new(640, 360);

#[test]
fn no_region() {
    let spec = Spec {
        daemon_args: ["--shm-size", "0"].map(str::to_owned).to_vec(),
        files: vec![program("client"), source(SIZE).unwrap()],
        ..Spec::default()
    };
    let suite = Suite::new("no-region");
    suite.run(&spec, checks);
    let expected = Expected::all_of(SIZE, "v4l2-ctl.h264");
    suite.on_host(|results| expected.check(results, suite.out()));
    suite.end();
}

/// What is checked in the guest.
fn checks(vm: &mut TestVm) {
    vm.modprobe("vgem");
    for test in [
        "drains",
        "manage",
        "export",
        "lend 640x360 userptr vgem export",
        "abandon",
    ] {
        vm.client(test);
    }
    let report = compliance::run(vm, 200, "-d0 -s", "compliance.txt");
    report.check(&vm.results, "v4l2-compliance -s");
    let by_mmap = "--stream-mmap --stream-out-mmap";
    vm.check("v4l2-ctl", &v4l2_ctl(SIZE, by_mmap, "v4l2-ctl.h264"));
    vm.leaves_cleanly();
}
