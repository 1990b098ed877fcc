// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The codec thread of a session: it runs while both queues stream, one frame at a time.
//!
//! What it gives back to the guest it signals when it has nothing more to do, or when `signals`
//! says so: with several frames waiting one signal is for several.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::errno::Errno;

use super::backend::{Change, Codec, Frame, FramePlane, FrameSink, PushError, Setup};
use super::core::{Action, Job, Payload};
use super::offer::Offer;
use super::shared::{Shared, SourceBuffer};
use super::signals::Signals;
use crate::memory::MemoryCharge;

/// Codecs that fail one after the other before the session is given up.
const MAX_FAILURES: u32 = 3;

/// The codec thread.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// What the codec takes; given back when it has ended.
    _memory: MemoryCharge,
}

impl Worker {
    /// Starts a codec and its thread. What they take has been charged.
    ///
    /// # Errors
    ///
    /// The codec does not start: the log says why.
    pub fn start(
        shared: &Arc<Shared>,
        offer: &Offer,
        setup: &Setup,
        memory: MemoryCharge,
    ) -> Result<Self, Errno> {
        shared.lock().started();
        let mut run = Run {
            codec: offer.backend.start(setup, sink(shared))?,
            shared: Arc::clone(shared),
            capacity: setup.capacity,
            failures: 0,
            signals: Signals::new(&shared.events),
        };
        let events = shared.events.clone();
        let span = tracing::Span::current();
        let code = move || {
            let _entered = span.enter();
            // A bug must not leave the guest waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| run.run())).is_err() {
                tracing::error!("the codec thread panicked: the session is lost");
                events.error(Errno::EIO);
            }
            // The codec lets go of its frames.
            drop(run);
            events.signal();
        };
        let thread = std::thread::Builder::new()
            .name(offer.thread.to_owned())
            .spawn(code)
            .map_err(|error| {
                tracing::error!("cannot start a thread: {error}");
                Errno::EAGAIN
            })?;
        Ok(Self {
            shared: Arc::clone(shared),
            thread: Some(thread),
            _memory: memory,
        })
    }
}

impl Drop for Worker {
    /// Ends the thread and the codec: all raw frames are let go of.
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

/// Where coded frames go.
fn sink(shared: &Arc<Shared>) -> FrameSink {
    let shared = Arc::downgrade(shared);
    Arc::new(move |frame| {
        if let Some(shared) = shared.upgrade() {
            shared.lock().came_out(frame);
            shared.wake();
        }
    })
}

/// What the thread works on.
struct Run {
    codec: Box<dyn Codec>,
    shared: Arc<Shared>,
    /// Bytes that a coded frame may have.
    capacity: u32,
    failures: u32,
    signals: Signals,
}

/// What the thread is to do.
struct Step {
    action: Action,
    /// How the session stands now, with a frame to code, if that changed.
    setup: Option<Setup>,
    /// A frame before the one to code was cut off.
    cut: bool,
    /// Frames that wait, with the one to code.
    waiting: usize,
}

impl Run {
    fn run(&mut self) {
        while let Some(step) = self.wait() {
            match step.action {
                Action::Deliver(delivery) => {
                    self.shared.deliver(&delivery, self.signals.events());
                    self.signals.delivered(delivery.coded.since);
                }
                Action::Code(job) => {
                    if let Some(setup) = step.setup
                        && self.codec.change(&setup) == Change::Restart
                    {
                        self.flush();
                    }
                    if step.cut {
                        self.after_cut();
                    }
                    self.signals.before(step.waiting);
                    self.code(job);
                    self.signals.coded(self.shared.returned());
                    if self.failures >= MAX_FAILURES {
                        tracing::error!("the codec fails again and again: the session is lost");
                        self.shared.events.error(Errno::EIO);
                        return;
                    }
                }
                Action::Flush => self.flush(),
            }
        }
    }

    /// Waits for something to do; `None` to end. The guest has been signalled everything before
    /// this waits.
    fn wait(&mut self) -> Option<Step> {
        let mut signalled = false;
        let mut core = self.shared.lock();
        loop {
            if core.stop {
                return None;
            }
            // Before `next` takes one of them.
            let waiting = core.can_code();
            let work = core.has_work();
            if let Some(action) = core.next(true, &self.shared.events) {
                debug_assert!(work, "nobody would have woken the thread for {action:?}");
                let code = matches!(action, Action::Code(_));
                let changed = code && std::mem::take(&mut core.changed);
                let cut = code && std::mem::take(&mut core.cut);
                return Some(Step {
                    action,
                    setup: changed.then(|| core.setup()),
                    cut,
                    waiting,
                });
            }
            if signalled {
                core = self.shared.sleep(core);
            } else {
                // Not under the lock: it is a system call.
                drop(core);
                self.signals.signal();
                signalled = true;
                core = self.shared.lock();
            }
        }
    }

    /// A frame was cut off, of a codec that gives frames out later than it takes them: the next one
    /// begins anew, with smaller frames.
    fn after_cut(&mut self) {
        self.flush();
        self.codec.shrink();
    }

    /// Has the codec give out what it holds.
    fn flush(&mut self) {
        self.signals.signal();
        self.codec.flush(&|| self.shared.lock().stop);
        self.shared.lock().flushed();
    }

    /// Codes a frame. What does not fit into its buffer is coded once more, smaller: what comes
    /// after it would be coded by what its buffer does not have.
    fn code(&mut self, job: Job) {
        let hold = Arc::new(SourceBuffer::new(&self.shared, job.index, job.epoch));
        let mut payload = job.payload;
        loop {
            self.code_once(&job.planes, &hold, payload);
            if !self.codec.can_shrink() {
                return;
            }
            let Some(again) = self.shared.lock().too_large(self.capacity) else {
                return;
            };
            tracing::debug!("a frame is too large for its buffer: the codec starts anew");
            self.codec.shrink();
            payload = again;
        }
    }

    fn code_once(&mut self, planes: &[FramePlane], hold: &Arc<SourceBuffer>, payload: Payload) {
        if !self.codec.takes(planes) {
            self.flush();
        }
        let pressed = payload.private.pressed.clone();
        let frame = Frame {
            planes,
            pressed: &pressed,
            hold: Arc::clone(hold) as Arc<dyn Send + Sync>,
        };
        let shared = &self.shared;
        let mut entering = Some(payload);
        let pushed = self.codec.push(frame, &mut |time| {
            if let Some(payload) = entering.take() {
                enter(shared, time, payload);
            }
        });
        match pushed {
            Ok(()) => self.failures = 0,
            Err(PushError::Frame) => {}
            Err(PushError::Codec) => {
                self.failures += 1;
                self.shared.lock().flushed();
            }
        }
        if let Some(payload) = entering {
            self.shared.lock().refused(payload);
        }
    }
}

/// A frame goes into the codec under this `time`.
fn enter(shared: &Shared, time: u64, payload: Payload) {
    if let Some(kicked) = payload.private.kicked {
        let counters = shared.events.counters();
        counters.kick_to_push.add(kicked.elapsed());
    }
    shared.lock().entered(time, payload);
}
