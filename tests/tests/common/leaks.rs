// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the process holds: file descriptors, mappings, memory, threads.

use std::time::{Duration, Instant};

use frontend::PATIENCE;

/// A count of what a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Open file descriptors.
    pub fds: usize,
    /// Mappings of memfds and dmabufs: what is shared with the guest.
    pub shared_mappings: usize,
    /// Threads.
    pub threads: usize,
    /// Resident anonymous memory, in kB.
    pub anonymous_kb: usize,
}

impl Holdings {
    /// Of this process.
    pub fn now() -> Self {
        Self::of("self")
    }

    /// Of process `pid`.
    pub fn of(pid: &str) -> Self {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| -> usize {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self {
            fds: std::fs::read_dir(format!("/proc/{pid}/fd"))
                .unwrap()
                .count(),
            shared_mappings: maps
                .lines()
                .filter(|line| line.contains("/memfd:") || line.contains("/dmabuf:"))
                .count(),
            threads: field("Threads:"),
            anonymous_kb: field("RssAnon:"),
        }
    }

    /// Waits until no more is held than `self`, but for memory, which allocators keep.
    #[track_caller]
    pub fn assert_back(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::now();
            if now.fds <= self.fds
                && now.shared_mappings <= self.shared_mappings
                && now.threads <= self.threads
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "before {self:?}, after {now:?}: {:#?}",
                descriptors()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the open file descriptors are, for the failed test's message.
fn descriptors() -> Vec<String> {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect()
}
