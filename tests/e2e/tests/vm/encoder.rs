// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::program;
use e2e::{Spec, suite};

use crate::suites::encoder::checks;

#[test]
fn encoder() {
    let spec = Spec {
        files: ["client", "client32", "client32-time64"]
            .map(program)
            .to_vec(),
        ..Spec::default()
    };
    suite("encoder", &spec, checks);
}
