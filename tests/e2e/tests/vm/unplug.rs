// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::{module, program};
use e2e::{Spec, suite};

use crate::suites::unplug::checks;

#[test]
fn unplug() {
    let spec = Spec {
        files: vec![program("client"), module("test_wait.ko")],
        ..Spec::default()
    };
    suite("unplug", &spec, checks);
}
