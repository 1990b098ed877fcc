// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A guest in a guest: daemon and VMM run on a kernel with `/dev/udmabuf`, DMA heaps and V4L2
//! devices, which that of this machine may not have.
//!
//! ```text
//! this machine: test ── in_host ── host VM: nested-host ── in_guest ── guest in it: commands
//! ```
//!
//! The program in the host VM (`src/bin/nested-host`) is of this crate, too: it boots the guest as
//! any test does. What it prints are results of the test outside.

use std::fs::File;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::accel::Accel;
use crate::cache;
use crate::machine::Spec;
use crate::results::{Results, excerpt_of, message, remark};
use crate::rundir::quoted;
use crate::suite::{LOGS, Suite};
use crate::vm::TestVm;
use crate::watch::Watch;

/// Where the host VM has its files.
pub const JOB: &str = "/job";
/// How long the guest may run where nothing emulates SVM and KVM is not there.
const WITHOUT_KVM: Duration = Duration::from_secs(1200);
/// How often a guest is booted that is lost.
pub const TRIES: u32 = 3;
/// How often the host VM is.
const HOST_TRIES: u32 = 2;

/// A file of the host VM's job.
pub fn job(name: &str) -> PathBuf {
    Path::new(JOB).join(name)
}

/// The host VM for `program` of this crate, with what every guest in it needs.
pub fn host(program: &Path) -> Spec {
    let guest = Spec::default();
    let agent = program.with_file_name("guest-agent");
    Spec {
        udev: false,
        files: vec![program.to_owned(), agent, guest.daemon, guest.ko],
        ..Spec::host()
    }
}

/// A guest in this host VM, by KVM if there is any; it may run for `limit`. No output on the serial
/// port, no mitigations, no udev, each of which takes long, and an answer may take some, too.
pub fn guest(limit: Duration) -> Spec {
    let kvm = std::env::var("ACCEL").is_ok_and(|accel| accel == Accel::Kvm.name());
    let (accel, watch) = if kvm {
        (Accel::Kvm, Watch::kvm(limit))
    } else {
        let limit = limit.max(WITHOUT_KVM);
        (Accel::Tcg, Watch { limit, entry: None })
    };
    Spec {
        daemon: job("virtio-v4l2d"),
        ko: job("virtio_v4l2.ko"),
        module_params: "timeout_ms=60000".to_owned(),
        kernel_args: "mitigations=off quiet".to_owned(),
        memory: "768M".to_owned(),
        processors: 1,
        accel: Some(accel),
        udev: false,
        watch: Some(watch),
        ..Spec::default()
    }
}

/// The same guest without KVM.
pub fn without_kvm(spec: Spec) -> Spec {
    let limit = spec.watch.map_or(WITHOUT_KVM, |watch| watch.limit);
    let limit = limit.max(WITHOUT_KVM);
    Spec {
        accel: Some(Accel::Tcg),
        watch: Some(Watch { limit, entry: None }),
        ..spec
    }
}

/// How a try ended.
enum End {
    /// The guest has powered off.
    Done,
    /// The guest was lost: what was not finished does not count.
    Lost(String),
    /// It cannot be done, however often it is tried.
    Failed(String),
}

/// Boots a guest in this host VM and runs `test`, as often as it takes. `spec` makes the machine of
/// each try, which counts from 1. What `test` finds is told when the guest has ended, or earlier by
/// [`finish`]. `name` stands for all of it if it does not get to its end.
pub fn in_guest(
    results: &Results,
    name: &str,
    out: &Path,
    mut spec: impl FnMut(u32) -> Result<Spec>,
    mut test: impl FnMut(&mut TestVm),
) {
    let failed = results.failed();
    if let Err(reason) = tries(results, out, &mut spec, &mut test) {
        results.not_ok(name, &reason);
    }
    if results.failed() > failed {
        for log in LOGS {
            excerpt_of(&out.join(log), 20);
        }
    }
}

/// Fails with the reason why it does not get to its end.
fn tries(
    results: &Results,
    out: &Path,
    spec: &mut dyn FnMut(u32) -> Result<Spec>,
    test: &mut dyn FnMut(&mut TestVm),
) -> Result<(), String> {
    let mut reason = String::new();
    for number in 1..=TRIES {
        let spec = spec(number).map_err(|error| format!("{error:#}"))?;
        match attempt(results, &spec, out, test) {
            End::Done => return Ok(()),
            End::Lost(why) => {
                remark(&format!(
                    "the guest in it was lost (attempt {number} of {TRIES}): {why}"
                ));
                reason = format!("the guest was lost {number} times, at last: {why}");
            }
            End::Failed(why) => return Err(why),
        }
    }
    Err(reason)
}

fn attempt(results: &Results, spec: &Spec, out: &Path, test: &mut dyn FnMut(&mut TestVm)) -> End {
    let mut vm = match TestVm::boot(Results::held(), spec, out) {
        Ok(vm) => vm,
        Err(error) => return End::Lost(format!("{error:#}")),
    };
    let held = vm.results.clone();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(&mut vm))) {
        if let Some(why) = vm.lost() {
            return End::Lost(why);
        }
        held.release(results);
        return End::Failed(message(&*panic));
    }
    if let Err(error) = vm.end() {
        return End::Lost(format!("{error:#}"));
    }
    held.release(results);
    End::Done
}

/// Tells what a guest's test has found so far: it counts even if the guest is lost later.
pub fn finish(vm: &TestVm, results: &Results) {
    vm.results.release(results);
}

/// Runs `command` in a host VM for up to `limit` seconds; what it says are results of `suite`. An
/// emulated machine that emulates one now and then ends or hangs: then once more, and what the
/// first one said does not count.
pub fn in_host(suite: &Suite, spec: &Spec, limit: u32, command: &str) {
    let watch = Watch {
        limit: Duration::from_secs(u64::from(limit)),
        entry: None,
    };
    let spec = Spec {
        watch: Some(watch),
        ..spec.clone()
    };
    let mut reason = String::new();
    for number in 1..=HOST_TRIES {
        let held = Results::held();
        match try_in_host(&held, &spec, suite.out(), command) {
            Ok(()) => return held.release(&suite.results),
            Err(error) => {
                reason = format!("{error:#}");
                remark(&format!(
                    "the VM that is a host was lost (attempt {number} of {HOST_TRIES}): {reason}"
                ));
            }
        }
    }
    suite.results.not_ok("runs to its end", &reason);
}

/// Fails if the VM was lost.
fn try_in_host(held: &Results, spec: &Spec, out: &Path, command: &str) -> Result<()> {
    let begin = Instant::now();
    let vm = TestVm::boot(held.clone(), spec, out)?;
    let watched = |error: anyhow::Error| vm.lost().map_or(error, anyhow::Error::msg);
    let status = told(&vm, command, begin).map_err(watched)?;
    // Status 1: some of the results are not ok.
    if status > 1 {
        let reason = format!("status {status}, see host.log");
        held.not_ok("runs to its end", &reason);
    }
    vm.end()
}

/// Runs `command`, hears its lines and returns its status.
fn told(vm: &TestVm, command: &str, begin: Instant) -> Result<i32> {
    let mut log = File::create(vm.out().join("host.log"))?;
    let mut process = vm.guest.spawn(&environment(command))?;
    // The watcher ends it earlier.
    let never = begin + Duration::from_secs(24 * 60 * 60);
    while let Some(line) = process.next_line(never)? {
        writeln!(log, "{line}")?;
        if let Some(text) = line.strip_prefix("# ") {
            remark(&format!("{text} ({} s)", begin.elapsed().as_secs()));
        } else {
            vm.results.line(line);
        }
    }
    let output = process.wait(0)?;
    if output.lines.is_empty() {
        bail!("status {}, and not a word", output.status);
    }
    Ok(output.status)
}

/// `command` with the variables that say where the cache is, and which kernel is meant.
pub fn environment(command: &str) -> String {
    let cache = cache::directory();
    let base = cache.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let kernel = std::env::var("KERNEL").unwrap_or_default();
    format!(
        "XDG_CACHE_HOME={} KERNEL={} {command}",
        quoted(&base),
        quoted(&kernel)
    )
}

/// A test binary of cargo that needs `/dev/udmabuf` or a V4L2 device: it runs in a host VM.
#[derive(Clone, Copy, Debug)]
pub struct CargoTest {
    /// As [`TestBinary::source`](crate::cargo_tests::TestBinary) has it.
    pub source: &'static str,
    /// What of it: arguments of libtest.
    pub filter: &'static [&'static str],
    /// It asks for the camera, too.
    pub camera: bool,
}

impl CargoTest {
    const fn memory(source: &'static str, filter: &'static [&'static str]) -> Self {
        Self {
            source,
            filter,
            camera: false,
        }
    }

    /// Those that are ignored where there is no V4L2 device.
    const fn device(source: &'static str) -> Self {
        Self {
            source,
            filter: &["--ignored"],
            camera: false,
        }
    }

    /// Whether it needs vivid and vicodec.
    pub fn needs_devices(&self) -> bool {
        self.filter.contains(&"--ignored")
    }
}

/// Those that concern memory, and those that concern devices of a host.
pub const CARGO_TESTS: [CargoTest; 13] = [
    CargoTest::memory("host-device/src/lib.rs", &["memory::"]),
    CargoTest::memory("host-device/tests/encoder_lent.rs", &[]),
    CargoTest::memory("tests/tests/import.rs", &[]),
    CargoTest::memory("tests/tests/import_ends.rs", &[]),
    CargoTest::memory("tests/tests/mappings.rs", &[]),
    CargoTest::memory("tests/tests/steady.rs", &[]),
    CargoTest::device("tests/tests/proxy_codec.rs"),
    CargoTest {
        camera: true,
        ..CargoTest::device("tests/tests/proxy_controls.rs")
    },
    CargoTest::device("tests/tests/proxy_events.rs"),
    CargoTest::device("tests/tests/proxy_hostile.rs"),
    CargoTest::device("tests/tests/proxy_ioctls.rs"),
    CargoTest::device("tests/tests/proxy_streams.rs"),
    CargoTest::device("tests/tests/proxy_unplug.rs"),
];

/// The programs of [`CARGO_TESTS`], in their order.
///
/// # Errors
///
/// Cargo does not build one of them.
pub fn cargo_programs() -> Result<Vec<PathBuf>> {
    let built = crate::cargo_tests::build()?;
    let programs = CARGO_TESTS.iter().map(|test| {
        let found = built
            .iter()
            .find(|binary| binary.source == Path::new(test.source));
        let found = found.with_context(|| format!("cargo builds no tests of {}", test.source))?;
        Ok(found.executable.clone())
    });
    programs.collect()
}
