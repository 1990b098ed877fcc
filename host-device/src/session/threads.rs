// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Threads of one VMM, for commands that may take long.
//!
//! Each VMM and each device has threads of its own, so a command that hangs delays no other device.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread without work stays.
const KEEP: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
    ended: bool,
}

struct Shared {
    limit: usize,
    state: Mutex<State>,
    /// There is work, or the end has come.
    work: Condvar,
    /// A thread has ended.
    gone: Condvar,
}

/// Up to so many threads; the first is there from the start.
pub(super) struct Threads(Arc<Shared>);

impl Threads {
    /// At most `limit` threads.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn new(limit: usize) -> io::Result<Arc<Self>> {
        let threads = Self(Arc::new(Shared {
            limit,
            state: Mutex::default(),
            work: Condvar::new(),
            gone: Condvar::new(),
        }));
        threads.0.state().threads = 1;
        threads.0.start(true)?;
        Ok(Arc::new(threads))
    }

    /// Runs `work` on one of the threads: as soon as one is free, if there are as many as there may
    /// be.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state();
        state.waiting.push_back(Box::new(work));
        if state.idle >= state.waiting.len() {
            drop(state);
            self.0.work.notify_one();
            return;
        }
        if state.threads >= self.0.limit {
            return;
        }
        state.threads += 1;
        drop(state);
        if let Err(error) = self.0.start(false) {
            // The first one gets to it.
            self.0.state().threads -= 1;
            tracing::debug!("no thread for a command, which waits: {error}");
        }
    }

    /// Has the threads end when there is nothing more to do. Waits for that, but no longer than
    /// `patience`.
    pub(super) fn end(&self, patience: Duration) {
        let mut state = self.0.state();
        state.ended = true;
        self.0.work.notify_all();
        let left = |state: &mut State| state.threads > 0;
        let _ = self.0.gone.wait_timeout_while(state, patience, left);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread, which is counted already. The `first` stays until the end.
    fn start(self: &Arc<Self>, first: bool) -> io::Result<()> {
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name("command".to_owned())
            .spawn(move || shared.work_off(first))
            .map(drop)
    }

    fn work_off(&self, first: bool) {
        while let Some(work) = self.next(first) {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("panic in a command, please report it");
            }
        }
        self.gone.notify_all();
    }

    /// The next work. `None` if the thread is to end, and is no longer counted.
    fn next(&self, first: bool) -> Option<Work> {
        let mut state = self.state();
        let mut tired = false;
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            if state.ended || tired {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            state = if first {
                let woken = self.work.wait(state);
                woken.unwrap_or_else(PoisonError::into_inner)
            } else {
                let woken = self.work.wait_timeout(state, KEEP);
                let (state, time) = woken.unwrap_or_else(PoisonError::into_inner);
                tired = time.timed_out();
                state
            };
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn as_many_as_there_may_be_and_no_more() {
        let threads = Threads::new(3).unwrap();
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (said, heard) = channel();
        for number in 0..5 {
            let (held, said) = (Arc::clone(&held), said.clone());
            threads.run(move || {
                said.send(number).unwrap();
                if number < 3 {
                    let _ = held.lock().unwrap().recv();
                }
            });
        }
        let mut three: Vec<i32> = (0..3)
            .map(|_| heard.recv_timeout(PATIENCE).unwrap())
            .collect();
        three.sort_unstable();
        assert_eq!(three, [0, 1, 2]);
        assert_eq!(threads.0.state().threads, 3);
        hold.send(()).unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(3));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(4));
        drop(hold);
        threads.end(PATIENCE);
        assert_eq!(threads.0.state().threads, 0);
    }

    #[test]
    fn a_panic_ends_no_thread() {
        let threads = Threads::new(1).unwrap();
        threads.run(|| panic!("a device's"));
        let (said, heard) = channel();
        threads.run(move || said.send(1).unwrap());
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(1));
        threads.end(PATIENCE);
        assert_eq!(threads.0.state().threads, 0);
    }
}
