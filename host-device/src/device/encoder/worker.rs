// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder thread of a session: it runs while both queues stream, one frame at a time.
//!
//! What it gives back to the guest it signals when it has nothing more to do, or when `signals`
//! says so: with several frames waiting one signal tells of several.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use nix::errno::Errno;

use super::core::{Action, Core, Delivery, Job, Payload};
use super::params::Params;
use super::pipeline::{Pipeline, Setup};
use super::resolve;
use super::settings::Settings;
use super::signals::Signals;
use crate::counters::Counters;
use crate::device::gst::frame::{is_dmabuf, wrap};
use crate::events::Events;
use crate::memory::{MemoryCharge, PlaneMemory};

/// Encoders that fail one after the other before the session is given up.
const MAX_FAILURES: u32 = 3;

/// What the calls of a session, its encoder thread and GStreamer's threads share.
#[derive(Debug)]
pub struct Shared {
    core: Mutex<Core>,
    /// The encoder thread waits here, and `Core::asleep` says that it does.
    wake: Condvar,
    /// OUTPUT buffers that the encoder thread gave back without a signal.
    returned: AtomicUsize,
    /// The way to the guest.
    pub events: Events,
    /// Options of the device.
    pub settings: Arc<Settings>,
}

/// An OUTPUT buffer that the encoder holds; dropped, it goes back to the client.
struct Held {
    shared: Arc<Shared>,
    index: u32,
    epoch: u64,
    /// The encoder thread.
    thread: ThreadId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        let Some((buffer, planes)) = core.released(self.index, self.epoch) else {
            return;
        };
        if std::thread::current().id() == self.thread {
            // It signals before it waits.
            self.shared.returned.fetch_add(1, Ordering::Relaxed);
            self.shared.events.quiet().dqbuf(buffer, &planes);
        } else {
            self.shared.events.dqbuf(buffer, &planes);
        }
    }
}

impl Shared {
    /// Shares the state of a session.
    pub fn new(core: Core, events: Events, settings: Arc<Settings>) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(core),
            wake: Condvar::new(),
            returned: AtomicUsize::new(0),
            events,
            settings,
        })
    }

    /// The state. Held for moments only: never while something is encoded, copied or waited for.
    pub fn lock(&self) -> MutexGuard<'_, Core> {
        // Nothing panics between two steps that belong together.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came in that the encoder thread may act on.
    pub fn wake(&self) {
        let wanted = {
            let mut core = self.lock();
            let wanted = core.asleep && core.has_work();
            // Once: it is a system call, and the thread looks at everything that has come until it
            // runs.
            core.asleep &= !wanted;
            wanted
        };
        // Not under the lock, which the thread takes first.
        if wanted {
            self.wake.notify_one();
        }
    }

    /// Copies a coded frame into its CAPTURE buffer and gives that to the guest.
    fn deliver(&self, delivery: &Delivery, events: &Events) {
        let (bytes, whole) = delivery.copy();
        let counters = events.counters();
        Counters::add(&counters.frames, 1);
        Counters::add(&counters.coded_bytes_copied, bytes as u64);
        if let Some(frame) = &delivery.coded.frame {
            Counters::add(&counters.coded_bytes, frame.buffer.size() as u64);
        }
        self.lock().delivered(delivery, bytes, whole, events);
    }

    /// Does what needs no encoder: coded frames that are left go out, a drain ends.
    pub fn pump(&self) {
        loop {
            let action = self.lock().next(false, &self.events);
            match action {
                Some(Action::Deliver(delivery)) => self.deliver(&delivery, &self.events),
                _ => return,
            }
        }
    }

    /// What the encoder is to do now.
    pub fn params(&self, core: &Core, running: Option<(u32, u32)>) -> Params {
        let capacity = core.capacity();
        resolve::params(
            &core.controls,
            &core.formats,
            &self.settings,
            running,
            capacity,
        )
    }
}

/// The encoder thread.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// What the encoder takes; given back when it has ended.
    _memory: MemoryCharge,
}

impl Worker {
    /// Starts an encoder and its thread. What they take has been charged.
    ///
    /// # Errors
    ///
    /// The encoder does not start: the log says why.
    pub fn start(shared: &Arc<Shared>, setup: Setup, memory: MemoryCharge) -> Result<Self, Errno> {
        let params = {
            let mut core = shared.lock();
            core.stop = false;
            core.asleep = false;
            core.changed = false;
            core.cut = false;
            core.fed = false;
            core.drain.started();
            shared.params(&core, None)
        };
        let pipeline = make(shared, setup.clone(), params.clone()).ok_or(Errno::EIO)?;
        let mut run = Run {
            shared: Arc::clone(shared),
            setup,
            params,
            pipeline: Some(pipeline),
            failures: 0,
            signals: Signals::new(&shared.events),
        };
        let events = shared.events.clone();
        let span = tracing::Span::current();
        let encode = move || {
            let _entered = span.enter();
            // A bug must not leave the guest waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| run.run())).is_err() {
                tracing::error!("the encoder thread panicked: the session is lost");
                events.error(Errno::EIO);
            }
            // The encoder lets go of its frames.
            drop(run);
            events.signal();
        };
        let thread = std::thread::Builder::new()
            .name("encode".to_owned())
            .spawn(encode)
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
    /// Ends the thread and the encoder: all raw frames are let go of.
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

fn make(shared: &Arc<Shared>, setup: Setup, params: Params) -> Option<Pipeline> {
    let coded = Arc::downgrade(shared);
    let made = Pipeline::new(setup, params, move |frame| {
        if let Some(shared) = coded.upgrade() {
            shared.lock().came_out(frame);
            shared.wake();
        }
    });
    made.inspect_err(|error| tracing::error!("cannot start the encoder: {error:#}"))
        .ok()
}

/// What the thread works on.
struct Run {
    shared: Arc<Shared>,
    setup: Setup,
    params: Params,
    /// `None` after it gave out its last frame or failed: the next frame starts a new one.
    pipeline: Option<Pipeline>,
    failures: u32,
    signals: Signals,
}

/// What the thread is to do.
struct Step {
    action: Action,
    /// New parameters, with a frame to encode.
    params: Option<Params>,
    /// A frame before the one to encode was cut off.
    cut: bool,
    /// Frames that wait, with the one to encode.
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
                Action::Encode(job) => {
                    if let Some(params) = step.params {
                        self.change(params);
                    }
                    if step.cut {
                        self.after_cut();
                    }
                    self.signals.before(step.waiting);
                    self.encode(job);
                    let returned = self.shared.returned.swap(0, Ordering::Relaxed);
                    self.signals.encoded(returned);
                    if self.failures >= MAX_FAILURES {
                        tracing::error!("the encoder fails again and again: the session is lost");
                        self.shared.events.error(Errno::EIO);
                        return;
                    }
                }
                Action::Flush => self.flush(),
            }
        }
    }

    /// Waits for something to do; `None` to end. The guest has been told of everything before this
    /// waits.
    fn wait(&mut self) -> Option<Step> {
        let mut told = false;
        let mut core = self.shared.lock();
        loop {
            if core.stop {
                return None;
            }
            // Before `next` takes one of them.
            let waiting = core.can_encode();
            let work = core.has_work();
            if let Some(action) = core.next(true, &self.shared.events) {
                debug_assert!(work, "nobody would have woken the thread for {action:?}");
                let encode = matches!(action, Action::Encode(_));
                let changed = encode && std::mem::take(&mut core.changed);
                let cut = encode && std::mem::take(&mut core.cut);
                let params =
                    changed.then(|| self.shared.params(&core, Some(self.params.framerate)));
                return Some(Step {
                    action,
                    params,
                    cut,
                    waiting,
                });
            }
            if !told {
                // Not under the lock: it is a system call.
                drop(core);
                self.signals.signal();
                told = true;
                core = self.shared.lock();
                continue;
            }
            core.asleep = true;
            while core.asleep {
                core = self
                    .shared
                    .wake
                    .wait(core)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes over new parameters, as far as they may change while the encoder runs.
    fn change(&mut self, params: Params) {
        let longer = |old: u32, new: u32| new != old && (new == 0 || (old != 0 && new > old));
        let outgrown = self
            .pipeline
            .as_ref()
            .is_some_and(|pipeline| longer(pipeline.params().gop, params.gop));
        self.params.gop = params.gop;
        self.params.bitrate = params.bitrate;
        self.params.constant = params.constant;
        let restart = if outgrown {
            // The encoder would go on with key frames at its old distance.
            Some("a longer group of pictures".to_owned())
        } else {
            self.pipeline
                .as_mut()
                .and_then(|pipeline| pipeline.update(&params).err())
                .map(|error| format!("{error:#}"))
        };
        if let Some(reason) = restart {
            tracing::debug!("the encoder starts anew: {reason}");
            self.flush();
        }
    }

    /// A frame was cut off, of an encoder that gives frames out later than it takes them: the next
    /// one begins anew, with smaller frames.
    fn after_cut(&mut self) {
        if let Some(tighter) = self.params.tighter() {
            self.params = tighter;
        }
        self.flush();
    }

    /// Has the encoder give out what it holds, and ends it.
    fn flush(&mut self) {
        self.signals.signal();
        if let Some(pipeline) = self.pipeline.take() {
            pipeline.finish(&|| self.shared.lock().stop);
        }
        self.shared.lock().flushed();
    }

    fn encode(&mut self, job: Job) {
        let held = Arc::new(Held {
            shared: Arc::clone(&self.shared),
            index: job.index,
            epoch: job.epoch,
            thread: std::thread::current().id(),
        });
        let mut payload = job.payload;
        loop {
            self.encode_once(&job.planes, &held, payload);
            match self.too_large() {
                Some(again) => payload = again,
                None => return,
            }
        }
    }

    /// Whether the frame that was just encoded does not fit into its buffer and is to be encoded
    /// once more, smaller: what the client said of it. What comes after it would be coded by what
    /// its buffer does not have. The encoder starts anew.
    fn too_large(&mut self) -> Option<Payload> {
        let tighter = self.params.tighter()?;
        let payload = self.shared.lock().too_large(self.params.capacity)?;
        tracing::debug!("a frame is too large for its buffer: the encoder starts anew");
        self.params = tighter;
        self.pipeline = None;
        Some(payload)
    }

    fn encode_once(
        &mut self,
        planes: &[(PlaneMemory, u32, u32)],
        held: &Arc<Held>,
        payload: Payload,
    ) {
        let frame = match wrap((&self.setup.raw, self.setup.crop), planes, Arc::clone(held)) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!("cannot wrap a frame: {error:#}");
                self.shared.lock().refused(payload);
                return;
            }
        };
        let dmabuf = is_dmabuf(&frame);
        let fits = |pipeline: &Pipeline| pipeline.takes(dmabuf);
        if !self.pipeline.as_ref().is_none_or(fits) {
            tracing::debug!("the encoder starts anew: dmabufs {dmabuf}");
            self.flush();
        }
        if self.pipeline.is_none() {
            self.setup.dmabuf = dmabuf;
            self.pipeline = make(&self.shared, self.setup.clone(), self.params.clone());
        }
        let Some(pipeline) = &mut self.pipeline else {
            self.failures += 1;
            self.shared.lock().refused(payload);
            return;
        };
        let gop = self.params.gop;
        let due = gop != 0 && gop != pipeline.params().gop && pipeline.since_key() >= gop;
        let force_key = payload.private.force_key || due;
        let pushed = pipeline.push(frame, force_key, |time| {
            if let Some(kicked) = payload.private.kicked {
                let counters = self.shared.events.counters();
                counters.kick_to_push.add(kicked.elapsed());
            }
            self.shared.lock().entered(time, payload);
        });
        match pushed {
            Ok(()) => self.failures = 0,
            Err(error) => {
                tracing::error!("{error:#}");
                self.failures += 1;
                self.pipeline = None;
                self.shared.lock().flushed();
            }
        }
    }
}
