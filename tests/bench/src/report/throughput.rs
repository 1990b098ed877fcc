// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Throughput of the path over that of the encoder on its own, pair by pair.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use super::input::lines;

/// The pairs of one size.
#[derive(Clone, Debug)]
pub struct Ratio {
    /// What the path led through: `guest` or `no guest`.
    pub path: String,
    /// The encoder: `x264enc` or `vicodec`.
    pub encoder: &'static str,
    /// Width and height, as `640x360`.
    pub size: String,
    /// Frames per second of the path and of the encoder on its own, for each pair.
    pub pairs: Vec<(f64, f64)>,
    /// Time of processors for a frame in microseconds: the daemon, its encoder thread in that, and
    /// the encoder on its own. Medians.
    pub cpu: Option<[f64; 3]>,
    /// Pairs of which both streams have as many bytes: the same work was done.
    pub same_bytes: usize,
}

/// The middle one; the mean of both for an even number. NaN of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

impl Ratio {
    /// Path over encoder, for each pair.
    pub fn ratios(&self) -> Vec<f64> {
        self.pairs.iter().map(|(path, host)| path / host).collect()
    }

    /// The median ratio.
    pub fn median(&self) -> f64 {
        median(&self.ratios())
    }

    /// Least and greatest ratio.
    pub fn spread(&self) -> (f64, f64) {
        let ratios = self.ratios();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        (least, ratios.iter().copied().fold(0.0, f64::max))
    }

    /// Medians of frames per second: path, encoder.
    pub fn rates(&self) -> (f64, f64) {
        let (path, host): (Vec<_>, Vec<_>) = self.pairs.iter().copied().unzip();
        (median(&path), median(&host))
    }

    /// For report.json.
    pub fn json(&self) -> Value {
        let (least, greatest) = self.spread();
        json!({
            "path": self.path,
            "encoder": self.encoder,
            "size": self.size,
            "pairs": self.pairs.len(),
            "ratio": {
                "median": self.median(), "least": least, "greatest": greatest,
                "all": self.ratios(),
            },
            "frames_per_second": self.pairs,
            "cpu_us_per_frame": self.cpu.map(|[daemon, thread, host]| json!({
                "daemon": daemon, "daemon_encoder_thread": thread, "host_only": host,
            })),
            "pairs_with_equal_bytes": self.same_bytes,
        })
    }
}

fn rate(object: &Map<String, Value>) -> Option<f64> {
    Some(object["steady_frames"].as_f64()? / object["steady_seconds"].as_f64()?)
}

fn cpu(object: &Map<String, Value>, key: &str) -> Option<f64> {
    Some(object.get(key)?.as_f64()? / object["frames"].as_f64()? / 1000.0)
}

/// The pairs in `dir`: cases of the path have a label `pair-SIZE-NUMBER`, and the encoder's run has
/// the same. `encoder` names what they are of; `path_cpu` tells the time of the daemon and of its
/// encoder thread, in microseconds for a frame, where the case itself does not.
///
/// # Errors
///
/// A line is not what it should be.
pub fn ratios(
    dir: &Path,
    path: &str,
    encoder: &'static str,
    path_cpu: impl Fn(&str) -> Option<(f64, f64)>,
) -> Result<Vec<Ratio>> {
    let hosts = lines(&dir.join("host-only.jsonl"))?;
    let mut all: Vec<Ratio> = Vec::new();
    let mut times: Vec<Vec<[f64; 3]>> = Vec::new();
    for case in lines(&dir.join("bench.jsonl"))? {
        // Without a guest there is one window.
        if case.get("window").is_some_and(|window| window != "long") {
            continue;
        }
        let label = case["label"].as_str().unwrap_or_default();
        let Some(size) = label
            .strip_prefix("pair-")
            .and_then(|rest| rest.split('-').next())
        else {
            continue;
        };
        let Some(host) = hosts.iter().find(|host| host["label"] == label) else {
            continue;
        };
        let (Some(ours), Some(theirs)) = (rate(&case), rate(host)) else {
            continue;
        };
        ensure!(
            case["frames"] == host["frames"],
            "{label}: not as many frames"
        );
        let at = all
            .iter()
            .position(|ratio| ratio.size == size)
            .unwrap_or_else(|| {
                all.push(Ratio {
                    path: path.to_owned(),
                    encoder,
                    size: size.to_owned(),
                    pairs: Vec::new(),
                    cpu: None,
                    same_bytes: 0,
                });
                times.push(Vec::new());
                all.len() - 1
            });
        all[at].pairs.push((ours, theirs));
        all[at].same_bytes += usize::from(case["coded_bytes"] == host["coded_bytes"]);
        let ours = cpu(&case, "cpu_ns").zip(cpu(&case, "encoder_ns"));
        if let (Some((daemon, thread)), Some(host)) =
            (ours.or_else(|| path_cpu(label)), cpu(host, "cpu_ns"))
        {
            times[at].push([daemon, thread, host]);
        }
    }
    for (ratio, times) in all.iter_mut().zip(times) {
        let column = |at: usize| median(&times.iter().map(|row| row[at]).collect::<Vec<_>>());
        ratio.cpu = (!times.is_empty()).then(|| [column(0), column(1), column(2)]);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
