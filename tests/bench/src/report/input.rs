// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a run in a VM left behind: the guest's lines of JSON, the host's notes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// One case of a run: what the long window has more than the short one, so that the beginning and
/// the end of a stream cancel out.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What stood behind the device: `sink`, `encoder`, or `proxy`, which is vicodec.
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
    /// Frames, of all sessions, that the long window has more than the short one.
    pub frames: u64,
    /// Counts over these frames: the guest's as they are named, the daemon's with `daemon.` before
    /// the name.
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

    /// Whether beginnings and ends are to cancel out. With one frame at a time each frame is a
    /// beginning and an end.
    fn overlaps(&self) -> bool {
        self.depth > 1
    }

    /// What this window, the long one, has more than the short one.
    fn beyond(mut self, short: &Self) -> Self {
        if !self.overlaps() {
            return self;
        }
        for (key, value) in &mut self.values {
            let fixed = ["width", "height", "depth", "sessions"].contains(&key.as_str());
            if !fixed && !key.starts_with("steady_") {
                *value -= short.get(key).unwrap_or(f64::NAN);
            }
        }
        self.frames -= short.frames;
        self
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

    /// Interrupts of both queues: those that the guest's kernel counts, or, where that is more, the
    /// signals that the daemon sent. Without MSI-X several signals may be one interrupt.
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

    /// The part of it that was the thread of an encoder.
    pub fn encoder_cpu(&self) -> Option<f64> {
        Some(self.per_frame(&["encoder_ns"])? / 1000.0)
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
        let same = rows.iter().position(|other| other.label == row.label);
        match (object["window"].as_str(), same) {
            (Some("short"), None) => rows.push(row),
            (Some("long"), Some(at)) => rows[at] = row.beyond(&rows[at]),
            (Some("traced"), Some(at)) => {
                rows[at]
                    .values
                    .insert("traced_frames".to_owned(), row.frames as f64);
            }
            _ => anyhow::bail!("{}: a window out of order", row.label),
        }
    }
    let notes = std::fs::read_to_string(dir.join("host.txt")).unwrap_or_default();
    for row in &mut rows {
        note(row, &notes);
    }
    Ok(rows)
}

/// Adds what the host noted: `LABEL WHAT VALUE`, or pairs `KEY=VALUE`, at points 0, 1 and 2:
/// before, between and after the windows.
fn note(row: &mut Row, notes: &str) {
    let of = |what: &str| {
        let prefix = format!("{} {what} ", row.label);
        notes.lines().find_map(|line| line.strip_prefix(&prefix))
    };
    let number = |what: &str| of(what)?.trim().parse::<f64>().ok();
    let stats = |what: &str| -> BTreeMap<&str, f64> {
        of(what)
            .unwrap_or_default()
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .filter_map(|(key, value)| Some((key, value.parse().ok()?)))
            .collect()
    };
    let less = if row.overlaps() { 1.0 } else { 0.0 };
    let mut found = BTreeMap::new();
    if let (Some(short), Some(long)) = (number("perf-short"), number("perf-long")) {
        found.insert("syscalls".to_owned(), long - less * short);
    }
    if let Some(traced) = number("strace") {
        found.insert("strace".to_owned(), traced);
    }
    for name in ["cpu", "encoder"] {
        let points = ["0", "1", "2"].map(|point| number(&format!("{name}-{point}")));
        if let [Some(a), Some(b), Some(c)] = points {
            found.insert(format!("{name}_ns"), (c - b) - less * (b - a));
        }
    }
    let [before, between, after] = ["stats-0", "stats-1", "stats-2"].map(stats);
    for (key, c) in after {
        if let (Some(a), Some(b)) = (before.get(key), between.get(key)) {
            // Times are not counts: their mean is that of the whole window.
            let less = if key.starts_with("latency_") {
                0.0
            } else {
                less
            };
            found.insert(format!("daemon.{key}"), (c - b) - less * (b - a));
        }
    }
    row.values.extend(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_differences_over_the_window() {
        let window = |frames: u32, irqs: u32, kicks: u32| {
            let object = json!({
                "label": "a", "memory": "mmap", "width": 16, "height": 8, "depth": 4,
                "sessions": 1, "frames": frames, "interrupts": irqs, "kicks_command": kicks,
                "kicks_event": 0,
            });
            Row::new("sink", object.as_object().unwrap())
        };
        // The beginning of each window has a kick of its own.
        let mut row = window(14, 13, 14).beyond(&window(4, 4, 5));
        note(
            &mut row,
            "ab stats-0 frames=1\n\
             a stats-0 frames=5 maps=7 interrupts=1 latency_in_sum=0 latency_in_count=0\n\
             a cpu-0 5\na cpu-1 105\na cpu-2 20205\na perf-short 5\na perf-long 35\n\
             a stats-1 frames=9 maps=7 interrupts=7 latency_in_sum=10000 latency_in_count=4\n\
             a stats-2 frames=23 maps=7 interrupts=23 latency_in_sum=80000 latency_in_count=18\n",
        );
        assert!(row.exact());
        assert_eq!(row.kicks(), Some(0.9));
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
