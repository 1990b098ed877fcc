// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::{Spec, suite};

use crate::suites::load::checks;

#[test]
fn load() {
    let spec = Spec {
        module: false,
        ..Spec::default()
    };
    suite("load", &spec, checks);
}
