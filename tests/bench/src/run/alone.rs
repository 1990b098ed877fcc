// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder alone, on the core that the daemon's encoder has otherwise.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use e2e::fixtures::{self, Size};

use super::{PROXY_WARMUP, WARMUP, frames_name, timed};

/// Which encoder it is.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// What the daemon's log says of the last stream of that size.
    Element {
        /// The daemon's log.
        log: PathBuf,
    },
    /// A node of this host, which makes FWHT.
    Node(PathBuf),
}

/// An encoder, and the programs and frames that it is run with.
#[derive(Clone, Debug)]
pub struct Alone {
    /// The encoder.
    pub encoder: Encoder,
    /// Where bench-encode is, or bench.
    pub programs: PathBuf,
    /// Where the raw frames are.
    pub frames: PathBuf,
}

impl Alone {
    /// Runs it for the case `pair-SIZE-NUMBER` and adds its line of JSON to the file `to`.
    ///
    /// # Errors
    ///
    /// The daemon has not encoded that size, or the program fails.
    pub fn run(&self, label: &str, to: &Path) -> Result<()> {
        let size = size_of(label).with_context(|| format!("{label} is not pair-SIZE-NUMBER"))?;
        let program = |name: &str| self.programs.join(name).to_string_lossy().into_owned();
        let source = self.frames.join(frames_name(size));
        let frames = format!("frames={}", timed(size));
        let (label, source) = (
            format!("label={label}"),
            format!("source={}", source.display()),
        );
        let picture = format!("size={size}");
        let said = match &self.encoder {
            Encoder::Node(node) => {
                let (device, warmup) = (
                    format!("device={}", node.display()),
                    format!("warmup={PROXY_WARMUP}"),
                );
                let fixed = ["coded=FWHT", "alone=1", "depth=4"];
                let given = [&*label, &device, &picture, &source, &warmup, &frames];
                fixtures::run(&program("bench"), &[&given[..], &fixed].concat())?
            }
            Encoder::Element { log } => {
                let line = format!("line={}", stream(log, size)?);
                let warmup = format!("warmup={WARMUP}");
                let program = program("bench-encode");
                let core = ["-c", "1", &program];
                let given = [&*label, &line, &picture, &source, &warmup, &frames];
                fixtures::run("taskset", &[&core[..], &given].concat())?
            }
        };
        let mut file = OpenOptions::new().create(true).append(true).open(to)?;
        Ok(file.write_all(said.as_bytes())?)
    }
}

/// The line of the daemon's log that tells of the last stream of that size.
fn stream(log: &Path, size: Size) -> Result<String> {
    let text = std::fs::read_to_string(log)?;
    let caps = format!("width=(int){}, height=(int){}, ", size.width, size.height);
    let found = text
        .lines()
        .rfind(|line| line.contains("the same stream on the host: ") && line.contains(&caps));
    let found = found.with_context(|| format!("the daemon's log has no stream of {size}"))?;
    Ok(found.to_owned())
}

fn size_of(label: &str) -> Option<Size> {
    let (size, _) = label.strip_prefix("pair-")?.split_once('-')?;
    let (width, height) = size.split_once('x')?;
    Some(Size::new(width.parse().ok()?, height.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_its_size() {
        assert_eq!(size_of("pair-640x360-12"), Some(Size::new(640, 360)));
        assert_eq!(size_of("first-640x360"), None);
    }
}
