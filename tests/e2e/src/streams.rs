// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Coded streams that came back from a guest, decoded on the host by FFmpeg and compared with their
//! source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::fixtures::{self, Size, run};
use crate::results::Results;

/// What every client is asked for: the average PSNR, in dB.
pub const ENOUGH: f64 = 35.0;

/// The PSNR of pictures that are the same, in dB: a number, as JSON has no infinity.
const SAME: f64 = 100.0;

/// Frames per second, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Frames in `denominator` seconds.
    pub numerator: u32,
    /// Seconds for `numerator` frames.
    pub denominator: u32,
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// The raw NV12 frames that a stream was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// [`fixtures::source`] of this size.
    Clip(Size),
    /// A file beside the stream.
    Made(String),
}

impl Source {
    /// Where the frames are, if the stream is in `out`.
    ///
    /// # Errors
    ///
    /// As [`fixtures::source`].
    pub fn path(&self, out: &Path) -> Result<PathBuf> {
        match self {
            Self::Clip(size) => fixtures::source(*size),
            Self::Made(name) => Ok(out.join(name)),
        }
    }
}

/// What a stream is to be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its file.
    pub stream: String,
    /// What it was made of.
    pub source: Source,
    /// The size of its pictures.
    pub size: Size,
    /// How many there are.
    pub frames: u32,
}

impl Expected {
    /// All frames of [`fixtures::source`].
    pub fn all_of(size: Size, stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            source: Source::Clip(size),
            size,
            frames: fixtures::frames(size),
        }
    }

    /// Decodes the stream in `out` and compares it with its source: three results.
    pub fn check(&self, results: &Results, out: &Path) {
        let (name, size) = (&self.stream, self.size);
        let path = out.join(name);
        let (all, is) = (
            format!("{name}: all {} frames decode", self.frames),
            format!("{name}: is {size}"),
        );
        match decode(&path) {
            Ok(found) => {
                let reason = format!("{} of {}", found.frames, self.frames);
                results.verdict(&all, found.frames == self.frames, &reason);
                results.verdict(&is, found.size == size, &found.size.to_string());
            }
            Err(error) => {
                results.not_ok(&all, &format!("{error:#}"));
                results.not_ok(&is, &format!("{error:#}"));
            }
        }
        let name = format!("{name}: at least {ENOUGH} dB");
        let compared = self.source.path(out);
        match compared.and_then(|source| psnr(&path, &source, size)) {
            Ok(db) => drop(results.verdict(&name, db >= ENOUGH, &format!("{db:.2} dB"))),
            Err(error) => results.not_ok(&name, &format!("{error:#}")),
        }
    }
}

/// Checks all of `expected` in `out`. That there is none is a failure.
pub fn check_all(results: &Results, out: &Path, expected: &[Expected]) {
    if expected.is_empty() {
        results.not_ok("streams came back", "none");
    }
    for stream in expected {
        stream.check(results, out);
    }
}

/// What a stream decodes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How many frames.
    pub frames: u32,
    /// Their size.
    pub size: Size,
}

/// What `ffprobe -of json` prints.
#[derive(Deserialize)]
struct Probe {
    streams: Vec<Video>,
}

#[derive(Deserialize)]
struct Video {
    width: u32,
    height: u32,
    /// A number; absent if not one frame can be decoded.
    nb_read_frames: Option<String>,
}

/// Decodes all of a stream.
///
/// # Errors
///
/// There is no such stream, or no video in it.
pub fn decode(stream: &Path) -> Result<Decoded> {
    let path = stream.to_string_lossy();
    if fs::metadata(stream).map_or(0, |file| file.len()) == 0 {
        bail!("{path}: no stream");
    }
    let what = ["-v", "error", "-count_frames", "-select_streams", "v:0"];
    let shown = "stream=width,height,nb_read_frames";
    let how = ["-show_entries", shown, "-of", "json", &path];
    probed(&run("ffprobe", &[&what[..], &how[..]].concat())?)
}

fn probed(json: &str) -> Result<Decoded> {
    let probe: Probe = serde_json::from_str(json).context("what ffprobe prints")?;
    let video = probe.streams.first().context("ffprobe finds no video")?;
    let frames = video.nb_read_frames.as_deref().unwrap_or("0");
    Ok(Decoded {
        frames: frames.parse().context("what ffprobe prints")?,
        size: Size::new(video.width, video.height),
    })
}

/// The average PSNR of a stream against raw NV12 frames, in dB. Frame n is compared with frame n,
/// whatever timing the stream carries.
///
/// # Errors
///
/// FFmpeg cannot compare them, for instance as their sizes differ.
pub fn psnr(stream: &Path, raw: &Path, size: Size) -> Result<f64> {
    let filter = "[0:v]settb=1/1000,setpts=N*40[a];[1:v]settb=1/1000,setpts=N*40[b];\
                  [a][b]psnr=shortest=1";
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-i"])
        .arg(stream)
        .args(["-f", "rawvideo", "-pix_fmt", "nv12", "-video_size"])
        .arg(size.to_string())
        .arg("-i")
        .arg(raw)
        .args(["-lavfi", filter, "-f", "null", "-"])
        .stdin(Stdio::null())
        .output()
        .context("ffmpeg is missing")?;
    let log = String::from_utf8_lossy(&output.stderr);
    average(&log).with_context(|| {
        let last = log.lines().last().unwrap_or_default();
        format!("ffmpeg finds no PSNR: {last}")
    })
}

/// The last average in what the filter psnr logs.
fn average(log: &str) -> Option<f64> {
    log.lines()
        .filter_map(|line| line.split_once("PSNR ")?.1.split_once("average:"))
        .filter_map(|(_, rest)| rest.split_ascii_whitespace().next())
        .filter_map(|value| match value {
            "inf" => Some(SAME),
            number => number.parse().ok(),
        })
        .next_back()
}

/// Puts a stream into a file that players take.
///
/// # Errors
///
/// FFmpeg fails.
pub fn make_mp4(stream: &Path, rate: Rate, to: &Path) -> Result<()> {
    let (stream, to) = (stream.to_string_lossy(), to.to_string_lossy());
    let rate = rate.to_string();
    let from = ["-v", "error", "-nostdin", "-y", "-framerate", &rate, "-i"];
    let how = ["-c", "copy", "-movflags", "+faststart"];
    let all = [&from[..], &[&*stream], &how[..], &[&*to]].concat();
    run("ffmpeg", &all).map(drop)
}

/// Makes a picture (PNG) with five of the source's `frames`, and under each the same frame as it
/// was coded.
///
/// # Errors
///
/// FFmpeg fails.
pub fn make_sheet(
    raw: &Path,
    size: Size,
    rate: Rate,
    coded: &Path,
    frames: u32,
    to: &Path,
) -> Result<()> {
    let row = |input: u32| {
        let step = frames.div_ceil(5).max(1);
        format!("[{input}:v]select=not(mod(n\\,{step})),scale=384:-2,tile=5x1:padding=4")
    };
    let filter = format!("{}[a];{}[b];[a][b]vstack", row(0), row(1));
    let (size, rate) = (size.to_string(), rate.to_string());
    let (raw, coded) = (raw.to_string_lossy(), coded.to_string_lossy());
    let quiet = ["-v", "error", "-nostdin", "-y"];
    let format = ["-f", "rawvideo", "-pix_fmt", "nv12", "-video_size", &size];
    let inputs = ["-framerate", &rate, "-i", &raw, "-i", &coded];
    let to = to.to_string_lossy();
    let output = ["-lavfi", &filter, "-frames:v", "1", &to];
    let all = [&quiet[..], &format[..], &inputs[..], &output[..]].concat();
    run("ffmpeg", &all).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffprobe_tells_frames_and_size() {
        let json = r#"{"programs": [], "streams": [
            {"width": 640, "height": 360, "nb_read_frames": "60"}]}"#;
        let found = probed(json).unwrap();
        assert_eq!((found.frames, found.size), (60, Size::new(640, 360)));
        let broken = probed(r#"{"streams": [{"width": 640, "height": 360}]}"#).unwrap();
        assert_eq!(broken.frames, 0);
        assert!(probed(r#"{"streams": []}"#).is_err());
        assert!(probed("").is_err());
    }

    #[test]
    fn the_average_is_the_last_one_of_the_filter() {
        let line = |average: &str| {
            format!(
                "[Parsed_psnr_4 @ 0x55] PSNR y:41.2 u:44.1 v:45.0 average:{average} min:3 max:4\n"
            )
        };
        assert_eq!(average(&line("42.125981")), Some(42.125_981));
        assert_eq!(average(&(line("30.0") + &line("inf"))), Some(SAME));
        assert_eq!(average("Conversion failed! average:40"), None);
    }
}
