// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::{example, program};
use e2e::{Spec, suite};

use crate::suites::hostile_device::checks;

#[test]
fn hostile_device() {
    let spec = Spec {
        daemon: example("hostile-device"),
        module_params: "timeout_ms=1000".to_owned(),
        files: vec![program("client")],
        ..Spec::default()
    };
    suite("hostile-device", &spec, checks);
}
