// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The pipelines that the daemon's log names: each makes on the host, without guest and driver, the
//! stream that a session has made in the guest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::fixtures::Size;
use crate::results::Results;
use crate::rundir::quoted;

/// What stands before a pipeline in the log.
const START: &str = "; the same stream on the host: ";

/// A `gst-launch-1.0` line for a shell, with RAW and CODED for the places of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline(String);

/// The pipelines in a daemon's log: one for each session that has encoded, in their order.
pub fn pipelines(log: &str) -> Vec<Pipeline> {
    log.lines()
        .filter_map(|line| line.split_once(START))
        .filter(|(_, line)| line.starts_with("gst-launch-1.0 "))
        .map(|(_, line)| Pipeline(line.trim_end().to_owned()))
        .collect()
}

impl Pipeline {
    /// As the log has it.
    pub fn line(&self) -> &str {
        &self.0
    }

    fn has(&self, property: &str) -> bool {
        self.0.split(' ').any(|word| word == property)
    }

    /// Whether its frames have this size.
    pub fn is_of(&self, size: Size) -> bool {
        self.has(&format!("width={}", size.width)) && self.has(&format!("height={}", size.height))
    }

    /// Whether x264enc is asked for so many kbit/s.
    pub fn has_x264_bitrate(&self, kbit: u32) -> bool {
        self.has("x264enc") && self.has(&format!("bitrate={kbit}"))
    }

    /// Encodes the frames at `raw`; the stream is at `coded` then.
    ///
    /// # Errors
    ///
    /// GStreamer fails.
    pub fn run(&self, raw: &Path, coded: &Path) -> Result<()> {
        let place = |path: &Path| format!("location={}", quoted(&path.to_string_lossy()));
        let line = self.0.replacen("location=RAW", &place(raw), 1).replacen(
            "location=CODED",
            &place(coded),
            1,
        );
        let output = Command::new("bash")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .output()
            .context("bash")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{line}: {}", said.lines().last().unwrap_or("failed"));
        }
        Ok(())
    }

    /// `name` is as it should be if `stream`, which the guest has made of the frames at `raw`, has
    /// the bytes of what the host makes of them. That is kept beside it, as `STREAM.host`.
    pub fn check(&self, results: &Results, name: &str, stream: &Path, raw: &Path) -> bool {
        let mut coded = stream.as_os_str().to_owned();
        coded.push(".host");
        let same = self
            .run(raw, Path::new(&coded))
            .and_then(|()| difference(stream, Path::new(&coded)));
        match same {
            Ok(None) => results.verdict(name, true, ""),
            Ok(Some(reason)) => {
                let reason = format!("{reason} (host: {})", self.0);
                results.verdict(name, false, &reason)
            }
            Err(error) => results.verdict(name, false, &format!("{error:#}")),
        }
    }
}

/// How two files differ; `None` if not. An empty stream is none.
///
/// # Errors
///
/// One of them cannot be read.
pub fn difference(ours: &Path, host: &Path) -> Result<Option<String>> {
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let (ours, host) = (read(ours)?, read(host)?);
    if ours.is_empty() {
        return Ok(Some("no stream".to_owned()));
    }
    if ours == host {
        return Ok(None);
    }
    let at = ours.iter().zip(&host).position(|(a, b)| a != b);
    let at = at.unwrap_or(ours.len().min(host.len()));
    Ok(Some(format!(
        "differ at byte {at}: {} bytes by the guest, {} by the host",
        ours.len(),
        host.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
INFO h264 by x264enc
INFO encoder{session=1}: encoding video/x-raw, width=(int)640, height=(int)360 with x264enc; \
the same stream on the host: gst-launch-1.0 -q filesrc location=RAW ! rawvideoparse format=nv12 \
width=640 height=360 framerate=25/1 ! x264enc tune=zerolatency bitrate=1728 vbv-buf-capacity=600 \
! 'video/x-h264,profile=(string)high' ! filesink location=CODED
INFO encoder{session=2}: encoding video/x-raw with vp8enc; the same stream on the host: \
gst-launch-1.0 -q filesrc location=RAW ! rawvideoparse format=nv12 width=176 height=144 \
framerate=25/1 ! vp8enc target-bitrate=1728 ! filesink location=CODED
";

    #[test]
    fn the_log_names_one_for_each_session() {
        let found = pipelines(LOG);
        assert_eq!(found.len(), 2);
        assert!(found[0].is_of(Size::new(640, 360)) && !found[0].is_of(Size::new(176, 144)));
        assert!(found[0].has_x264_bitrate(1728) && !found[0].has_x264_bitrate(172));
        assert!(!found[1].has_x264_bitrate(1728));
    }

    #[test]
    fn files_of_other_bytes_differ() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let (a, same) = (file("a", b"abcd"), file("same", b"abcd"));
        let (other, short) = (file("other", b"abxd"), file("short", b"ab"));
        assert_eq!(difference(&a, &same).unwrap(), None);
        for (file, at) in [(other, "byte 2"), (short, "byte 2")] {
            assert!(difference(&a, &file).unwrap().unwrap().contains(at));
        }
        let empty = file("empty", b"");
        assert!(difference(&empty, &empty).unwrap().is_some());
        assert!(difference(&a, &directory.path().join("none")).is_err());
    }
}
