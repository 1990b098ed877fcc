// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::program;
use e2e::{Spec, suite};

use crate::suites::daemon_dies::checks;

#[test]
fn daemon_dies() {
    let spec = Spec {
        module_params: "timeout_ms=3000".to_owned(),
        files: vec![program("client")],
        ..Spec::default()
    };
    suite("daemon-dies", &spec, checks);
}
