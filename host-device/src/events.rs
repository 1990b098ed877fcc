// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Events of all sessions for the guest: in order, never dropped.
//!
//! An event is written into a buffer of the guest's event queue at once. While the guest provides
//! no buffer, events wait, and are written in order as soon as it does. The number of waiting
//! events is bounded: one DQBUF event for each buffer of a session (if the guest queues a buffer
//! again without having seen its event, the later event replaces it), and one event for each
//! control, as events of the same type and ID merge.
//!
//! Delivering an event and signalling the guest are two steps. Whoever has several events delivers
//! them [quietly](Events::quiet), and then signals once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard};

use nix::errno::Errno;
use protocol::wire::event::{DQBUF, ERROR, EVENT, EventDqbuf, EventError, EventEvent, EventHeader};
use protocol::wire::v4l2::{
    Buffer, EVENT_CTRL, Event, EventCtrl, MEMORY_MMAP, Plane, VIDEO_MAX_PLANES, is_multiplanar,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::counters::Counters;
use crate::fair::FairMutex;

/// State of a session as its events see it: alive, closed, or lost with an errno.
#[derive(Debug)]
pub(crate) struct Liveness(AtomicU32);

impl Liveness {
    const ALIVE: u32 = 0;
    const CLOSED: u32 = u32::MAX;

    fn new() -> Self {
        Self(AtomicU32::new(Self::ALIVE))
    }

    /// The errno of the session's error event, if it is lost.
    pub(crate) fn lost(&self) -> Option<Errno> {
        match self.0.load(Ordering::Acquire) {
            Self::ALIVE | Self::CLOSED => None,
            errno => Some(Errno::from_raw(errno.cast_signed())),
        }
    }

    fn is_alive(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::ALIVE
    }
}

/// One event, as it waits.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all events are the large one, and the queue's memory is used again"
)]
enum Body {
    Dqbuf {
        buffer: Buffer,
        planes: [Plane; VIDEO_MAX_PLANES],
    },
    Event(Event),
    Error(u32),
}

#[derive(Debug)]
struct Held {
    session: u32,
    body: Body,
}

/// What became of an event that was offered to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The guest has it.
    Done,
    /// There is no buffer for it: keep it.
    Full,
}

/// Who takes the events of a VMM's sessions. Called without locks of the outbox held.
pub trait Guest: Send + Sync + 'static {
    /// Events may leave: is to call [`Outbox::drain`].
    fn deliver(&self, outbox: &Outbox);

    /// Notifies the guest of what was delivered since the last signal.
    fn signal(&self);
}

/// Events of all sessions of one VMM, oldest first.
pub struct Outbox {
    held: FairMutex<VecDeque<Held>>,
    guest: Box<dyn Guest>,
    counters: Arc<Counters>,
}

impl Outbox {
    /// No events yet, of sessions whose guest is `guest`.
    pub fn new(guest: impl Guest, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            held: FairMutex::new(VecDeque::new()),
            guest: Box::new(guest),
            counters,
        })
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<Held>> {
        // Nothing panics between two steps that belong together.
        self.held.lock()
    }

    /// Delivers what can be delivered, and signals.
    fn wake(&self) {
        self.guest.deliver(self);
        self.guest.signal();
    }

    /// The guest has added buffers to its event queue. Events that waited for them are delivered
    /// and signalled. If none waited, no signal is sent: whoever delivers quietly sends it.
    pub(crate) fn buffers_added(&self) {
        let waits = !self.held().is_empty();
        if waits {
            self.wake();
        }
    }

    /// Offers events to `put`, oldest first, until it is full.
    pub fn drain(&self, mut put: impl FnMut(&[u8]) -> Put) {
        let mut held = self.held();
        while let Some(Held { session, body }) = held.front() {
            let hdr = |event| EventHeader {
                event,
                session_id: *session,
            };
            let outcome = match body {
                Body::Dqbuf { buffer, planes } => put(EventDqbuf {
                    hdr: hdr(DQBUF),
                    buffer: *buffer,
                    planes: *planes,
                }
                .as_bytes()),
                Body::Event(event) => put(EventEvent {
                    hdr: hdr(EVENT),
                    event: *event,
                }
                .as_bytes()),
                Body::Error(errno) => put(EventError {
                    hdr: hdr(ERROR),
                    errno: *errno,
                    reserved: 0,
                }
                .as_bytes()),
            };
            match outcome {
                Put::Done => held.pop_front(),
                Put::Full => break,
            };
        }
    }

    /// Forgets every event, of every session.
    pub(crate) fn clear(&self) {
        self.held().clear();
    }
}

/// The way back to the guest for one session; clones are handles of the same session.
///
/// No method blocks. After the session's CLOSE, and after [`error`](Self::error), they do nothing.
#[derive(Clone)]
pub struct Events {
    outbox: Arc<Outbox>,
    session: u32,
    liveness: Arc<Liveness>,
    quiet: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// The events of session `session`, which is alive.
    pub fn new(outbox: Arc<Outbox>, session: u32) -> Self {
        Self {
            outbox,
            session,
            liveness: Arc::new(Liveness::new()),
            quiet: false,
        }
    }

    /// A handle that delivers without a signal. Whoever has it calls [`signal`](Self::signal) soon:
    /// before it waits for anything, and in the end.
    pub fn quiet(&self) -> Self {
        Self {
            quiet: true,
            ..self.clone()
        }
    }

    /// Tells the guest of events that were delivered quietly, if there are any; one signal for all.
    pub fn signal(&self) {
        self.outbox.guest.signal();
    }

    /// What the data path of this session's VMM did.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.outbox.counters
    }

    pub(crate) fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// Returns a buffer that the guest queued: VIRTIO_MEDIA_EVT_DQBUF.
    ///
    /// `planes` are those of a multi-planar buffer, none otherwise. Pointers do not travel:
    /// `m.userptr`, `m.fd` and `m.planes` become zero, `m.offset` and `m.mem_offset` of MMAP
    /// buffers stay.
    pub fn dqbuf(&self, buffer: Buffer, planes: &[Plane]) {
        let mmap = buffer.memory == MEMORY_MMAP;
        let mut buffer = buffer;
        if !mmap || is_multiplanar(buffer.type_) {
            buffer.m = 0;
        }
        let mut all = [Plane::default(); VIDEO_MAX_PLANES];
        for (to, from) in all.iter_mut().zip(planes) {
            *to = *from;
            if !mmap {
                to.m = 0;
            }
        }
        self.push(Body::Dqbuf {
            buffer,
            planes: all,
        });
    }

    /// Signals an event that the guest subscribed to: VIRTIO_MEDIA_EVT_EVENT.
    ///
    /// An event of the same type and ID that is still held back is replaced, as a full queue of
    /// `v4l2_event_subscribe` does; a control event keeps the `changes` of the one that it
    /// replaces.
    pub fn event(&self, event: Event) {
        self.push(Body::Event(event));
    }

    /// Ends the session with `errno`: VIRTIO_MEDIA_EVT_ERROR. Later commands of the guest fail with
    /// it.
    pub fn error(&self, errno: Errno) {
        let number = (errno as i32).cast_unsigned();
        {
            let mut held = self.outbox.held();
            if !self.liveness.is_alive() {
                return;
            }
            self.liveness.0.store(number, Ordering::Release);
            held.push_back(Held {
                session: self.session,
                body: Body::Error(number),
            });
        }
        self.outbox.wake();
    }

    /// Drops buffers of the queue `buf_type` that are still held back: STREAMOFF gives all of them
    /// back to the guest at once.
    pub fn purge(&self, buf_type: u32) {
        self.outbox.held().retain(|held| {
            !(held.session == self.session
                && matches!(held.body, Body::Dqbuf { buffer, .. } if buffer.type_ == buf_type))
        });
    }

    /// Ends the session for its events: drops what is held back and whatever is still to come.
    pub(crate) fn close(&self) {
        let mut held = self.outbox.held();
        self.liveness.0.store(Liveness::CLOSED, Ordering::Release);
        held.retain(|held| held.session != self.session);
    }

    fn push(&self, body: Body) {
        {
            let mut held = self.outbox.held();
            // Under the lock: nothing slips in behind CLOSE or the error event.
            if !self.liveness.is_alive() {
                return;
            }
            if let Body::Dqbuf { buffer, .. } = &body {
                self.replace(&mut held, buffer);
            }
            match &body {
                Body::Event(event) if self.coalesce(&mut held, event) => {}
                _ => held.push_back(Held {
                    session: self.session,
                    body,
                }),
            }
        }
        if self.quiet {
            self.outbox.guest.deliver(&self.outbox);
        } else {
            self.outbox.wake();
        }
    }

    /// Drops an older DQBUF of the same buffer that is held back.
    fn replace(&self, held: &mut VecDeque<Held>, new: &Buffer) {
        let older = held.iter().position(|held| {
            held.session == self.session
                && matches!(held.body, Body::Dqbuf { buffer, .. }
                    if (buffer.type_, buffer.index) == (new.type_, new.index))
        });
        if let Some(older) = older {
            held.remove(older);
        }
    }

    /// Merges `event` into one that is held back, if that keeps the order that matters.
    ///
    /// Control events merge wherever they stand. Others do not move across a buffer of their
    /// session: the guest must see `V4L2_EVENT_EOS` before the LAST buffer of every drain.
    fn coalesce(&self, held: &mut VecDeque<Held>, event: &Event) -> bool {
        for entry in held.iter_mut().rev() {
            if entry.session != self.session {
                continue;
            }
            match &mut entry.body {
                Body::Event(old) if old.type_ == event.type_ && old.id == event.id => {
                    let changes = EventCtrl::read_from_prefix(&old.u).map_or(0, |(c, _)| c.changes);
                    *old = *event;
                    if event.type_ == EVENT_CTRL
                        && let Ok((ctrl, _)) = EventCtrl::mut_from_prefix(&mut old.u)
                    {
                        ctrl.changes |= changes;
                    }
                    return true;
                }
                Body::Dqbuf { .. } if event.type_ != EVENT_CTRL => return false,
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
pub mod testing;

#[cfg(test)]
mod tests;
