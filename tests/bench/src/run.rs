// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What `make bench` runs: guests that count, and pairs of the whole path and the encoder alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use e2e::cache;
use e2e::fixtures::{self, Size};

pub mod alone;
pub mod cases;
pub mod guests;
pub mod host;
pub mod proxy;

/// Sizes of frames that the encoder gets.
pub const SIZES: [Size; 2] = [Size::new(640, 360), Size::new(1920, 1080)];
/// Sizes that vicodec gets. It has no smaller ones than the first.
pub const PROXY_SIZES: [Size; 2] = [Size::new(640, 480), Size::new(1280, 720)];
/// Pairs for each of them: vicodec works in the kernel of an emulated machine, slowly.
pub const PROXY_PAIRS: usize = 4;
/// Frames before a size is timed.
pub const WARMUP: u32 = 36;
/// The same for vicodec.
pub const PROXY_WARMUP: u32 = 18;

/// How many frames of a size take about two seconds.
pub fn timed(size: Size) -> u32 {
    match size.height {
        360 => 500,
        1080 => 80,
        480 => 64,
        _ => 24,
    }
}

/// Places of a run.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Where results go: `raw/RUN/…`.
    pub out: PathBuf,
    /// Programs of cargo: bench-path, bench-encode.
    pub programs: PathBuf,
    /// Pairs for each size.
    pub pairs: usize,
}

impl Bench {
    /// Results go to `out/bench`, which is emptied.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn new(pairs: usize) -> Result<Self> {
        let out = cache::repository().join("out/bench");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        fs::create_dir_all(out.join("raw"))?;
        let programs = cache::target().join("release");
        Ok(Self {
            out,
            programs,
            pairs,
        })
    }

    /// What the run `name` leaves behind.
    pub fn raw(&self, name: &str) -> PathBuf {
        self.out.join("raw").join(name)
    }
}

/// Eight frames of the demo's clip, from a moment with something to see.
///
/// # Errors
///
/// There is no clip, or FFmpeg fails.
pub fn frames(size: Size) -> Result<PathBuf> {
    let make = |place: &Path| fixtures::scaled(size, 8, 2, &place.join("nv12"));
    let entry = cache::once(
        &format!("bench-{size}"),
        &format!("eight frames of {size}"),
        make,
    )?;
    Ok(entry.join("nv12"))
}

/// Name of such a file in a guest.
pub fn frames_name(size: Size) -> String {
    format!("frames-{size}.nv12")
}
