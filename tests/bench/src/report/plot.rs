// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The plot, as a script for gnuplot.

use std::fmt::Write as _;

use super::{Ratio, Row};

/// What a bar is named, and what it shows.
type Series = (&'static str, fn(&Row) -> Option<f64>);

/// A panel of bars, one for each row, with a line at the target.
fn bars(out: &mut String, title: &str, rows: &[&Row], series: &[Series], limit: f64) {
    let mut data = String::from("$data << END\n");
    for row in rows {
        let _ = write!(
            data,
            "\"{} {} {}p d{}\"",
            row.run, row.memory, row.size.1, row.depth
        );
        for (_, measure) in series {
            let value = measure(row).map_or_else(|| "NaN".to_owned(), |value| value.to_string());
            let _ = write!(data, " {value}");
        }
        data.push('\n');
    }
    data.push_str("END\n");
    let plots: Vec<_> = series
        .iter()
        .enumerate()
        .map(|(at, (name, _))| format!("$data using {}:xtic(1) title '{name}'", at + 2))
        .collect();
    let _ = writeln!(
        out,
        "{data}set title \"{title}\"\nset style data histograms\n\
         set style fill solid 0.8 noborder\nset yrange [0:*]\n\
         set xtics rotate by -80\nset bmargin 11\n\
         plot {}, {limit} with lines dashtype 2 linecolor 'black' title 'target {limit}'",
        plots.join(", ")
    );
}

/// The script, which writes to `png`.
pub fn plot(rows: &[Row], ratios: &[Ratio], png: &str) -> String {
    let mut out = format!(
        "set terminal pngcairo size 1500,1100 font 'sans,11'\nset output '{png}'\n\
         set multiplot layout 2,2\nset grid y\nset key outside top center horizontal\n\
         set offsets 0,0,graph 0.05,0\nset rmargin 5\nset ylabel 'per frame'\n"
    );
    let single = |depth| -> Vec<&Row> {
        rows.iter()
            .filter(|row| row.depth == depth && !row.label.contains("sessions"))
            .collect()
    };
    let signals: [Series; 2] = [("kicks", Row::kicks), ("interrupts", Row::interrupts)];
    bars(
        &mut out,
        "one frame queued (the target is for the encoder)",
        &single(1),
        &signals,
        1.0,
    );
    bars(
        &mut out,
        "four frames queued (the target is for the encoder)",
        &single(4),
        &signals,
        0.5,
    );
    let both: Vec<_> = rows.iter().filter(|row| row.syscalls().is_some()).collect();
    bars(
        &mut out,
        "system calls of the daemon (encoder replaced by a sink)",
        &both,
        &[("system calls", Row::syscalls)],
        4.0,
    );
    let mut names = Vec::new();
    for (at, ratio) in ratios.iter().enumerate() {
        let _ = writeln!(out, "$pairs{at} << END");
        for value in ratio.ratios() {
            let _ = writeln!(out, "{at} {value}");
        }
        let _ = writeln!(out, "END");
        names.push(format!(
            "\"{}\\n{}\\n{}\" {at}",
            ratio.encoder, ratio.path, ratio.size
        ));
    }
    if !ratios.is_empty() {
        let plots: Vec<_> = (0..ratios.len())
            .map(|at| format!("$pairs{at} using 1:2 with points pointtype 7 title ''"))
            .collect();
        let _ = writeln!(
            out,
            "set title \"throughput of the path over the encoder alone, pair by pair\"\n\
             set ylabel 'ratio'\n\
             set yrange [*:*]\nset xrange [-0.5:{}]\nset bmargin 5\nset xtics norotate ({})\n\
             plot {}, 0.98 with lines dashtype 2 linecolor 'black' title 'target 0.98'",
            ratios.len() as f64 - 0.5,
            names.join(", "),
            plots.join(", ")
        );
    }
    out.push_str("unset multiplot\n");
    out
}
