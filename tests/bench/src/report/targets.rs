// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What was aimed at, and whether it was met.

use serde_json::{Value, json};

use super::{Ratio, Row};

/// How a target came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is met.
    Met,
    /// It is missed.
    Missed,
    /// It was not measured everywhere: as bad as missed.
    Unmeasured,
}

/// A target.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is counted.
    pub what: &'static str,
    /// As it is written.
    pub limit: &'static str,
    /// The worst that was measured.
    pub worst: Option<f64>,
    /// Where that was.
    pub at: String,
    /// How it came out.
    pub verdict: Verdict,
    /// It is a count: the same on every machine. Times are not, and fail nothing.
    pub count: bool,
    /// The reason, where there is one to tell.
    pub why: String,
}

impl Target {
    /// For report.json.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "target": self.limit,
            "worst": self.worst,
            "at": self.at,
            "met": self.verdict == Verdict::Met,
            "why": self.why,
        })
    }

    /// Whether the run as a whole has failed for it.
    pub fn fails(&self) -> bool {
        self.count && self.verdict != Verdict::Met
    }
}

type Measure = fn(&Row) -> Option<f64>;

/// The daemon holds a signal back for 20 ms at most. Where a frame takes about half of that,
/// signals are of one or two frames, as it comes. With a margin, as frames of one stream take their
/// different times.
const FAST: f64 = 125.0;
const SLOW: &str =
    "frames took about 10 ms or more, and the daemon holds no signal back for more than 20 ms";

/// A count that is to be at most `most` in all `rows`.
fn at_most<'a>(
    what: &'static str,
    limit: &'static str,
    most: f64,
    rows: impl Iterator<Item = &'a Row>,
    measure: Measure,
) -> Target {
    let mut target = Target {
        what,
        limit,
        worst: None,
        at: String::new(),
        verdict: Verdict::Met,
        count: true,
        why: String::new(),
    };
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        target.verdict = Verdict::Unmeasured;
    }
    for row in rows {
        let Some(value) = measure(row).filter(|value| value.is_finite() && row.exact()) else {
            target.verdict = Verdict::Unmeasured;
            target.why = format!("not counted in {}", row.label);
            continue;
        };
        if target.worst.is_none_or(|worst| value > worst) {
            target.worst = Some(value);
            target.at = row.label.clone();
        }
    }
    // To two digits, as it is printed.
    if target.verdict == Verdict::Met && target.worst.is_some_and(|worst| worst >= most + 0.005) {
        target.verdict = Verdict::Missed;
    }
    target
}

/// All targets. Kicks and interrupts are judged for the encoder and one session: several share
/// them, and a sink is done with a frame before the next can come.
pub fn targets(rows: &[Row], ratios: &[Ratio]) -> Vec<Target> {
    let all = || rows.iter();
    // A device of the host writes into the guest's buffers itself: nobody counts its bytes.
    let encoders = || rows.iter().filter(|row| row.run != "proxy");
    let single = |depth| {
        rows.iter()
            .filter(move |row| row.run == "encoder" && row.sessions == 1 && row.depth == depth)
    };
    let is_fast = |row: &&Row| row.rate().is_none_or(|rate| rate >= FAST);
    let fast = || single(4).filter(is_fast);
    let slow = || single(4).filter(move |row| !is_fast(row));
    let sink = || {
        rows.iter()
            .filter(|row| row.run == "sink" && row.get("traced_frames").is_some())
    };
    let mut targets = vec![
        at_most("raw bytes copied", "0", 0.0, all(), Row::raw_copied),
        at_most(
            "copies of coded bytes",
            "<= 1",
            1.0,
            encoders(),
            Row::coded_copies,
        ),
        at_most("mmap, munmap, udmabuf calls", "0", 0.0, all(), Row::maps),
        at_most("sleeping round trips", "0", 0.0, all(), |row| {
            row.per_frame(&["calls"])
        }),
        at_most("kicks, depth 1", "<= 1.5", 1.5, single(1), Row::kicks),
        at_most(
            "interrupts, depth 1",
            "<= 1",
            1.0,
            single(1),
            Row::interrupts,
        ),
        at_most("kicks, depth 4", "<= 0.5", 0.5, fast(), Row::kicks),
        at_most(
            "interrupts, depth 4",
            "<= 0.5",
            0.5,
            fast(),
            Row::interrupts,
        ),
        at_most(
            "daemon syscalls without encoder",
            "<= 4",
            4.0,
            sink(),
            Row::syscalls,
        ),
    ];
    if slow().next().is_some() {
        for (what, measure) in [
            ("kicks, depth 4, slow encoder", Row::kicks as Measure),
            ("interrupts, depth 4, slow encoder", Row::interrupts),
        ] {
            let target = at_most(what, "<= 0.5", 0.5, slow(), measure);
            let why = match target.verdict {
                Verdict::Missed => SLOW.to_owned(),
                _ => target.why.clone(),
            };
            // How fast it is, is the machine's affair.
            targets.push(Target {
                why,
                count: false,
                ..target
            });
        }
    }
    // vicodec encodes in an emulated kernel, under a lock of its own.
    let measured = ratios.iter().filter(|ratio| ratio.encoder == "x264enc");
    targets.extend(measured.map(throughput));
    targets
}

fn throughput(ratio: &Ratio) -> Target {
    let median = ratio.median();
    let met = median >= 0.98;
    let why = match ratio.cpu {
        Some([_, thread, host]) if !met => format!(
            "CPU for a frame: {thread:.0} us of the encoder thread, {host:.0} us alone; what is \
             more was waiting for a processor or for frames"
        ),
        _ => String::new(),
    };
    Target {
        what: "throughput over host-only",
        limit: ">= 0.98",
        worst: Some(median),
        at: format!("{}, {}", ratio.path, ratio.size),
        verdict: if met { Verdict::Met } else { Verdict::Missed },
        count: false,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(depth: u64, kicks: f64) -> Row {
        let values = [
            ("kicks_command", kicks),
            ("kicks_event", 0.0),
            ("daemon.frames", 10.0),
        ];
        Row {
            run: "encoder".to_owned(),
            depth,
            sessions: 1,
            frames: 10,
            values: values.map(|(key, value)| (key.to_owned(), value)).into(),
            ..Row::default()
        }
    }

    fn verdict(rows: &[Row], what: &str) -> Verdict {
        let all = targets(rows, &[]);
        all.iter()
            .find(|target| target.what == what)
            .unwrap()
            .verdict
    }

    #[test]
    fn the_worst_decides() {
        let rows = [row(1, 15.0), row(4, 3.0), row(4, 6.0)];
        assert_eq!(verdict(&rows, "kicks, depth 1"), Verdict::Met);
        assert_eq!(verdict(&rows, "kicks, depth 4"), Verdict::Missed);
        let mut slow = row(4, 6.0);
        slow.values.extend(
            [("steady_frames", 10.0), ("steady_seconds", 0.2)].map(|(k, v)| (k.to_owned(), v)),
        );
        let rows = [row(4, 3.0), slow];
        assert_eq!(verdict(&rows, "kicks, depth 4"), Verdict::Met);
        let slow = "kicks, depth 4, slow encoder";
        assert_eq!(verdict(&rows, slow), Verdict::Missed);
        assert!(
            targets(&rows, &[])
                .iter()
                .all(|target| target.what != slow || !target.fails())
        );
    }

    #[test]
    fn what_was_not_counted_is_not_met() {
        assert_eq!(
            verdict(&[row(1, 1.0)], "kicks, depth 4"),
            Verdict::Unmeasured
        );
        assert_eq!(
            verdict(&[row(1, 1.0)], "raw bytes copied"),
            Verdict::Unmeasured
        );
        let mut other = row(4, 1.0);
        // Counters of another window.
        other.values.insert("daemon.frames".to_owned(), 9.0);
        assert_eq!(verdict(&[other], "kicks, depth 4"), Verdict::Unmeasured);
    }
}
