// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use super::*;
use protocol::wire::v4l2::{BUF_TYPE_VIDEO_OUTPUT_MPLANE, MEMORY_USERPTR};

/// Counts its signals; events stay where they are.
#[derive(Clone, Default)]
struct Idle {
    delivers: Arc<AtomicU32>,
    signals: Arc<AtomicU32>,
}

impl Guest for Idle {
    fn deliver(&self, _: &Outbox) {
        self.delivers.fetch_add(1, Ordering::SeqCst);
    }

    fn signal(&self) {
        self.signals.fetch_add(1, Ordering::SeqCst);
    }
}

fn hub() -> Arc<Outbox> {
    Outbox::new(Idle::default(), Counters::new())
}

#[test]
fn quiet_events_are_delivered_and_signalled_later() {
    let guest = Idle::default();
    let outbox = Outbox::new(guest.clone(), Counters::new());
    let events = Events::new(outbox, 7);
    let counts = || {
        let load = |count: &AtomicU32| count.load(Ordering::SeqCst);
        (load(&guest.delivers), load(&guest.signals))
    };
    let quiet = events.quiet();
    dqbuf(&quiet, 9, 0);
    dqbuf(&quiet, 9, 1);
    assert_eq!(counts(), (2, 0));
    quiet.signal();
    assert_eq!(counts(), (2, 1));
    dqbuf(&events, 9, 2);
    assert_eq!(counts(), (3, 2));
    events.close();
    dqbuf(&quiet, 9, 3);
    assert_eq!(counts(), (3, 2), "handles of one session");
}

#[test]
fn room_is_for_events_that_wait_for_it() {
    let guest = Idle::default();
    let outbox = Outbox::new(guest.clone(), Counters::new());
    let quiet = Events::new(Arc::clone(&outbox), 7).quiet();
    let signals = || guest.signals.load(Ordering::SeqCst);
    dqbuf(&quiet, 9, 0);
    outbox.buffers_added();
    assert_eq!(signals(), 1, "it had to wait");
    drain(&outbox, 1);
    outbox.buffers_added();
    assert_eq!(signals(), 1, "it was delivered quietly");
}

fn drain(outbox: &Outbox, capacity: usize) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    outbox.drain(|bytes| {
        if out.len() == capacity {
            return Put::Full;
        }
        out.push(bytes.to_vec());
        Put::Done
    });
    out
}

fn dqbuf(events: &Events, type_: u32, index: u32) {
    events.dqbuf(
        Buffer {
            type_,
            index,
            ..Buffer::default()
        },
        &[],
    );
}

fn event(type_: u32, id: u32, changes: u32) -> Event {
    let mut event = Event {
        type_,
        id,
        ..Event::default()
    };
    event.u[..4].copy_from_slice(&changes.to_le_bytes());
    event
}

#[test]
fn held_back_in_order_and_resumed() {
    let outbox = hub();
    let events = Events::new(Arc::clone(&outbox), 7);
    for index in 0..5 {
        dqbuf(&events, 9, index);
    }
    assert_eq!(drain(&outbox, 2).len(), 2);
    let rest = drain(&outbox, 10);
    let indices: Vec<u32> = rest
        .iter()
        .map(|bytes| EventDqbuf::read_from_bytes(bytes).unwrap().buffer.index)
        .collect();
    assert_eq!(indices, [2, 3, 4]);
}

#[test]
fn controls_coalesce_and_keep_changes() {
    let outbox = hub();
    let events = Events::new(Arc::clone(&outbox), 7);
    events.event(event(EVENT_CTRL, 1, 1));
    dqbuf(&events, 9, 0);
    events.event(event(EVENT_CTRL, 2, 1));
    events.event(event(EVENT_CTRL, 1, 2));
    let sent = drain(&outbox, 10);
    assert_eq!(sent.len(), 3);
    let first = EventEvent::read_from_bytes(&sent[0]).unwrap().event;
    assert_eq!((first.id, first.u[0]), (1, 3));
}

#[test]
fn eos_stays_before_its_last_buffer() {
    let outbox = hub();
    let events = Events::new(Arc::clone(&outbox), 7);
    events.event(event(2, 0, 0));
    dqbuf(&events, 9, 0);
    events.event(event(2, 0, 0));
    events.event(event(2, 0, 0));
    dqbuf(&events, 9, 1);
    assert_eq!(drain(&outbox, 10).len(), 4);
}

#[test]
fn what_is_held_back_of_a_buffer_is_one_event() {
    let outbox = hub();
    let events = Events::new(Arc::clone(&outbox), 7);
    let other = Events::new(Arc::clone(&outbox), 8);
    for _ in 0..3 {
        dqbuf(&events, 9, 0);
        dqbuf(&events, 9, 1);
        dqbuf(&events, 10, 0);
        dqbuf(&other, 9, 0);
    }
    assert_eq!(drain(&outbox, 100).len(), 4);
}

#[test]
fn purge_is_of_one_queue_and_session() {
    let outbox = hub();
    let events = Events::new(Arc::clone(&outbox), 7);
    let other = Events::new(Arc::clone(&outbox), 8);
    dqbuf(&events, 9, 0);
    dqbuf(&events, 10, 1);
    dqbuf(&other, 9, 2);
    events.purge(9);
    assert_eq!(drain(&outbox, 10).len(), 2);
}

#[test]
fn nothing_after_close_or_error() {
    let outbox = hub();
    let events = Events::new(Arc::clone(&outbox), 7);
    dqbuf(&events, 9, 0);
    events.error(Errno::EIO);
    dqbuf(&events, 9, 1);
    events.error(Errno::ENOMEM);
    assert_eq!(events.liveness().lost(), Some(Errno::EIO));
    assert_eq!(drain(&outbox, 10).len(), 2);

    let events = Events::new(Arc::clone(&outbox), 8);
    dqbuf(&events, 9, 0);
    events.close();
    dqbuf(&events, 9, 1);
    assert_eq!(drain(&outbox, 10).len(), 0);
}

#[test]
fn pointers_do_not_leak() {
    let outbox = hub();
    let events = Events::new(Arc::clone(&outbox), 7);
    let buffer = Buffer {
        type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        memory: MEMORY_USERPTR,
        m: 0xdead,
        length: 1,
        ..Buffer::default()
    };
    let plane = Plane {
        m: 0xbeef,
        ..Plane::default()
    };
    events.dqbuf(buffer, &[plane]);
    let sent = drain(&outbox, 1);
    let sent = EventDqbuf::read_from_bytes(&sent[0]).unwrap();
    assert_eq!((sent.buffer.m, sent.planes[0].m), (0, 0));
}
