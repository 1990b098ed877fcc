// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::{Size, module, source};
use e2e::{Spec, suite};

use crate::suites::pause::checks;

#[test]
fn pause() {
    let spec = Spec {
        files: vec![
            source(Size::new(640, 360)).unwrap(),
            module("test_suspend.ko"),
        ],
        ..Spec::default()
    };
    suite("pause", &spec, checks);
}
