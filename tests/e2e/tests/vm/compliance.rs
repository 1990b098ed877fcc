// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::{Spec, suite};

use crate::suites::compliance::checks;

#[test]
fn compliance() {
    suite("compliance", &Spec::default(), |vm| {
        checks(vm, &["-s", "-f"]);
    });
}
