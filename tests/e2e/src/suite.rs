// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One machine, and the checks that are made in it.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::machine::Spec;
use crate::results::{Results, excerpt_of};
use crate::vm::TestVm;

/// Logs that are shown when a check failed.
pub const LOGS: [&str; 4] = ["hvc.log", "host.log", "daemon.log", "dmesg.txt"];

/// Results and logs of a suite.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Its results.
    pub results: Results,
    out: PathBuf,
}

impl Suite {
    /// A suite with this name. Its logs are in `out/test/NAME`.
    pub fn new(name: &str) -> Self {
        Self {
            results: Results::new(name),
            out: cache::repository().join("out/test").join(name),
        }
    }

    /// Where its logs are, after its machine has ended.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Boots a machine, runs `test` and ends the machine. That any of it panics is a failure of
    /// the suite, which goes on.
    pub fn run(&self, spec: &Spec, test: impl FnOnce(&mut TestVm)) {
        let run = || {
            let mut vm = TestVm::boot(self.results.clone(), spec, &self.out)
                .unwrap_or_else(|error| panic!("{error:#}"));
            test(&mut vm);
            vm.end().unwrap_or_else(|error| panic!("{error:#}"));
        };
        self.results.to_its_end("runs to its end", run);
    }

    /// Runs checks on the host. That they panic is a failure of the suite.
    pub fn on_host(&self, test: impl FnOnce(&Results)) {
        self.results
            .to_its_end("runs to its end on the host", || test(&self.results));
    }

    /// Shows the ends of the logs if a check failed.
    ///
    /// # Panics
    ///
    /// A check failed.
    pub fn end(self) {
        let failed = self.results.failed();
        if failed > 0 {
            for log in LOGS {
                excerpt_of(&self.out.join(log), 20);
            }
            // Without a message of its own: the results have said it all.
            resume_unwind(Box::new(format!("{failed} failed")));
        }
    }
}

/// A suite of one machine: boots it, runs `test`, fails if a check did.
///
/// # Panics
///
/// A check failed.
pub fn suite(name: &str, spec: &Spec, test: impl FnOnce(&mut TestVm)) {
    let suite = Suite::new(name);
    suite.run(spec, test);
    suite.end();
}
