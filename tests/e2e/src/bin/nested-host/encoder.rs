// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A guest whose encoder gets the frames as dmabufs: one boot of it, with many checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::counters::Stats;
use e2e::gst_launch::pipelines;
use e2e::kernel_log::SLOW_CLOCK;
use e2e::nested::{self, job};
use e2e::{Results, TestVm};

use crate::local;

/// How long the guest may run.
const LIMIT: Duration = Duration::from_secs(400);
/// The raw frames.
const SOURCE: &str = "source-176x144.nv12";
/// What the guest leaves.
const OUT: &str = "/out/guest";

/// Boots the guest, and looks at what it and its daemon leave.
pub fn guest(results: &Results) -> Result<()> {
    results.remark("the guest in it: begin");
    let spec = |number| {
        let mut spec = nested::guest(LIMIT);
        spec.files = vec![job(SOURCE), job("client")];
        // It has to be done from its beginning, so at last it is done without KVM.
        Ok(if number < nested::TRIES {
            spec
        } else {
            nested::without_kvm(spec)
        })
    };
    let name = "the guest's job runs to its end";
    nested::in_guest(results, name, Path::new(OUT), spec, in_guest);
    results.remark("the guest in it: end");
    let log = fs::read(Path::new(OUT).join("daemon.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    counts(results, &log);
    streams(results, &log)
}

/// In the guest. Every program that is started takes seconds there.
fn in_guest(vm: &mut TestVm) {
    encode(vm, "v4l2-ctl by MMAP", "mmap");
    encode(vm, "v4l2-ctl by USERPTR", "user");
    vm.client_for(400, "lend 176x144 userptr-scattered heap udmabuf");
    vm.dmesg_clean("no kernel warning", &SLOW_CLOCK);
}

fn encode(vm: &TestVm, name: &str, memory: &str) {
    vm.check_for(
        200,
        name,
        &format!(
            "v4l2-ctl -d /dev/video0 \
             --set-fmt-video-out width=176,height=144,pixelformat=NV12 \
             --set-fmt-video pixelformat=H264 --set-output-parm 25 \
             --set-ctrl video_bitrate=190000 --stream-{memory} --stream-out-{memory} \
             --stream-from /job/{SOURCE} --stream-to /out/{memory}.h264"
        ),
    );
}

/// What the daemon says of its frames.
fn counts(results: &Results, log: &str) {
    let name = "the daemon takes the guest's frames as dmabufs";
    let reason = "its log does not say so";
    results.verdict(name, log.contains("guest frames: udmabuf"), reason);
    let text = Stats::lines(log).last();
    let text = text.unwrap_or("no statistics in its log");
    results.remark(text);
    let stats = Stats::parse(text);
    let copied = stats.get("raw_bytes_copied");
    results.verdict("no byte of a raw frame was copied", copied == Some(0), text);
    let udmabufs = stats.get("udmabufs").unwrap_or(0);
    results.verdict("udmabuf gave its frames", udmabufs > 0, text);
}

/// What the daemon says makes the same stream, makes it.
fn streams(results: &Results, log: &str) -> Result<()> {
    let host = Path::new("/out/host.h264");
    let pipelines = pipelines(log);
    let pipeline = pipelines
        .first()
        .context("the daemon does not say what makes the same stream on the host")?;
    pipeline.run(&job(SOURCE), host)?;
    let mut streams: Vec<PathBuf> = fs::read_dir(OUT)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "h264")
        })
        .collect();
    streams.sort();
    if streams.is_empty() {
        results.not_ok("the guest leaves streams", &format!("none in {OUT}"));
    }
    for stream in streams {
        let name = stream.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{name}: bit-identical to x264enc on its host");
        local::same(results, &name, &stream, host);
    }
    Ok(())
}
