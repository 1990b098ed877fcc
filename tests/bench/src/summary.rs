// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From what the runs left behind to what people read: report.json, table.txt and plot.png.

use std::path::Path;

use anyhow::Result;
use e2e::accel::Accel;
use e2e::fixtures;
use e2e::parts::Parts;
use serde_json::{Value, json};

use crate::report::{Ratio, Row, Target, load, plot, ratios, table, targets};

/// Reads `out/raw`, writes report.json, table.txt and plot.png to `out`, and prints the table.
/// Whether all counts meet their targets.
///
/// # Errors
///
/// A run left something that cannot be read, or gnuplot fails.
pub fn write(out: &Path) -> Result<bool> {
    let raw = out.join("raw");
    let mut rows = load(&raw.join("sink"), "sink")?;
    rows.extend(load(&raw.join("encoder"), "encoder")?);
    let proxied = raw.join("proxy");
    let counted = load(&proxied.join("guest"), "proxy")?.into_iter();
    rows.extend(counted.filter(|row| !row.label.starts_with("pair-")));
    let mut through = ratios(&raw.join("path"), "no guest", "x264enc", |_| None)?;
    through.extend(guest_ratios(&raw.join("guest"), "x264enc")?);
    through.extend(ratios(
        &proxied.join("path"),
        "no guest",
        "vicodec",
        |_| None,
    )?);
    through.extend(guest_ratios(&proxied.join("guest"), "vicodec")?);
    let targets = targets(&rows, &through);
    let parts = Parts::prepare(None)?;
    let accel = Accel::find(&parts)?;
    let emulated = accel == Accel::Tcg;

    let rates = if emulated {
        "through an emulated guest: no measure of the product"
    } else {
        "through a guest on KVM"
    };
    let report = json!({
        "machine": machine(&parts, accel),
        "accelerator": accel.name(),
        "frames_per_second_are": rates,
        "cases": rows.iter().map(Row::json).collect::<Vec<Value>>(),
        "throughput_over_host_only": through.iter().map(Ratio::json).collect::<Vec<Value>>(),
        "targets": targets.iter().map(Target::json).collect::<Vec<Value>>(),
    });
    std::fs::write(out.join("report.json"), format!("{report:#}\n"))?;
    let table = table(&rows, &through, &targets, emulated);
    std::fs::write(out.join("table.txt"), &table)?;
    print!("{table}");
    let (script, png) = (out.join("plot.gp"), out.join("plot.png"));
    std::fs::write(&script, plot(&rows, &through, &png.to_string_lossy()))?;
    fixtures::run("gnuplot", &[&script.to_string_lossy()])?;
    Ok(!targets.iter().any(Target::fails))
}

/// The pairs through a guest: the processors' times of the daemon are among what the host noted.
fn guest_ratios(dir: &Path, encoder: &'static str) -> Result<Vec<Ratio>> {
    let pairs = load(dir, "encoder")?;
    ratios(dir, "guest", encoder, |label| {
        let row = pairs.iter().find(|row| row.label == label)?;
        row.cpu().zip(row.encoder_cpu())
    })
}

/// What it was measured on.
fn machine(parts: &Parts, accel: Accel) -> Value {
    let said =
        |program: &str, arguments: &[&str]| fixtures::run(program, arguments).unwrap_or_default();
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |model| model.trim_start_matches([' ', '\t', ':']));
    json!({
        "accel": accel.name(),
        "guest_kernel": parts.kernel_release,
        "host_kernel": said("uname", &["-r"]).trim(),
        "qemu": parts.qemu_version,
        "gstreamer": version(&said("gst-inspect-1.0", &["--version"])),
        "x264": version(&said("dpkg-query", &["-W", "-f", "${Version}\n", "libx264-*"])),
        "processor": model,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "commit": said("git", &["describe", "--always", "--dirty"]).trim(),
        "load": file("/proc/loadavg").trim(),
    })
}

/// The first word that looks like a version.
fn version(text: &str) -> &str {
    let word = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    text.split_whitespace().find(word).unwrap_or_default()
}
