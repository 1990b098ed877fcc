// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A guest that never leaves a ring empty: everything else that the daemon has to do is done all
//! the same.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use common::hand::{Hand, descriptor};
use frontend::ring::{Refill, WRITE};
use frontend::{Options, PATIENCE};
use protocol::wire::command::CmdOpen;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{Buffer, Format};
use zerocopy::IntoBytes;

/// A processor of the guest that makes all entries of a ring available again as soon as they are
/// used.
struct Greedy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Greedy {
    fn start(refill: Refill) -> Self {
        // From the first kick on the ring is full.
        refill.fill();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    refill.fill();
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Greedy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A ring that is too long to be emptied while the greedy thread does not run.
fn hand() -> Hand {
    Hand::with(&Options {
        queue_size: 32768,
        event_buffers: 0,
        ..Options::default()
    })
}

/// Event buffers that are too small, without end, and an event that waits for a better one.
fn small_event_buffers(hand: &mut Hand) -> Greedy {
    let small = hand.pair.link.memory.alloc(4, 16);
    let ring = &mut hand.pair.link.events;
    let index = ring.take_descriptors(1)[0];
    ring.set_descriptor(index, descriptor(&small, WRITE, None));
    let greedy = Greedy::start(ring.refill(index));
    hand.fake.events(hand.session).dqbuf(Buffer::default(), &[]);
    hand.pair.link.events.kick();
    greedy
}

#[test]
fn small_event_buffers_hold_up_no_command() {
    let mut hand = hand();
    let greedy = small_event_buffers(&mut hand);
    for _ in 0..50 {
        hand.works();
    }
    hand.pair.link.pause().unwrap();
    drop(greedy);
}

#[test]
fn small_event_buffers_hold_up_no_end() {
    let mut hand = hand();
    let _greedy = small_event_buffers(&mut hand);
    hand.pair.client = None;
}

/// A command queue that is always full: events leave, the queue stops, the VMM can go.
#[test]
fn commands_without_end() {
    let mut hand = hand();
    let session = hand.session;
    // One that is refused in no time: it has no space for the answer.
    let open = hand.pair.link.memory.place(CmdOpen::new().as_bytes());
    let ring = &mut hand.pair.link.commands;
    let index = ring.take_descriptors(1)[0];
    ring.set_descriptor(index, descriptor(&open, 0, None));
    let greedy = Greedy::start(ring.refill(index));
    hand.pair.link.commands.kick();
    for number in 0..20 {
        let buffer = Buffer {
            index: number,
            ..Buffer::default()
        };
        // There is no buffer for it; when there is one it is the ring thread that notices.
        hand.fake.events(session).dqbuf(buffer, &[]);
        hand.pair.post_event_buffers(1);
        assert!(hand.pair.wait_event(PATIENCE).is_some(), "no event comes");
        hand.pair.repost = false;
    }
    hand.pair.link.pause().unwrap();
    drop(greedy);
    hand.pair.restart().unwrap();
    hand.session = hand.pair.open().unwrap();
    hand.fake.calls();
    let mut format = Format::default();
    hand.pair
        .ioctl(hand.session, ioctl::G_FMT, &mut format)
        .unwrap();
}
