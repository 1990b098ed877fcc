// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Processes of the host that a run has started, and their end.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a process is looked at that is to end.
const TICK: Duration = Duration::from_millis(50);

/// Sends `signal` to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Waits up to `limit` for the end of a child.
pub fn ends(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(TICK);
    }
}

/// Ends a child: SIGTERM, and SIGKILL if it is still there after `grace`. A QEMU that waits for its
/// backend does not hear the first. Returns whether SIGKILL was needed.
pub fn end(child: &mut Child, name: &str, grace: Duration) -> bool {
    signal(child, Signal::SIGTERM);
    if ends(child, grace).is_some() {
        return false;
    }
    let _ = child.kill();
    let _ = child.wait();
    say(&format!(
        "{name} did not end on SIGTERM within {} s; killed",
        grace.as_secs()
    ));
    true
}

/// Tells the person who waits what is being done.
pub fn say(text: &str) {
    eprintln!("[vm] {text}");
}
