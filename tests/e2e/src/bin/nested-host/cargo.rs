// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Test binaries of cargo, on this machine's kernel: their own results become ours.

use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::devices::{self, Camera, Nodes};
use e2e::nested::{CARGO_TESTS, CargoTest, job};
use e2e::{Results, libtest, process};

/// How long a binary may take.
const LIMIT: Duration = Duration::from_secs(300);
/// How long it has to end then.
const GRACE: Duration = Duration::from_secs(5);

/// Runs `programs`, those of [`CARGO_TESTS`].
pub fn tests(results: &Results, programs: &[&str]) -> Result<()> {
    for node in ["/dev/udmabuf", "/dev/dma_heap/system"] {
        let there = fs::metadata(node).is_ok_and(|file| file.file_type().is_char_device());
        results.verdict(&format!("this host has {node}"), there, "no such device");
    }
    let vicodec = devices::vivid().and_then(|_| devices::vicodec(&[]));
    let name = "this host has vivid and vicodec";
    let vicodec = match vicodec {
        Ok(nodes) => {
            results.ok(name);
            Some(nodes)
        }
        Err(error) => {
            results.not_ok(name, &format!("{error:#}"));
            None
        }
    };
    for (test, program) in CARGO_TESTS.iter().zip(programs) {
        one(results, test, program, vicodec.as_ref())?;
    }
    Ok(())
}

/// The name of a binary without the hash that cargo adds.
fn short(program: &str) -> &str {
    program.rsplit_once('-').map_or(program, |(name, _)| name)
}

fn one(results: &Results, test: &CargoTest, program: &str, vicodec: Option<&Nodes>) -> Result<()> {
    let name = short(program);
    let mut variables: Vec<(&str, PathBuf)> = Vec::new();
    if test.needs_devices() {
        // Nobody finds the controls that another one has set.
        match devices::vivid_unbind().and_then(|()| devices::vivid_bind()) {
            Ok(vivid) => variables.extend(vivid.variables().iter().cloned()),
            Err(error) => {
                results.not_ok(&format!("vivid as new for {name}"), &format!("{error:#}"));
            }
        }
        variables.extend(vicodec.iter().flat_map(|nodes| nodes.variables()).cloned());
    }
    let mut camera = None;
    if test.camera {
        match Camera::plug(&job("usb-camera"), Path::new("/run/usb-camera.log")) {
            Ok(found) => {
                variables.push(("CAMERA", found.node.clone()));
                camera = Some(found);
            }
            Err(error) => results.not_ok("this host has a USB camera", &format!("{error:#}")),
        }
    }
    let log = Path::new("/out").join(format!("{name}.log"));
    let status = run(test, program, &variables, &log)?;
    if let Some(Err(error)) = camera.map(Camera::unplug) {
        results.not_ok("the USB camera goes", &format!("{error:#}"));
    }
    tell(results, name, status, &fs::read(&log)?);
    Ok(())
}

/// Runs a binary and returns its status; `None` if it took too long, or a signal ended it.
fn run(
    test: &CargoTest,
    program: &str,
    variables: &[(&str, PathBuf)],
    log: &Path,
) -> Result<Option<i32>> {
    let file = File::create(log)?;
    let mut child = Command::new(job(program))
        .arg("--test-threads=2")
        .args(test.filter)
        .env("VIRTIO_V4L2_REQUIRE_UDMABUF", "1")
        .env("RUST_BACKTRACE", "1")
        .envs(variables.iter().map(|(name, node)| (name, node)))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| program.to_owned())?;
    let status = process::ends(&mut child, LIMIT);
    if status.is_none() {
        process::end(&mut child, program, GRACE);
    }
    Ok(status.and_then(|status| status.code()))
}

fn tell(results: &Results, name: &str, status: Option<i32>, log: &[u8]) {
    let log = String::from_utf8_lossy(log);
    let tests = libtest::tests(&log);
    for line in tests.iter().flat_map(libtest::Test::lines) {
        results.line(&line);
    }
    let ran = tests.len();
    if status == Some(0) && ran > 0 {
        results.ok(&format!("{name}: {ran} tests"));
        return;
    }
    let lines: Vec<_> = log.lines().collect();
    let status = match status {
        Some(status) => format!("status {status}"),
        None => "too long, or a signal".to_owned(),
    };
    let last = lines.last().copied().unwrap_or_default();
    let reason = format!("{status}: {last}");
    results.not_ok(&format!("{name}: all of its tests"), &reason);
    // With 101 each failure has been shown.
    if status != "status 101" {
        results.excerpt(&lines, 40);
    }
}
