// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::{module, program};
use e2e::{Spec, suite};

use crate::suites::memory::{checks, with_memory};

#[test]
fn memory() {
    let spec = Spec {
        files: vec![program("client"), module("test_fence.ko")],
        ..with_memory(Spec::default())
    };
    suite("memory", &spec, checks);
}
