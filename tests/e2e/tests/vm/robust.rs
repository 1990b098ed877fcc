// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::{Size, program, source};
use e2e::{Spec, suite};

use crate::suites::robust::checks;

#[test]
fn robust() {
    let spec = Spec {
        files: vec![program("client"), source(Size::new(640, 360)).unwrap()],
        ..Spec::default()
    };
    suite("robust", &spec, checks);
}
