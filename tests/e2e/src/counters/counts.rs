// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What was counted: the daemon's `stats:` lines, the notes of the host, the guest's windows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

/// The daemon's counters at one moment, as it logs them on SIGUSR1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// What follows `stats: ` in each line of the daemon's log that has it.
    pub fn lines(log: &str) -> impl Iterator<Item = &str> {
        log.lines()
            .filter_map(|line| line.split_once("stats: "))
            .map(|(_, stats)| stats)
    }

    /// Reads `KEY=VALUE KEY=VALUE …`; what is not of that form is left out.
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .split_ascii_whitespace()
            .filter_map(|pair| pair.split_once('='));
        let numbers = pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)));
        Self(numbers.collect())
    }

    /// One of them, if the daemon has it.
    pub fn get(&self, key: &str) -> Option<u64> {
        self.0.get(key).copied()
    }
}

/// What the host has noted: lines of LABEL WHAT VALUE.
#[derive(Clone, Debug, Default)]
pub struct Notes(BTreeMap<(String, String), String>);

impl Notes {
    /// Those that are in `out/host.txt`; none if it is not there.
    pub fn of(out: &Path) -> Self {
        Self::parse(&fs::read_to_string(out.join("host.txt")).unwrap_or_default())
    }

    /// Those of a text.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let (label, rest) = line.split_once(' ')?;
            let (what, value) = rest.split_once(' ')?;
            Some(((label.to_owned(), what.to_owned()), value.to_owned()))
        });
        Self(lines.collect())
    }

    /// A note.
    pub fn text(&self, label: &str, what: &str) -> Option<&str> {
        let value = self.0.get(&(label.to_owned(), what.to_owned()));
        value.map(String::as_str)
    }

    /// A note that is a number.
    pub fn number(&self, label: &str, what: &str) -> Option<u64> {
        self.text(label, what)?.trim().parse().ok()
    }

    /// The daemon's counters at a point: 0, 1 and 2 are before, between and after the windows.
    pub fn stats(&self, label: &str, point: u32) -> Option<Stats> {
        let text = self.text(label, &format!("stats-{point}"))?;
        Some(Stats::parse(text))
    }

    /// By how much a counter of the daemon grew in the long window.
    pub fn grown(&self, label: &str, key: &str) -> Option<u64> {
        let at = |point| self.stats(label, point)?.get(key);
        at(2)?.checked_sub(at(1)?)
    }
}

/// A window of frames, as the guest's program counted it.
#[derive(Clone, Debug, Deserialize)]
pub struct Window {
    /// Of the case.
    pub label: String,
    /// `short`, `long` or `traced`.
    pub window: String,
    /// Coded frames of all sessions.
    pub frames: u64,
    #[serde(flatten)]
    counts: BTreeMap<String, Value>,
}

impl Window {
    /// A count, if there is one.
    pub fn count(&self, key: &str) -> Option<u64> {
        self.counts.get(key)?.as_u64()
    }
}

/// The windows in a file of JSON lines.
///
/// # Errors
///
/// There is no such file, or a line is no window.
pub fn windows(file: &Path) -> Result<Vec<Window>> {
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("no window: {line}"));
    text.lines().map(parse).collect()
}

/// The sum of the calls in the table of `strace -c`, whose columns are time, seconds, microseconds
/// for a call, calls, errors (may be empty), name.
pub fn strace_calls(table: &str) -> u64 {
    let row = |line: &str| {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        let counted = columns.first()?.parse::<f64>().is_ok() && *columns.last()? != "total";
        counted.then(|| columns.get(3)?.parse::<u64>().ok())?
    };
    table.lines().filter_map(row).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-01T00:00:00Z  INFO virtio_v4l2d: stats: no VMM is connected
2026-01-01T00:00:01Z  INFO virtio_v4l2d: stats: frames=2 maps=0 latency_in_sum=1000
2026-01-01T00:00:02Z  INFO virtio_v4l2d: VMM connected";

    #[test]
    fn the_daemons_line_of_counters() {
        let lines: Vec<_> = Stats::lines(LOG).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(Stats::parse(lines[0]), Stats::default());
        let stats = Stats::parse(lines[1]);
        assert_eq!(stats.get("frames"), Some(2));
        assert_eq!(stats.get("maps"), Some(0));
        assert_eq!(stats.get("kicks"), None);
    }

    #[test]
    fn counters_grow_between_the_points_of_a_case() {
        let notes = Notes::parse(
            "a stats-1 frames=5 maps=7\nab stats-2 frames=99\na stats-2 frames=12 maps=7\n\
             a strace 63\n",
        );
        assert_eq!(notes.grown("a", "frames"), Some(7));
        assert_eq!(notes.grown("a", "maps"), Some(0));
        assert_eq!(notes.grown("a", "kicks"), None);
        assert_eq!(notes.grown("ab", "frames"), None);
        assert_eq!(notes.number("a", "strace"), Some(63));
    }

    #[test]
    fn a_window_has_counts() {
        let line = r#"{"label":"a","window":"long","frames":8,"seconds":1.5,"interrupts":3}"#;
        let window: Window = serde_json::from_str(line).unwrap();
        assert_eq!((window.frames, window.count("interrupts")), (8, Some(3)));
        assert_eq!(window.count("pins"), None);
    }

    #[test]
    fn calls_are_summed_without_their_total() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 62.50    0.000500           1       400           write
 37.50    0.000300           1       300        12 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.000800           1       700        12 total";
        assert_eq!(strace_calls(table), 700);
    }
}
