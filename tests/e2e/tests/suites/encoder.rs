// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What an encoder promises beyond one clean run, by our own client (`tests/guest`).

use e2e::TestVm;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    for test in [
        "drains",
        "keyframe",
        "bitrate",
        "timestamps",
        "slow-consumer",
        "restart",
        "refused",
    ] {
        vm.client(test);
    }
    // Programs of 32 bits, with the old time and with the new one: the same node, the same streams.
    let told = vm.run("/job/client describe");
    for program in ["client32", "client32-time64"] {
        let told_32 = vm.run(&format!("/job/{program} describe"));
        let same = told.success() && told_32.success() && told.lines == told_32.lines;
        let other = told_32.lines.iter().find(|line| !told.lines.contains(line));
        vm.results.verdict(
            &format!("{program}: is told of the node what a program of 64 bits is told"),
            same,
            &format!(
                "status {} and {}; only here: {other:?}",
                told.status, told_32.status
            ),
        );
        let controls = told_32.lines.iter();
        let controls = controls.filter(|line| line.starts_with("control ")).count();
        vm.results.verdict(
            &format!("{program}: and that is something"),
            controls > 10,
            &format!("{controls} controls"),
        );
        for test in [
            "drains",
            "timestamps",
            "bad-requests",
            "lend 320x240 userptr udmabuf export",
        ] {
            vm.lines_for(60, &format!("/job/{program} {test}"));
        }
    }
    vm.leaves_cleanly();
}
