// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use e2e::fixtures::{example, program};
use e2e::{Spec, suite};

use crate::suites::other_device::checks;

#[test]
fn other_device() {
    let spec = Spec {
        daemon: example("wire-device"),
        daemon_env: vec![("LIES".to_owned(), "7".to_owned())],
        kernel_args: "log_buf_len=8M".to_owned(),
        files: ["client", "client32", "client32-time64"]
            .map(program)
            .to_vec(),
        ..Spec::default()
    };
    suite("other-device", &spec, checks);
}
