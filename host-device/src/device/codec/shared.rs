// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the calls of a session, its codec thread and the codec's own threads share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::core::{Action, Core, Delivery};
use crate::counters::Counters;
use crate::events::Events;

/// The state of a session, and who waits for it to change.
#[derive(Debug)]
pub struct Shared {
    core: Mutex<Core>,
    /// The codec thread waits here, and `Core::asleep` says that it does.
    wake: Condvar,
    /// OUTPUT buffers that the codec thread gave back without a signal.
    returned: AtomicUsize,
    /// The way to the guest.
    pub events: Events,
}

impl Shared {
    /// Shares the state of a session.
    pub fn new(core: Core, events: Events) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(core),
            wake: Condvar::new(),
            returned: AtomicUsize::new(0),
            events,
        })
    }

    /// The state. Locked for moments only: never while something is coded, copied or waited for.
    pub fn lock(&self) -> MutexGuard<'_, Core> {
        // Nothing panics between two steps that belong together.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came in that the codec thread may act on.
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

    /// Sleeps until something came in.
    pub fn sleep<'a>(&'a self, mut core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        core.asleep = true;
        while core.asleep {
            core = self.wake.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        core
    }

    /// OUTPUT buffers that the codec thread gave back without a signal since the last call.
    pub fn returned(&self) -> usize {
        self.returned.swap(0, Ordering::Relaxed)
    }

    /// Copies a coded frame into its CAPTURE buffer and gives that to the guest.
    pub fn deliver(&self, delivery: &Delivery, events: &Events) {
        let (bytes, whole) = delivery.copy();
        let counters = events.counters();
        Counters::add(&counters.frames, 1);
        Counters::add(&counters.coded_bytes_copied, bytes as u64);
        if let Some(frame) = &delivery.coded.frame {
            Counters::add(&counters.coded_bytes, frame.size() as u64);
        }
        self.lock().delivered(delivery, bytes, whole, events);
    }

    /// Does what needs no codec: coded frames that are left go out, a drain ends.
    pub fn pump(&self) {
        loop {
            let action = self.lock().next(false, &self.events);
            match action {
                Some(Action::Deliver(delivery)) => self.deliver(&delivery, &self.events),
                _ => return,
            }
        }
    }
}

/// An OUTPUT buffer that the codec reads; dropped, it goes back to the client.
pub struct SourceBuffer {
    shared: Arc<Shared>,
    index: u32,
    epoch: u64,
    /// The codec thread.
    thread: ThreadId,
}

impl SourceBuffer {
    /// Buffer `index`, taken by the calling thread while the queue's epoch was `epoch`.
    pub fn new(shared: &Arc<Shared>, index: u32, epoch: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            index,
            epoch,
            thread: std::thread::current().id(),
        }
    }
}

impl Drop for SourceBuffer {
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
