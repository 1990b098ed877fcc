// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The command queue.

use std::sync::Arc;

use protocol::wire::command::RespHeader;

use super::chain::Writable;
use super::ring::{Head, Ring};
use crate::session::{Progress, Sessions, Ticket};

/// Bytes that a scratch buffer keeps between commands; a longer one was an exception.
const KEEP: usize = 64 << 10;

/// Memory that every command uses in turn, so that none allocates.
#[derive(Default)]
pub(super) struct Scratch {
    readable: Vec<u8>,
    writable: Writable,
    reply: Vec<u8>,
}

/// Carries out all commands that wait. Runs in the ring thread.
pub(super) fn process(sessions: &Sessions, ring: &Arc<Ring>, scratch: &mut Scratch) {
    loop {
        // No kicks while we look anyway.
        ring.suppress_kicks();
        while let Some(head) = ring.pop(&mut scratch.readable, &mut scratch.writable) {
            carry_out(sessions, ring, head, scratch);
        }
        ring.signal();
        if !ring.ask_for_kick() {
            break;
        }
    }
    if scratch.readable.capacity() > KEEP || scratch.reply.capacity() > KEEP {
        *scratch = Scratch::default();
    }
}

fn carry_out(sessions: &Sessions, ring: &Arc<Ring>, head: Head, scratch: &mut Scratch) {
    let Scratch {
        readable,
        writable,
        reply,
    } = scratch;
    let progress = sessions.submit(readable, writable.len(), reply, || {
        Box::new(Late(Some(Owned {
            ring: Arc::clone(ring),
            head,
            writable: std::mem::take(writable),
        })))
    });
    if progress == Progress::Answered {
        ring.give_back(head, writable, whole_header(writable, reply));
    }
}

/// `response`, or nothing if not even its header fits. What else does not fit is cut off.
fn whole_header<'a>(writable: &Writable, response: &'a [u8]) -> &'a [u8] {
    if writable.len() < size_of::<RespHeader>() {
        &[]
    } else {
        response
    }
}

/// A command that is answered later, from another thread.
struct Owned {
    ring: Arc<Ring>,
    head: Head,
    writable: Writable,
}

/// Gives the command back even if nobody answers it.
struct Late(Option<Owned>);

impl Late {
    fn finish(&mut self, response: &[u8]) {
        if let Some(command) = self.0.take() {
            let response = whole_header(&command.writable, response);
            command
                .ring
                .give_back(command.head, &command.writable, response);
            command.ring.signal();
        }
    }
}

impl Ticket for Late {
    fn answer(mut self: Box<Self>, response: &[u8]) {
        self.finish(response);
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.finish(&[]);
    }
}
