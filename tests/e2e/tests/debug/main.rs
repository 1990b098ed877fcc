// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Suites on a kernel that looks for mistakes, several in each machine: `cargo xtask test debug
//! [NAME]`.

use e2e::Spec;
use e2e::fixtures::{Size, example, program, source};

use crate::kernel::{debug, machine, module};

mod fail;
mod kernel;
mod storm;

/// What is checked on the stock kernel, too.
#[path = "../suites"]
mod suites {
    pub mod compliance;
    pub mod daemon_dies;
    pub mod daemon_silent;
    pub mod encoder;
    pub mod hostile_device;
    pub mod load;
    pub mod memory;
    pub mod memory_ends;
    pub mod other_device;
    pub mod pause;
    pub mod robust;
    pub mod unplug;
}

/// Ordinary programs.
#[test]
fn driver() {
    let spec = Spec {
        files: clients(),
        ..machine()
    };
    debug("driver", &spec, |vm| {
        vm.without_module("load", suites::load::checks);
        vm.suite("compliance", "", |vm| {
            // With -f it takes more than ten minutes here.
            suites::compliance::checks(vm, &["-s"]);
        });
        vm.suite("encoder", "", suites::encoder::checks);
    });
}

/// Memory of every kind, and its ends.
#[test]
fn memory() {
    let spec = Spec {
        files: vec![program("client"), module("test_fence.ko")],
        ..suites::memory::with_memory(machine())
    };
    debug("memory", &spec, |vm| {
        vm.suite("memory", "", suites::memory::checks);
        vm.suite("memory-ends", "", suites::memory_ends::checks);
    });
}

/// Careless programs, and a device that is silent, suspended, unplugged.
#[test]
fn ends() {
    let spec = Spec {
        files: vec![
            program("client"),
            source(Size::new(640, 360)).unwrap(),
            module("test_suspend.ko"),
            module("test_wait.ko"),
        ],
        ..machine()
    };
    debug("ends", &spec, |vm| {
        vm.suite("robust", "", suites::robust::checks);
        let parameters = "timeout_ms=8000";
        vm.suite("daemon-silent", parameters, suites::daemon_silent::checks);
        vm.suite("pause", "", suites::pause::checks);
        vm.suite("unplug", "", suites::unplug::checks);
    });
}

/// Every allocation fails once.
#[test]
fn fail() {
    let spec = Spec {
        daemon_args: ["--max-sessions", "64"].map(str::to_owned).to_vec(),
        files: vec![program("client")],
        ..machine()
    };
    debug("fail", &spec, |vm| {
        vm.suite("fail", "", fail::checks);
    });
}

/// Programs do everything at once; the daemon dies.
#[test]
fn storm() {
    let spec = Spec {
        files: vec![program("client")],
        ..machine()
    };
    debug("storm", &spec, |vm| {
        vm.suite("storm", "", storm::checks);
        let parameters = "timeout_ms=8000";
        vm.suite("daemon-dies", parameters, suites::daemon_dies::checks);
    });
}

/// The device lies.
#[test]
fn hostile() {
    let spec = Spec {
        daemon: example("hostile-device"),
        files: vec![program("client")],
        ..machine()
    };
    debug("hostile", &spec, |vm| {
        let parameters = "timeout_ms=3000";
        vm.suite("hostile-device", parameters, suites::hostile_device::checks);
    });
}

/// A device that is not ours, and lies in every byte.
#[test]
fn other_device() {
    let mut spec = Spec {
        daemon: example("wire-device"),
        daemon_env: vec![("LIES".to_owned(), "7".to_owned())],
        files: clients(),
        ..machine()
    };
    spec.kernel_args.push_str(" log_buf_len=8M");
    debug("other-device", &spec, |vm| {
        vm.suite("other-device", "", suites::other_device::checks);
    });
}

/// The client as programs of 64 and of 32 bits.
fn clients() -> Vec<std::path::PathBuf> {
    ["client", "client32", "client32-time64"]
        .map(program)
        .to_vec()
}
