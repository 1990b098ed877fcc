// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Each allocation fails once.

use e2e::TestVm;

use crate::kernel::DEBUGFS;

/// How long the client has, in seconds.
const LIMIT: u32 = 600;

/// What is checked.
pub fn checks(vm: &mut TestVm) {
    // Those that may wait, too, single pages, too, and without the kernel telling of each.
    for (file, value) in [
        ("failslab/ignore-gfp-wait", "N"),
        ("fail_page_alloc/ignore-gfp-wait", "N"),
        ("fail_page_alloc/min-order", "0"),
        ("failslab/verbose", "0"),
        ("fail_page_alloc/verbose", "0"),
        ("fail_usercopy/verbose", "0"),
    ] {
        let output = vm.run(&format!("echo {value} >{DEBUGFS}/{file}"));
        assert!(output.success(), "{file}: {}", output.text());
    }
    vm.client_for(LIMIT, "fail");
    vm.client_for(LIMIT, "drains");
    vm.rmmod("rmmod");
}
