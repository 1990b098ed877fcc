// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! v4l2-compliance -s with dmabufs of another device: it streams by MMAP, USERPTR and DMABUF.

use e2e::{Spec, TestVm, compliance, suite};

#[test]
fn memory_compliance() {
    suite("memory-compliance", &Spec::default(), checks);
}

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    vm.modprobe("vivid n_devs=1 node_types=0x1");
    let exporter = vm.vivid_node("vid-cap");
    // As large as any buffer of ours.
    vm.run(&format!(
        "v4l2-ctl -d {exporter} -v width=1920,height=1080,pixelformat=AR24"
    ));
    let options = format!("-d0 -s -e {exporter}");
    let report = compliance::run(vm, 600, &options, "compliance.txt");
    report.check(
        &vm.results,
        &format!("v4l2-compliance -s -e {exporter}: Failed: 0, Warnings: 0"),
    );
    let passed = |name: &str, wanted: &dyn Fn(&str) -> bool| {
        let reason = "its test is not OK, or was not made";
        vm.results
            .verdict(&format!("{name} was tested"), report.passed(wanted), reason);
    };
    for memory in ["MMAP", "USERPTR", "DMABUF"] {
        passed(memory, &|test| test.starts_with(&format!("{memory} (")));
    }
    passed("EXPBUF", &|test| test == "VIDIOC_EXPBUF");
    passed("REMOVE_BUFS", &|test| test == "VIDIOC_REMOVE_BUFS");
    vm.leaves_cleanly();
}
