// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Watches a guest that may be lost: QEMU 11.1 loses the state of one now and then where it
//! emulates SVM.
//!
//! That shows in two ways. The agent no longer answers, or the guest's program counter stands in
//! its host's own `__svm_vcpu_run`, where KVM enters and leaves guests; no guest can get there by
//! itself. Then QEMU is ended, and whoever waits for the guest is told that it is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::guest::{Guest, Process};
use crate::monitor::Monitor;

/// How often it is looked at.
const TICK: Duration = Duration::from_secs(10);
/// How long the agent may take for an answer.
const SILENCE: Duration = Duration::from_secs(120);
/// Bytes of code that enter and leave a guest.
const ENTRY: u64 = 512;

/// What a guest is watched for.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// How long it may run.
    pub limit: Duration,
    /// Where its host's kernel has the code that enters guests, if that has to be looked at.
    pub entry: Option<u64>,
}

impl Watch {
    /// A guest under KVM of this machine's kernel.
    pub fn kvm(limit: Duration) -> Self {
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        Self {
            limit,
            entry: address(&symbols, "__svm_vcpu_run"),
        }
    }
}

/// Address of a function. `None` if there is none, or the kernel does not tell.
fn address(symbols: &str, function: &str) -> Option<u64> {
    let line = symbols
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(2) == Some(&function))?;
    let address = u64::from_str_radix(line[0], 16).ok()?;
    (address > 0).then_some(address)
}

#[derive(Debug)]
struct State {
    /// QEMU, as long as it may be ended.
    qemu: Option<Pid>,
    guest: Option<Arc<Guest>>,
    lost: Option<String>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher(Arc<Mutex<State>>);

impl Watcher {
    /// Begins to watch the guest of a QEMU that is a child of this process.
    pub fn new(watch: Watch, qemu: u32, monitor: Arc<Monitor>) -> Self {
        let state = Arc::new(Mutex::new(State {
            qemu: i32::try_from(qemu).ok().map(Pid::from_raw),
            guest: None,
            lost: None,
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            if let Some(why) = watch_until_lost(watch, &monitor, &shared) {
                let mut state = lock(&shared);
                if let Some(qemu) = state.qemu.take() {
                    state.lost = Some(why);
                    let _ = kill(qemu, Signal::SIGKILL);
                }
            }
        });
        Self(state)
    }

    /// From now on the guest's agent has to answer.
    pub fn guest(&self, guest: &Arc<Guest>) {
        lock(&self.0).guest = Some(Arc::clone(guest));
    }

    /// Why the guest was given up, if it was.
    pub fn lost(&self) -> Option<String> {
        lock(&self.0).lost.clone()
    }

    /// Watches no longer: QEMU is about to end.
    pub fn stop(&self) {
        lock(&self.0).qemu = None;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says why the guest is lost; `None` when nobody wants to know any more.
fn watch_until_lost(watch: Watch, monitor: &Monitor, state: &Mutex<State>) -> Option<String> {
    let begin = Instant::now();
    let mut strikes = 0;
    let guest = loop {
        std::thread::sleep(TICK);
        let guest = {
            let state = lock(state);
            state.qemu?;
            state.guest.clone()
        };
        let lost = over(watch, begin).or_else(|| astray(watch, monitor, &mut strikes));
        if lost.is_some() {
            return lost;
        }
        if let Some(guest) = guest {
            break guest;
        }
    };
    let mut ping: Option<(Process<'_>, Instant)> = None;
    loop {
        match &mut ping {
            // Who waits for a guest that has ended is told so without us.
            None => ping = Some((guest.ping().ok()?, Instant::now())),
            Some((process, since)) => {
                if process.ends(0).ok()? {
                    ping = None;
                } else if since.elapsed() >= SILENCE {
                    return Some(format!("no answer for {} s", SILENCE.as_secs()));
                }
            }
        }
        std::thread::sleep(TICK);
        lock(state).qemu?;
        let lost = over(watch, begin).or_else(|| astray(watch, monitor, &mut strikes));
        if lost.is_some() {
            return lost;
        }
    }
}

fn over(watch: Watch, begin: Instant) -> Option<String> {
    let limit = watch.limit;
    (begin.elapsed() >= limit).then(|| format!("no end after {} s", limit.as_secs()))
}

/// Whether the program counter is where no guest gets, twice in a row.
fn astray(watch: Watch, monitor: &Monitor, strikes: &mut u32) -> Option<String> {
    let entry = watch.entry?;
    // A monitor that does not answer is no proof.
    let counter = monitor.program_counter().ok()?;
    if (entry..entry + ENTRY).contains(&counter) {
        *strikes += 1;
    } else {
        *strikes = 0;
    }
    (*strikes >= 2).then(|| "its program counter was in its host's code".to_owned())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_is_told_or_not() {
        let symbols = "ffffffff81000000 T _text\nffffffffc0a01230 t __svm_vcpu_run\t[kvm_amd]\n";
        assert_eq!(
            address(symbols, "__svm_vcpu_run"),
            Some(0xffff_ffff_c0a0_1230)
        );
        assert_eq!(address(symbols, "__svm"), None);
        assert_eq!(address("0000000000000000 t a\n", "a"), None);
    }
}
