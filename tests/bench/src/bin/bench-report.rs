// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `bench-report out=DIR accel=tcg|kvm`, and versions as further `KEY=VALUE`: reads what the runs
//! left in DIR/raw, writes DIR/report.json, DIR/table.txt and DIR/plot.gp, and prints the table.
//! Exit status 1 if a count misses its target.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use bench::Arguments;
use bench::report::{Ratio, Row, Target, load, plot, ratios, table, targets};
use serde_json::{Value, json};

fn main() -> Result<ExitCode> {
    let arguments = Arguments::new()?;
    let out = Path::new(arguments.text("out")?);
    let raw = out.join("raw");
    let mut rows = load(&raw.join("sink"), "sink")?;
    rows.extend(load(&raw.join("encoder"), "encoder")?);
    let proxied = raw.join("proxy");
    rows.extend(
        load(&proxied.join("guest"), "proxy")?
            .into_iter()
            .filter(|row| !row.label.starts_with("pair-")),
    );
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
    let emulated = arguments.text("accel")? == "tcg";

    let report = json!({
        "machine": arguments.all(),
        "accelerator": arguments.text("accel")?,
        "frames_per_second_are": if emulated {
            "through an emulated guest: no measure of the product"
        } else {
            "through a guest on KVM"
        },
        "cases": rows.iter().map(Row::json).collect::<Vec<Value>>(),
        "throughput_over_host_only": through.iter().map(Ratio::json).collect::<Vec<Value>>(),
        "targets": targets.iter().map(Target::json).collect::<Vec<Value>>(),
    });
    std::fs::write(out.join("report.json"), format!("{report:#}\n"))?;
    let table = table(&rows, &through, &targets, emulated);
    std::fs::write(out.join("table.txt"), &table)?;
    let png = out.join("plot.png");
    std::fs::write(
        out.join("plot.gp"),
        plot(&rows, &through, &png.to_string_lossy()),
    )?;
    print!("{table}");
    Ok(ExitCode::from(u8::from(targets.iter().any(Target::fails))))
}

/// The pairs through a guest: the processors' times of the daemon are among what the host noted.
fn guest_ratios(dir: &Path, encoder: &'static str) -> Result<Vec<Ratio>> {
    let pairs = load(dir, "encoder")?;
    ratios(dir, "guest", encoder, |label| {
        let row = pairs.iter().find(|row| row.label == label)?;
        row.cpu().zip(row.encoder_cpu())
    })
}
