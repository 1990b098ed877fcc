// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Events without a guest, so that devices can be tested on their own. Tests in `tests/` include
//! this file, too.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use protocol::wire::event::{DQBUF, EVENT, EventDqbuf, EventError, EventEvent, EventHeader};
use protocol::wire::v4l2::{Buffer, Event, Plane};
use zerocopy::FromBytes;

use super::{Counters, Events, Guest, Outbox, Put};

/// An event that a session sent.
#[derive(Clone, Debug)]
pub enum Sent {
    /// A buffer that came back, with its planes (those that it says it has).
    Dqbuf(Buffer, Vec<Plane>),
    /// A V4L2 event.
    Event(Event),
    /// The session was lost.
    Error(Errno),
}

/// The guest's end of [`channel`].
#[derive(Debug)]
pub struct SentEvents(Receiver<Sent>);

impl SentEvents {
    /// The next event, if one has been sent.
    pub fn try_next(&self) -> Option<Sent> {
        self.0.try_recv().ok()
    }

    /// The next event; waits up to `timeout` for it.
    ///
    /// # Errors
    ///
    /// None came in time, or all handles of the session are gone.
    pub fn next_timeout(&self, timeout: Duration) -> Result<Sent, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }
}

/// Takes every event at once.
struct Forward(Mutex<Sender<Sent>>);

impl Guest for Forward {
    fn deliver(&self, outbox: &Outbox) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outbox.drain(|bytes| forward(&sender, bytes));
    }

    fn signal(&self) {}
}

/// Events of a session that has no guest: they come out of the other end.
pub fn channel() -> (Events, SentEvents) {
    let (sender, receiver) = mpsc::channel();
    let outbox = Outbox::new(Forward(Mutex::new(sender)), Counters::new());
    (Events::new(outbox, 1), SentEvents(receiver))
}

fn forward(sender: &Sender<Sent>, bytes: &[u8]) -> Put {
    let sent = EventHeader::read_from_prefix(bytes)
        .ok()
        .and_then(|(hdr, _)| match hdr.event {
            DQBUF => EventDqbuf::read_from_bytes(bytes).ok().map(|event| {
                let planes = event.planes.iter().take(event.buffer.length as usize);
                Sent::Dqbuf(event.buffer, planes.copied().collect())
            }),
            EVENT => EventEvent::read_from_bytes(bytes)
                .ok()
                .map(|event| Sent::Event(event.event)),
            _ => EventError::read_from_bytes(bytes)
                .ok()
                .map(|event| Sent::Error(Errno::from_raw(event.errno.cast_signed()))),
        });
    if let Some(sent) = sent {
        // The test may have dropped its end.
        let _ = sender.send(sent);
    }
    Put::Done
}
