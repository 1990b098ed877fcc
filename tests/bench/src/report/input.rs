// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a run in a VM left behind: the guest's lines of JSON, the host's notes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// One case of a run: what its steady window counted.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What stood behind the device: `sink` or `encoder`.
    pub run: String,
    /// Name of the case in the run.
    pub label: String,
    /// Memory of raw frames: `mmap`, `userptr`, `dmabuf`.
    pub memory: String,
    /// Width and height.
    pub size: (u64, u64),
    /// Raw frames kept queued.
    pub depth: u64,
    /// Sessions at once.
    pub sessions: u64,
    /// Frames of the window, of all sessions.
    pub frames: u64,
    /// Counts over the window: the guest's as they are named, the daemon's with `daemon.` before the name.
    pub values: BTreeMap<String, f64>,
}

impl Row {
    fn new(run: &str, object: &Map<String, Value>) -> Self {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| object[key].as_u64().unwrap_or_default();
        Self {
            run: run.to_owned(),
            label: text("label"),
            memory: text("memory"),
            size: (number("width"), number("height")),
            depth: number("depth"),
            sessions: number("sessions"),
            frames: number("frames"),
            values: object
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), value.as_f64()?)))
                .collect(),
        }
    }

    /// A count, if there is one.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.values.get(key).copied()
    }

    /// The sum of counts, for each frame; none if one of them is missing.
    pub fn per_frame(&self, keys: &[&str]) -> Option<f64> {
        let sum: Option<f64> = keys.iter().map(|key| self.get(key)).sum();
        Some(sum? / self.frames as f64)
    }

    /// Kicks of both queues.
    pub fn kicks(&self) -> Option<f64> {
        self.per_frame(&["kicks_command", "kicks_event"])
    }

    /// Interrupts of both queues: those that the guest's kernel counts, or, where that is more, the signals that the
    /// daemon sent. Without MSI-X several signals may be one interrupt.
    pub fn interrupts(&self) -> Option<f64> {
        let seen = self.per_frame(&["interrupts"])?;
        Some(seen.max(self.per_frame(&["daemon.interrupts"])?))
    }

    /// System calls of the daemon.
    pub fn syscalls(&self) -> Option<f64> {
        self.per_frame(&["syscalls"]).or_else(|| self.traced())
    }

    /// System calls of the daemon while strace slows it down.
    pub fn traced(&self) -> Option<f64> {
        Some(self.get("strace")? / self.get("traced_frames")?)
    }

    /// Bytes of raw frames that driver and daemon copied.
    pub fn raw_copied(&self) -> Option<f64> {
        self.per_frame(&["bytes_copied", "daemon.raw_bytes_copied"])
    }

    /// How often the daemon copied each coded byte.
    pub fn coded_copies(&self) -> Option<f64> {
        Some(self.get("daemon.coded_bytes_copied")? / self.get("daemon.coded_bytes")?)
    }

    /// Calls of mmap, munmap and udmabuf in the daemon.
    pub fn maps(&self) -> Option<f64> {
        self.per_frame(&["daemon.maps", "daemon.unmaps", "daemon.udmabufs"])
    }

    /// Mean of a latency of the daemon over the window, in microseconds.
    pub fn latency(&self, name: &str) -> Option<f64> {
        let count = self
            .get(&format!("daemon.{name}_count"))
            .filter(|n| *n > 0.0)?;
        Some(self.get(&format!("daemon.{name}_sum"))? / count / 1000.0)
    }

    /// Frames per second of all sessions.
    pub fn rate(&self) -> Option<f64> {
        Some(self.get("steady_frames")? * self.sessions as f64 / self.get("steady_seconds")?)
    }

    /// Time that the daemon's threads worked for a frame, in microseconds.
    pub fn cpu(&self) -> Option<f64> {
        Some(self.per_frame(&["cpu_ns"])? / 1000.0)
    }

    /// Whether the daemon's counters are those of exactly this window.
    pub fn exact(&self) -> bool {
        self.get("daemon.frames") == Some(self.frames as f64)
    }

    /// For report.json: the counts, and what is made of them.
    pub fn json(&self) -> Value {
        json!({
            "behind": self.run,
            "case": self.label,
            "memory": self.memory,
            "size": format!("{}x{}", self.size.0, self.size.1),
            "depth": self.depth,
            "sessions": self.sessions,
            "frames": self.frames,
            "per_frame": {
                "kicks": self.kicks(),
                "interrupts": self.interrupts(),
                "sleeping_round_trips": self.per_frame(&["calls"]),
                "daemon_syscalls": self.syscalls(),
                "daemon_syscalls_under_strace": self.traced(),
                "raw_bytes_copied": self.raw_copied(),
                "coded_copies": self.coded_copies(),
                "maps": self.maps(),
                "daemon_cpu_us": self.cpu(),
            },
            "latency_us": {
                "kick_to_encoder": self.latency("latency_in"),
                "bitstream_to_interrupt": self.latency("latency_out"),
            },
            "frames_per_second": self.rate(),
            "counts": self.values,
        })
    }
}

/// Lines of JSON objects; none if there is no such file.
pub(super) fn lines(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(Vec::new());
    };
    text.lines()
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))
        })
        .collect()
}

/// The cases of the run whose results are in `dir`.
///
/// # Errors
///
/// A line is not what it should be.
pub fn load(dir: &Path, run: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for object in lines(&dir.join("bench.jsonl"))? {
        let row = Row::new(run, &object);
        if object["window"] == "plain" {
            rows.push(row);
        } else if let Some(plain) = rows.iter_mut().find(|plain| plain.label == row.label) {
            plain
                .values
                .insert("traced_frames".to_owned(), row.frames as f64);
        }
    }
    let notes = std::fs::read_to_string(dir.join("host.txt")).unwrap_or_default();
    for row in &mut rows {
        note(row, &notes);
    }
    Ok(rows)
}

/// Adds what the host noted: `LABEL WHAT VALUE`, or pairs `KEY=VALUE` before and after the window.
fn note(row: &mut Row, notes: &str) {
    let of = |what: &str| {
        let prefix = format!("{} {what} ", row.label);
        notes
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(&prefix))
    };
    let number = |what: &str| of(what)?.trim().parse::<f64>().ok();
    let pairs = |what: &str| -> BTreeMap<&str, f64> {
        of(what)
            .unwrap_or_default()
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .filter_map(|(key, value)| Some((key, value.parse().ok()?)))
            .collect()
    };
    let mut found = BTreeMap::new();
    for (key, what) in [("syscalls", "perf"), ("strace", "strace")] {
        found.extend(number(what).map(|value| (key.to_owned(), value)));
    }
    if let (Some(before), Some(after)) = (number("cpu-before"), number("cpu-after")) {
        found.insert("cpu_ns".to_owned(), after - before);
    }
    let before = pairs("before");
    for (key, after) in pairs("after") {
        if let Some(before) = before.get(key) {
            found.insert(format!("daemon.{key}"), after - before);
        }
    }
    row.values.extend(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_differences_over_the_window() {
        let object = json!({"label": "a", "memory": "mmap", "width": 16, "height": 8, "depth": 1,
            "sessions": 1, "frames": 10, "interrupts": 9, "kicks_command": 12, "kicks_event": 1});
        let mut row = Row::new("sink", object.as_object().unwrap());
        note(
            &mut row,
            "ab before frames=1\na before frames=5 maps=7 interrupts=1 latency_in_sum=0 latency_in_count=0\n\
             a cpu-before 5\na perf 30\na after frames=15 maps=7 interrupts=11 latency_in_sum=50000 latency_in_count=10\n\
             a cpu-after 20005\n",
        );
        assert!(row.exact());
        assert_eq!(row.kicks(), Some(1.3));
        assert_eq!(
            row.interrupts(),
            Some(1.0),
            "the greater of 0.9 seen and 1.0 sent"
        );
        assert_eq!(row.syscalls(), Some(3.0));
        assert_eq!(row.cpu(), Some(2.0));
        assert_eq!(row.latency("latency_in"), Some(5.0));
        assert_eq!(row.maps(), None, "unmaps were not counted");
        assert_eq!(row.raw_copied(), None);
    }
}
