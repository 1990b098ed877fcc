// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Threads of a process of the host, by name: how long they have worked, and where.

use std::fs;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// A part of the name of an encoder's threads.
pub const ENCODER: &str = "encode";
/// The processor that encoders have to themselves.
pub const ENCODER_CPU: usize = 1;

/// The threads of a process whose names contain `name`.
fn named(process: i32, name: &str) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let threads = tasks.into_iter().flatten().flatten();
    let threads = threads.filter_map(|task| task.file_name().to_str()?.parse::<i32>().ok());
    threads
        .filter(|thread| {
            // It may have ended by now.
            fs::read_to_string(format!("/proc/{process}/task/{thread}/comm"))
                .is_ok_and(|comm| comm.contains(name))
        })
        .collect()
}

/// How long the threads of a process whose names contain `name` have run, in nanoseconds.
pub fn cpu_time(process: i32, name: &str) -> u64 {
    let times = named(process, name).into_iter().filter_map(|thread| {
        let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"));
        text.ok()?
            .split_ascii_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });
    times.sum()
}

/// Lets the threads of a process whose names contain `name` run on one processor only.
///
/// # Errors
///
/// There is no such processor.
pub fn pin(process: i32, name: &str, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    for thread in named(process, name) {
        sched_setaffinity(Pid::from_raw(thread), &set)
            .with_context(|| format!("thread {thread} on processor {cpu}"))?;
    }
    Ok(())
}

/// Puts the encoders of a daemon on [`ENCODER_CPU`]; all else of it stays where it is.
///
/// # Errors
///
/// As [`pin`].
pub fn pin_encoders(daemon: i32) -> Result<()> {
    pin(daemon, ENCODER, ENCODER_CPU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_found_by_name_and_pinned() {
        let process = i32::try_from(std::process::id()).unwrap();
        let worker = std::thread::Builder::new().name("encode-test".to_owned());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let worker = worker
            .spawn(move || {
                let mut sum = 0_u64;
                while stopped.try_recv().is_err() {
                    sum = std::hint::black_box(sum.wrapping_add(1));
                }
            })
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(cpu_time(process, "encode-test") > 0);
        assert!(cpu_time(process, "") >= cpu_time(process, "encode-test"));
        assert_eq!(cpu_time(process, "no such thread"), 0);
        pin(process, "encode-test", 0).unwrap();
        stop.send(()).unwrap();
        worker.join().unwrap();
    }
}
