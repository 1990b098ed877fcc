// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the programs of `make bench` on the host share: arguments, raw frames, and the window that
//! is timed.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

pub mod report;
pub mod run;
pub mod summary;

/// Raw frames that a source has, and that the guest's client keeps (`FRAMES` in guest/bench.h). A
/// window is timed from its coded frame of this number on.
pub const FRAMES: usize = 8;

/// Arguments of the form `KEY=VALUE`.
#[derive(Debug)]
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// Those of this process.
    ///
    /// # Errors
    ///
    /// One is not of that form.
    pub fn new() -> Result<Self> {
        std::env::args()
            .skip(1)
            .map(|arg| {
                let (key, value) = arg
                    .split_once('=')
                    .with_context(|| format!("{arg:?} is not KEY=VALUE"))?;
                Ok((key.to_owned(), value.to_owned()))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// All of them.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// It is missing.
    pub fn text(&self, key: &str) -> Result<&str> {
        let value = self.0.get(key);
        Ok(value.with_context(|| format!("{key}= is missing"))?)
    }

    /// The value of `key`, as a number.
    ///
    /// # Errors
    ///
    /// It is missing or no number.
    pub fn number(&self, key: &str) -> Result<usize> {
        let value = self.text(key)?;
        value.parse().with_context(|| format!("{key}={value}"))
    }

    /// The value of `size`: width and height.
    ///
    /// # Errors
    ///
    /// It is missing or no size.
    pub fn size(&self) -> Result<(u32, u32)> {
        let value = self.text("size")?;
        let (width, height) = value.split_once('x').context("size=WIDTHxHEIGHT")?;
        Ok((width.parse()?, height.parse()?))
    }

    /// The frames of the file `source`, NV12.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has too few.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let (width, height) = self.size()?;
        let size = width as usize * height as usize * 3 / 2;
        let path = self.text("source")?;
        let bytes = std::fs::read(path).with_context(|| path.to_owned())?;
        let frames: Vec<_> = bytes.chunks_exact(size).map(<[u8]>::to_vec).collect();
        ensure!(frames.len() >= FRAMES, "{path} has too few frames");
        Ok(frames.into_iter().take(FRAMES).collect())
    }
}

/// Frames that are timed: the first [`FRAMES`] coded ones only get it going.
#[derive(Debug)]
pub struct Window {
    frames: usize,
    coded: usize,
    bytes: usize,
    steady: Option<Instant>,
    end: Instant,
}

impl Window {
    /// A window of so many frames, more than [`FRAMES`].
    pub fn new(frames: usize) -> Self {
        Self {
            frames,
            coded: 0,
            bytes: 0,
            steady: None,
            end: Instant::now(),
        }
    }

    /// A coded frame came.
    pub fn coded(&mut self, bytes: usize) {
        self.coded += 1;
        self.bytes += bytes;
        self.end = Instant::now();
        if self.coded == FRAMES {
            self.steady = Some(self.end);
        }
    }

    /// All have come.
    pub fn complete(&self) -> bool {
        self.coded == self.frames
    }

    /// What there is to say of it. `cpu` is the time that processors worked on it, in nanoseconds.
    pub fn report(&self, label: &str, cpu: u64) -> Value {
        let steady = self
            .steady
            .map_or(0.0, |steady| (self.end - steady).as_secs_f64());
        json!({
            "label": label,
            "frames": self.frames,
            "coded_bytes": self.bytes,
            "cpu_ns": cpu,
            "steady_frames": self.frames.saturating_sub(FRAMES),
            "steady_seconds": steady,
        })
    }
}
