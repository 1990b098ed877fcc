// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! From the node to the guest: buffers that are done, and V4L2 events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use protocol::wire::v4l2::{Buffer, Plane, VIDEO_MAX_PLANES, is_multiplanar, is_output};
use v4l2r::bindings::{V4L2_BUF_FLAG_ERROR, V4L2_BUF_FLAG_LAST};

use super::queue::Queue;
use crate::counters::Counters;
use crate::events::Events;
use crate::v4l2::node::Node;

/// What may be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Buffers of capture queues.
    pub capture: bool,
    /// Buffers of output queues.
    pub output: bool,
    /// V4L2 events.
    pub events: bool,
}

impl Ready {
    /// Everything.
    pub const ALL: Self = Self {
        capture: true,
        output: true,
        events: true,
    };

    /// What poll says. On an error any call may tell what it is.
    pub fn of(flags: EpollFlags) -> Self {
        let error = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        Self {
            capture: error || flags.contains(EpollFlags::EPOLLIN),
            output: error || flags.contains(EpollFlags::EPOLLOUT),
            events: error || flags.contains(EpollFlags::EPOLLPRI),
        }
    }

    /// Whether V4L2 events are dequeued. A LAST buffer follows the event that explains it (`EOS`,
    /// `SOURCE_CHANGE`). The driver queues that event first, but poll may have looked before both
    /// of them.
    fn reads_events(self, last: bool) -> bool {
        self.events || last
    }
}

/// What the calls of a session and its thread share.
#[derive(Debug)]
pub struct Shared {
    /// The open file.
    pub node: Arc<Node>,
    /// Events to the guest.
    pub events: Events,
    /// By `V4L2_BUF_TYPE_*`. Not held while the node is called.
    queues: Mutex<BTreeMap<u32, Queue>>,
    /// Serialises delivery to the guest, so that buffers and events are in order, and no buffer of
    /// a queue follows the end of its stream.
    turn: Mutex<()>,
}

impl Shared {
    /// Of a session whose node was just opened.
    pub fn new(node: Arc<Node>, events: Events) -> Arc<Self> {
        Arc::new(Self {
            node,
            events,
            queues: Mutex::default(),
            turn: Mutex::default(),
        })
    }

    /// Its queues.
    pub fn queues(&self) -> MutexGuard<'_, BTreeMap<u32, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a queue.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none; those of `then`.
    pub fn with<T>(
        &self,
        buf_type: u32,
        then: impl FnOnce(&mut Queue) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        then(self.queues().get_mut(&buf_type).ok_or(Errno::EINVAL)?)
    }

    /// Keeps everybody else from giving the guest anything.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call of the node.
    pub fn count(&self) {
        Counters::add(&self.events.counters().device_calls, 1);
    }

    /// Whether one of the queues streams.
    pub fn streams(&self) -> bool {
        self.queues().values().any(|queue| queue.streaming)
    }

    /// The session is lost.
    pub fn lost(&self, errno: Errno) {
        tracing::info!("{}: {errno}", self.node.identity().card);
        self.events.error(errno);
    }

    /// Gives the guest what the node has: buffers, then V4L2 events, then LAST buffers, and one
    /// signal for all.
    ///
    /// # Errors
    ///
    /// The session is lost.
    pub fn round(&self, ready: Ready) -> Result<(), Errno> {
        let _turn = self.turn();
        let streaming: Vec<(u32, u32)> = self
            .queues()
            .values()
            .filter(|queue| queue.streaming)
            .filter(|queue| {
                if is_output(queue.buf_type) {
                    ready.output
                } else {
                    ready.capture
                }
            })
            .map(|queue| (queue.buf_type, queue.host))
            .collect();
        let events = self.events.quiet();
        let mut last = Vec::new();
        let mut any = false;
        let mut result = Ok(());
        for (buf_type, memory) in streaming {
            match self.drain(buf_type, memory, &events, &mut last) {
                Ok(count) => any |= count > 0,
                Err(errno) => result = Err(errno),
            }
        }
        while ready.reads_events(!last.is_empty()) && result.is_ok() {
            self.count();
            match self.node.dqevent() {
                Ok(event) => events.event(event),
                Err(Errno::ENODEV) => result = Err(Errno::ENODEV),
                // ENOENT: there is none.
                Err(_) => break,
            }
            any = true;
        }
        any |= !last.is_empty();
        for (buffer, planes) in last {
            give(&events, buffer, &planes);
        }
        if any {
            self.events.signal();
        }
        result.inspect_err(|errno| self.lost(*errno))
    }

    /// Dequeues all of a queue that is done, and gives the guest what is not LAST. Returns how much
    /// that was.
    fn drain(
        &self,
        buf_type: u32,
        memory: u32,
        events: &Events,
        last: &mut Vec<(Buffer, [Plane; VIDEO_MAX_PLANES])>,
    ) -> Result<usize, Errno> {
        let mut count = 0;
        loop {
            self.count();
            let (mut buffer, mut planes) = match self.node.dqbuf(buf_type, memory) {
                Ok(done) => done,
                // The device is gone, or it has failed for good.
                Err(errno @ (Errno::ENODEV | Errno::EIO)) => return Err(errno),
                // EAGAIN: none; EPIPE: none behind LAST; EINVAL: the stream has just ended.
                Err(_) => return Ok(count),
            };
            let counters = self.events.counters();
            Counters::add(&counters.dequeues, 1);
            let known = match self.queues().get_mut(&buf_type) {
                Some(queue) => queue
                    .translate(&mut buffer, &mut planes)
                    .map(|slot| slot.give_back()),
                None => None,
            };
            if known.is_none() {
                continue;
            }
            if !is_output(buf_type) && buffer.flags & V4L2_BUF_FLAG_ERROR == 0 {
                Counters::add(&counters.frames, 1);
            }
            if buffer.flags & V4L2_BUF_FLAG_LAST != 0 {
                last.push((buffer, planes));
            } else {
                give(events, buffer, &planes);
                count += 1;
            }
        }
    }
}

/// Gives the guest a buffer.
fn give(events: &Events, buffer: Buffer, planes: &[Plane]) {
    let count = if is_multiplanar(buffer.type_) {
        planes.len().min(buffer.length as usize)
    } else {
        0
    };
    events.dqbuf(buffer, planes.get(..count).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_before_last_is_given() {
        let frames = Ready::of(EpollFlags::EPOLLIN);
        assert!(!frames.reads_events(false));
        assert!(frames.reads_events(true));
        assert!(Ready::of(EpollFlags::EPOLLPRI).reads_events(false));
    }

    #[test]
    fn what_poll_says() {
        let capture = Ready::of(EpollFlags::EPOLLIN);
        assert_eq!(
            (capture.capture, capture.output, capture.events),
            (true, false, false)
        );
        let both = Ready::of(EpollFlags::EPOLLOUT | EpollFlags::EPOLLPRI);
        assert_eq!(
            (both.capture, both.output, both.events),
            (false, true, true)
        );
        assert_eq!(Ready::of(EpollFlags::EPOLLERR), Ready::ALL);
        assert_eq!(
            Ready::of(EpollFlags::EPOLLHUP | EpollFlags::EPOLLPRI),
            Ready::ALL
        );
    }
}
