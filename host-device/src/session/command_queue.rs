// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One session and the commands that wait for it.
//!
//! The commands of a session run one after the other in the order of the ring. A short command runs
//! on the ring thread, unless the session is busy. Otherwise, and if it may take long, it waits
//! here for a thread of the VM.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::permit::SessionPermit;
use super::threads::Threads;
use crate::device::api::{Result, Session};
use crate::events::Events;

/// The guest's session as a command finds it.
pub(super) type Target<'a> = &'a mut dyn Session;

/// A command that waits. It gets `Err` instead of the session when that is gone, with what to
/// answer.
pub(super) type Job = Box<dyn FnOnce(Result<Target<'_>>) + Send>;

enum Work {
    Job(Job),
    /// Drop the session, then run this.
    Close(Box<dyn FnOnce() + Send>),
}

struct State {
    /// `None` while a command runs, and after the end.
    session: Option<Box<dyn Session>>,
    running: bool,
    waiting: VecDeque<Work>,
    /// Counts the session as open for as long as it takes resources.
    open: Option<SessionPermit>,
}

/// A session with its queue of commands.
pub(super) struct CommandQueue {
    pub(super) events: Events,
    state: Mutex<State>,
}

/// How a command ended that was offered to [`CommandQueue::try_now`].
pub(super) enum Now<T> {
    /// It ran.
    Ran(T),
    /// The session is busy: it must wait.
    Busy,
}

impl CommandQueue {
    pub(super) fn new(session: Box<dyn Session>, events: Events, open: SessionPermit) -> Arc<Self> {
        Arc::new(Self {
            events,
            state: Mutex::new(State {
                session: Some(session),
                running: false,
                waiting: VecDeque::new(),
                open: Some(open),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `command` at once if the session is idle.
    pub(super) fn try_now<T>(
        self: &Arc<Self>,
        threads: &Threads,
        command: impl FnOnce(Result<Target<'_>>) -> T,
    ) -> Now<Option<T>> {
        let mut session = {
            let mut state = self.state();
            if state.running {
                return Now::Busy;
            }
            state.running = true;
            state.session.take()
        };
        let result = self.guarded(&mut session, command);
        let mut state = self.state();
        state.session = session;
        state.running = false;
        if !state.waiting.is_empty() {
            state.running = true;
            self.spawn(threads);
        }
        Now::Ran(result)
    }

    /// Runs `job` after all that wait already, on a thread that may block.
    pub(super) fn later(self: &Arc<Self>, threads: &Threads, job: Job) {
        self.push(threads, Work::Job(job));
    }

    /// Drops the session after what waits already, then runs `then`.
    pub(super) fn close(self: &Arc<Self>, threads: &Threads, then: Box<dyn FnOnce() + Send>) {
        self.push(threads, Work::Close(then));
    }

    /// Drops the session before anything that waits.
    pub(super) fn abandon(self: &Arc<Self>, threads: &Threads) {
        self.events.close();
        let dropped = std::mem::take(&mut self.state().waiting);
        drop(dropped);
        self.push(threads, Work::Close(Box::new(|| ())));
    }

    fn push(self: &Arc<Self>, threads: &Threads, work: Work) {
        let mut state = self.state();
        state.waiting.push_back(work);
        if !state.running {
            state.running = true;
            self.spawn(threads);
        }
    }

    /// Starts the task that works off what waits. `running` is already set.
    fn spawn(self: &Arc<Self>, threads: &Threads) {
        let queue = Arc::clone(self);
        threads.run(move || queue.work());
    }

    fn work(&self) {
        let mut session = self.state().session.take();
        loop {
            let work = {
                let mut state = self.state();
                match state.waiting.pop_front() {
                    Some(work) => work,
                    None => {
                        state.session = session;
                        state.running = false;
                        return;
                    }
                }
            };
            match work {
                Work::Job(job) => {
                    self.guarded(&mut session, job);
                }
                Work::Close(then) => {
                    self.events.close();
                    let session = session.take();
                    if catch_unwind(AssertUnwindSafe(|| drop(session))).is_err() {
                        tracing::error!("{:?}: panic on close, please report it", self.events);
                    }
                    self.events.counters().log_for_debugging();
                    // Before CLOSE comes back: who waits for it may open another session at once.
                    self.state().open = None;
                    then();
                }
            }
        }
    }

    /// Runs `command`; if the device panics, the session is lost and nothing else.
    fn guarded<T>(
        &self,
        session: &mut Option<Box<dyn Session>>,
        command: impl FnOnce(Result<Target<'_>>) -> T,
    ) -> Option<T> {
        let target = match (self.events.liveness().lost(), session) {
            (Some(errno), _) => Err(errno),
            (None, Some(session)) => Ok(&mut **session as Target<'_>),
            (None, None) => Err(Errno::EINVAL),
        };
        catch_unwind(AssertUnwindSafe(|| command(target)))
            .inspect_err(|_| {
                tracing::error!("{:?}: panic in the device, please report it", self.events);
                self.events.error(Errno::EIO);
            })
            .ok()
    }
}
