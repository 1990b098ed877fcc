// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! v4l2-compliance, with streaming (-s) and with all formats (-f).

use e2e::{TestVm, compliance};

/// Tests that may not say "Not Supported": what the contract of an encoder asks for.
const REQUIRED: [&str; 15] = [
    "VIDIOC_QUERYCAP",
    "second /dev/video0 open",
    "VIDIOC_QUERY_EXT_CTRL/QUERYMENU",
    "VIDIOC_QUERYCTRL",
    "VIDIOC_G/S_CTRL",
    "VIDIOC_G/S/TRY_EXT_CTRLS",
    "VIDIOC_(UN)SUBSCRIBE_EVENT/DQEVENT",
    "VIDIOC_ENUM_FMT/FRAMESIZES/FRAMEINTERVALS",
    "VIDIOC_G/S_PARM",
    "VIDIOC_G_FMT",
    "VIDIOC_TRY_FMT",
    "VIDIOC_S_FMT",
    "Cropping",
    "VIDIOC_(TRY_)ENCODER_CMD",
    "VIDIOC_REQBUFS/CREATE_BUFS/QUERYBUF",
];

/// What is checked. `-f` streams each format.
pub fn checks(vm: &mut TestVm, options: &[&str]) {
    let mut by_mmap = false;
    for option in options {
        let log = format!("compliance{option}.txt");
        let report = compliance::run(vm, 400, &format!("-d /dev/video0 {option}"), &log);
        let name = format!("v4l2-compliance {option}");
        report.check(&vm.results, &format!("{name}: Failed: 0, Warnings: 0"));
        let missing = report.missing(&REQUIRED);
        vm.results.verdict(
            &format!("{name}: nothing required is missing"),
            missing.is_empty(),
            &missing.join("; "),
        );
        by_mmap |= *option == "-s" && report.passed(|test| test.starts_with("MMAP ("));
    }
    vm.results.verdict(
        "streaming by MMAP was tested",
        by_mmap,
        "no test MMAP is OK with -s",
    );
    vm.leaves_cleanly();
}
