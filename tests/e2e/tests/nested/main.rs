// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A VM that is a host, and a guest in it: `cargo xtask test nested proxy`.

use std::path::{Path, PathBuf};

use e2e::fixtures::{self, Size};
use e2e::{Suite, cache, nested};

/// The program that runs in the host VM.
const PROGRAM: &str = env!("CARGO_BIN_EXE_nested-host");

/// The USB camera, which `cargo xtask test` builds.
fn camera() -> PathBuf {
    let camera = cache::target().join("release/usb-camera");
    let built = "run: cargo build --release -p usb-camera";
    assert!(camera.exists(), "no {}; {built}", camera.display());
    camera
}

/// The command that runs the program in the host VM.
fn program(words: &[String]) -> String {
    let program = nested::job("nested-host");
    format!("{} {}", program.display(), words.join(" "))
}

/// A number in the environment.
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not \"{text}\""))
    })
}

/// Test binaries of cargo that need `/dev/udmabuf` or a V4L2 device; then an encoder whose guest's
/// frames are dmabufs.
#[test]
fn encoder() {
    let suite = Suite::new("nested");
    let programs = nested::cargo_programs().unwrap_or_else(|error| panic!("{error:#}"));
    let mut words = vec!["encoder".to_owned()];
    for program in &programs {
        let name = program.file_name().unwrap_or_default();
        words.push(name.to_string_lossy().into_owned());
    }
    let mut spec = nested::host(Path::new(PROGRAM));
    spec.files.extend(programs);
    spec.files.extend([
        camera(),
        fixtures::program("client"),
        fixtures::source(Size::new(176, 144)).unwrap(),
    ]);
    nested::in_host(&suite, &spec, 1500, &program(&words));
    suite.end();
}

/// Devices of a host behind proxies. PARTS=all (`make test-proxy`): every part, for as long as it
/// takes. LIMIT: seconds of one guest; PROXY_TIMEOUT: of all of it. The table is in
/// `out/test/proxy/report.txt`.
#[test]
fn proxy() {
    let suite = Suite::new("proxy");
    let parts = std::env::var("PARTS").unwrap_or_default();
    let all = parts == "all";
    let limit = number("LIMIT", if all { 1500 } else { 450 });
    let timeout = number("PROXY_TIMEOUT", if all { 3600 } else { 1000 });
    let mut spec = nested::host(Path::new(PROGRAM));
    // With two processors QEMU 11.1 loses the guest, or the VM that is its host, every few minutes.
    spec.processors = 1;
    spec.files.extend([
        camera(),
        fixtures::program("decode"),
        fixtures::program("driver-name.so"),
        fixtures::source(Size::new(640, 360)).unwrap(),
    ]);
    let parts = if all { "all" } else { "quick" };
    let program = program(&["proxy".to_owned()]);
    let command = format!("PARTS={parts} LIMIT={limit} {program}");
    nested::in_host(&suite, &spec, timeout, &command);
    suite.end();
}
