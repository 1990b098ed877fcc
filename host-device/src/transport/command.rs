// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The command queue.

use std::sync::Arc;

use protocol::wire::command::RespHeader;

use super::chain::Writable;
use super::ring::{Head, Ring};
use super::turn::Turn;
use crate::counters::Counters;
use crate::session::{Notice, Progress, Sessions, Ticket};

/// Bytes that a scratch buffer keeps between commands; a longer one was an exception.
const KEEP: usize = 64 << 10;

/// Memory that every command uses in turn, so that none allocates.
#[derive(Default)]
pub(super) struct Scratch {
    readable: Vec<u8>,
    writable: Writable,
    reply: Vec<u8>,
}

/// Carries out commands that wait, for a turn. True if there may be more. Runs in the ring thread.
pub(super) fn process(
    sessions: &Sessions,
    ring: &Arc<Ring>,
    counters: &Counters,
    scratch: &mut Scratch,
) -> bool {
    let mut turn = Turn::new();
    let more = loop {
        counters.look();
        // No kicks while we look anyway.
        ring.suppress_kicks();
        let mut notice = Notice::AsWanted;
        while let Some(head) = ring.pop(&mut scratch.readable, &mut scratch.writable, &mut turn) {
            notice = notice.max(carry_out(sessions, ring, head, scratch));
        }
        signal(ring, notice);
        if turn.is_over() {
            break true;
        }
        if !ring.ask_for_kick() {
            break false;
        }
    };
    if scratch.readable.capacity() > KEEP || scratch.reply.capacity() > KEEP {
        *scratch = Scratch::default();
    }
    more
}

fn signal(ring: &Ring, notice: Notice) {
    match notice {
        Notice::AsWanted => ring.signal(),
        Notice::Anyway => ring.signal_anyway(),
    }
}

fn carry_out(sessions: &Sessions, ring: &Arc<Ring>, head: Head, scratch: &mut Scratch) -> Notice {
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
    match progress {
        Progress::Answered(notice) => {
            ring.give_back(head, writable, whole_header(writable, reply));
            notice
        }
        Progress::Later => Notice::AsWanted,
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
    fn finish(&mut self, response: &[u8], notice: Notice) {
        if let Some(command) = self.0.take() {
            let response = whole_header(&command.writable, response);
            command
                .ring
                .give_back(command.head, &command.writable, response);
            signal(&command.ring, notice);
        }
    }
}

impl Ticket for Late {
    fn answer(mut self: Box<Self>, response: &[u8], notice: Notice) {
        self.finish(response, notice);
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.finish(&[], Notice::Anyway);
    }
}
