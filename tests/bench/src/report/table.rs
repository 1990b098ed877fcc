// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The table for the terminal.

use std::fmt::Write as _;

use super::{Ratio, Row, Target, Verdict};

fn cell(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.digits$}"),
        _ => "-".to_owned(),
    }
}

/// The whole table. `emulated`: guests run without hardware support, and rates through them are no
/// measure.
pub fn table(rows: &[Row], ratios: &[Ratio], targets: &[Target], emulated: bool) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut out, rows, ratios, targets, emulated);
    out
}

fn write(
    out: &mut String,
    rows: &[Row],
    ratios: &[Ratio],
    targets: &[Target],
    emulated: bool,
) -> std::fmt::Result {
    let rate = if emulated { "fps (emulated)" } else { "fps" };
    writeln!(out, "Per frame, steady state:")?;
    writeln!(
        out,
        "{:<8} {:<8} {:<10} {:>5} {:>8} {:>6} {:>6} {:>6} {:>8} {:>6} {:>6} {:>5} {:>9} {:>9} \
         {:>14}",
        "behind",
        "memory",
        "size",
        "depth",
        "sessions",
        "kicks",
        "irqs",
        "sleeps",
        "syscalls",
        "raw B",
        "coded",
        "maps",
        "in us",
        "out us",
        rate
    )?;
    for row in rows {
        writeln!(
            out,
            "{:<8} {:<8} {:<10} {:>5} {:>8} {:>6} {:>6} {:>6} {:>8} {:>6} {:>6} {:>5} {:>9} {:>9} \
             {:>14}{}",
            row.run,
            row.memory,
            format!("{}x{}", row.size.0, row.size.1),
            row.depth,
            row.sessions,
            cell(row.kicks(), 2),
            cell(row.interrupts(), 2),
            cell(row.per_frame(&["calls"]), 2),
            cell(row.syscalls(), 2),
            cell(row.raw_copied(), 0),
            cell(row.coded_copies(), 2),
            cell(row.maps(), 2),
            cell(row.latency("latency_in"), 0),
            cell(row.latency("latency_out"), 0),
            cell(row.rate(), 0),
            if row.exact() {
                ""
            } else {
                "  (the daemon's counters do not fit the window)"
            },
        )?;
    }
    writeln!(
        out,
        "\nsleeps: round trips that the guest waits for; coded: how often a coded byte is copied; \
         maps: mmap, munmap and\n\
         udmabuf calls; in: kick to encoder, out: bitstream to interrupt, \
         means on the host's clock."
    )?;
    for (encoder, how) in [
        (
            "x264enc",
            "one thread: the encoder thread on one core, all else on another",
        ),
        (
            "vicodec",
            "in an emulated VM that is the host, where it encodes inside of QBUF",
        ),
    ] {
        let of = ratios.iter().filter(|ratio| ratio.encoder == encoder);
        throughput(out, encoder, how, of)?;
    }
    if emulated && !ratios.is_empty() {
        writeln!(
            out,
            "(The guest is emulated: its part says nothing of the product's speed.)"
        )?;
    }
    writeln!(
        out,
        "\n{:<34} {:>8} {:>9}  {:<8} worst case",
        "target, per frame", "target", "worst", ""
    )?;
    for target in targets {
        let verdict = match target.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Unmeasured => "NO COUNT",
        };
        let why = if target.why.is_empty() {
            String::new()
        } else {
            format!(": {}", target.why)
        };
        writeln!(
            out,
            "{:<34} {:>8} {:>9}  {verdict:<8} {}{why}",
            target.what,
            target.limit,
            cell(target.worst, 3),
            target.at,
        )?;
    }
    Ok(())
}

fn throughput<'a>(
    out: &mut String,
    encoder: &str,
    how: &str,
    ratios: impl Iterator<Item = &'a Ratio>,
) -> std::fmt::Result {
    let mut ratios = ratios.peekable();
    if ratios.peek().is_some() {
        writeln!(out, "\nThe path over {encoder} alone, same frames, {how}:")?;
    }
    for ratio in ratios {
        let ((least, greatest), (path, host)) = (ratio.spread(), ratio.rates());
        write!(
            out,
            "{:<9} {:<10} {:.3} (median of {} pairs, {least:.3} to {greatest:.3}), \
             {path:.1} over {host:.1} frames/s",
            ratio.path,
            ratio.size,
            ratio.median(),
            ratio.pairs.len(),
        )?;
        if let Some([daemon, thread, host]) = ratio.cpu {
            write!(out, "; CPU for a frame: daemon {daemon:.0} us")?;
            if thread > 0.0 {
                write!(out, ", its encoder thread {thread:.0} us")?;
            }
            write!(out, ", {encoder} alone {host:.0} us")?;
        }
        if ratio.same_bytes < ratio.pairs.len() {
            write!(
                out,
                "; streams differ in {} pairs",
                ratio.pairs.len() - ratio.same_bytes
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}
