// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the guest's client is run with, a case each.

use e2e::fixtures::Size;

use super::{PROXY_PAIRS, PROXY_SIZES, PROXY_WARMUP, SIZES, WARMUP, frames_name, timed};

/// A call of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name in the results.
    pub label: String,
    /// Arguments, `KEY=VALUE` each, without the label.
    pub arguments: String,
}

impl Case {
    fn new(label: String, arguments: String) -> Self {
        Self { label, arguments }
    }
}

/// Cases that are counted: memory kinds, sizes and depths, then sessions at once.
pub fn counted(run: &str, frames: &str, sessions_frames: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        for memory in ["mmap", "userptr", "dmabuf"] {
            for depth in [1, 4] {
                cases.push(Case::new(
                    format!("{run}-{memory}-{size}-d{depth}"),
                    format!("memory={memory} size={size} depth={depth} {frames}"),
                ));
            }
        }
    }
    for sessions in [1, 4, 16] {
        cases.push(Case::new(
            format!("{run}-sessions-{sessions}"),
            format!("sessions={sessions} size=640x360 depth=4 {sessions_frames}"),
        ));
    }
    cases
}

/// Which of a pair is first changes, so that a drift of the machine falls on both.
pub fn path_first(pair: usize) -> bool {
    pair % 2 == 1
}

fn pair(size: Size, number: usize, windows: &str, coded: &str) -> Case {
    let host = if path_first(number) {
        "after"
    } else {
        "before"
    };
    let (source, frames) = (frames_name(size), timed(size));
    Case::new(
        format!("pair-{size}-{number}"),
        format!(
            "{coded}size={size} source=/job/{source} depth=4 {windows} frames={frames} host={host}"
        ),
    )
}

/// Pairs of a guest and x264enc alone.
pub fn pairs(count: usize) -> Vec<Case> {
    let windows = format!("warmup={} short={}", WARMUP / 3, WARMUP * 2 / 3);
    let mut cases = Vec::new();
    for size in SIZES {
        // For the line in the daemon's log.
        let source = frames_name(size);
        cases.push(Case::new(
            format!("first-{size}"),
            format!("size={size} source=/job/{source} depth=4 frames=24"),
        ));
        cases.extend((1..=count).map(|number| pair(size, number, &windows, "")));
    }
    cases
}

/// Counts and pairs of vicodec behind the proxy.
pub fn proxied() -> Vec<Case> {
    let mut cases = Vec::new();
    for memory in ["mmap", "userptr", "dmabuf"] {
        let trace = if memory == "mmap" { " trace=1" } else { "" };
        for depth in [1, 4] {
            cases.push(Case::new(
                format!("proxy-{memory}-640x480-d{depth}"),
                format!(
                    "coded=FWHT memory={memory} size=640x480 depth={depth} warmup=9 short=12 \
                     frames=36{trace}"
                ),
            ));
        }
    }
    let windows = format!("warmup={} short={}", PROXY_WARMUP / 2, PROXY_WARMUP / 2);
    for size in PROXY_SIZES {
        cases.extend((1..=PROXY_PAIRS).map(|number| pair(size, number, &windows, "coded=FWHT ")));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_take_turns() {
        let cases = pairs(2);
        assert_eq!(cases.len(), 6);
        assert_eq!(cases[1].label, "pair-640x360-1");
        assert!(
            cases[1]
                .arguments
                .ends_with("warmup=12 short=24 frames=500 host=after")
        );
        assert!(cases[2].arguments.ends_with("host=before"));
    }
}
