// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::program;
use e2e::{Spec, suite};

use crate::suites::memory_ends::checks;

#[test]
fn memory_ends() {
    let spec = Spec {
        files: vec![program("client")],
        ..Spec::default()
    };
    suite("memory-ends", &spec, checks);
}
