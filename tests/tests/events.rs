// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The way back to the guest: order, starvation, and what ends with a session.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Pair;
use common::fake::Fake;
use frontend::{Options, WireEvent};
use nix::errno::Errno;
use protocol::wire::event::MAX_EVENT_SIZE;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{
    BUF_FLAG_KEYFRAME, BUF_FLAG_LAST, BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE,
    Buffer, EVENT_CTRL, EVENT_EOS, Event, EventCtrl, EventSubscription, FIELD_NONE, Format,
    MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Plane,
};
use zerocopy::{FromBytes, IntoBytes};

/// Long enough to say that nothing comes.
const QUIET: Duration = Duration::from_millis(50);

fn pair_with(event_buffers: usize) -> (Fake, Pair) {
    let fake = Fake::default();
    let options = Options {
        event_buffers,
        ..Options::default()
    };
    let pair = Pair::with(Arc::new(fake.clone()), &options);
    (fake, pair)
}

fn buffer(type_: u32, index: u32) -> Buffer {
    Buffer {
        index,
        type_,
        memory: MEMORY_MMAP,
        length: 1,
        ..Buffer::default()
    }
}

fn capture(index: u32) -> Buffer {
    buffer(BUF_TYPE_VIDEO_CAPTURE_MPLANE, index)
}

fn event(type_: u32, id: u32) -> Event {
    Event {
        type_,
        id,
        ..Event::default()
    }
}

/// Short names of events, to compare sequences of them.
fn name(event: &WireEvent) -> String {
    match event {
        WireEvent::Error(event) => format!("{}:error {}", event.hdr.session_id, event.errno),
        WireEvent::Dqbuf(event) => {
            format!("{}:dqbuf {}", event.hdr.session_id, event.buffer.index)
        }
        WireEvent::Event(event) => {
            format!(
                "{}:event {} {}",
                event.hdr.session_id, event.event.type_, event.event.id
            )
        }
    }
}

#[track_caller]
fn next_names(pair: &mut Pair, count: usize) -> Vec<String> {
    (0..count).map(|_| name(&pair.event())).collect()
}

#[track_caller]
fn assert_quiet(pair: &mut Pair) {
    let event = pair.wait_event(QUIET);
    assert!(event.is_none(), "{event:?}");
}

#[test]
fn a_buffer_comes_back_as_it_is_but_for_pointers() {
    let (fake, mut pair) = pair_with(8);
    let session = pair.open().unwrap();
    for memory in [MEMORY_MMAP, MEMORY_USERPTR, MEMORY_DMABUF] {
        let sent = Buffer {
            memory,
            bytesused: 1,
            flags: BUF_FLAG_LAST | BUF_FLAG_KEYFRAME,
            field: FIELD_NONE,
            sequence: 77,
            m: 0xdead_beef,
            length: 2,
            ..capture(5)
        };
        let planes = [3, 4].map(|n| Plane {
            bytesused: n,
            length: 4096,
            m: 0x1000 * u64::from(n),
            data_offset: 1,
            ..Plane::default()
        });
        fake.events(session).dqbuf(sent, &planes);
        let WireEvent::Dqbuf(back) = pair.event() else {
            panic!("not a DQBUF")
        };
        assert_eq!(back.hdr.session_id, session);
        // "It is recommended that the device sets them to NULL"; mem_offset is no pointer.
        assert_eq!(back.buffer, Buffer { m: 0, ..sent });
        for (i, plane) in back.planes.iter().enumerate() {
            let mut expected = planes.get(i).copied().unwrap_or_default();
            if memory != MEMORY_MMAP {
                expected.m = 0;
            }
            assert_eq!(*plane, expected);
        }
    }
}

#[test]
fn a_v4l2_event_comes_as_it_is() {
    let (fake, mut pair) = pair_with(8);
    let session = pair.open().unwrap();
    let mut sent = Event::read_from_bytes(&[0x5a; 136]).unwrap();
    sent.pending = 0;
    fake.events(session).event(sent);
    let WireEvent::Event(back) = pair.event() else {
        panic!("not an event")
    };
    assert_eq!((back.hdr.session_id, back.event), (session, sent));
}

/// What a call puts on the way is there when its reply is: nobody has to wait for it.
#[test]
fn events_of_a_call_come_before_its_reply() {
    let (fake, mut pair) = pair_with(8);
    let session = pair.open().unwrap();
    fake.answer(|call, events| {
        match call.code {
            ioctl::SUBSCRIBE_EVENT => events.event(event(EVENT_CTRL, 1)),
            ioctl::STREAMOFF => {
                events.event(event(EVENT_EOS, 2));
                events.dqbuf(capture(1), &[]);
            }
            _ => {}
        }
        Ok(())
    });
    for round in 0..200 {
        // One that is answered in the ring thread, one that is answered by a task.
        let mut subscription = EventSubscription::default();
        pair.ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut subscription)
            .unwrap();
        let event = pair.poll_event().map(|event| name(&event));
        assert_eq!(event, Some(format!("{session}:event 3 1")), "{round}");
        pair.ioctl(session, ioctl::STREAMOFF, &mut 9_u32).unwrap();
        let both =
            [pair.poll_event(), pair.poll_event()].map(|event| event.map(|event| name(&event)));
        let expected = [
            Some(format!("{session}:event 2 2")),
            Some(format!("{session}:dqbuf 1")),
        ];
        assert_eq!(both, expected, "{round}");
    }
}

/// No buffers on the queue: events wait, in order, across sessions, and none is lost.
#[test]
fn a_starved_queue_holds_events_back() {
    let (fake, mut pair) = pair_with(0);
    pair.repost = false;
    let first = pair.open().unwrap();
    let second = pair.open().unwrap();
    let mut expected = Vec::new();
    for index in 0..32 {
        for session in [first, second] {
            let events = fake.events(session);
            events.dqbuf(capture(index), &[]);
            events.event(event(EVENT_CTRL, index));
            expected.push(format!("{session}:dqbuf {index}"));
            expected.push(format!("{session}:event 3 {index}"));
        }
    }
    assert_quiet(&mut pair);
    let mut seen = Vec::new();
    // One buffer, a few, all: in whatever portions the guest likes.
    for count in [1, 1, 3, 20, 103] {
        pair.post_event_buffers(count);
        seen.extend(next_names(&mut pair, count));
        assert_quiet(&mut pair);
    }
    assert_eq!(seen, expected);
    assert_eq!(pair.event_buffers(), 0);
}

/// Thousands of events through one buffer, from a thread that does not wait for the guest.
#[test]
fn none_is_lost_under_load() {
    let (fake, mut pair) = pair_with(1);
    let session = pair.open().unwrap();
    let events = fake.events(session);
    let sender = std::thread::spawn(move || {
        for index in 0..5000 {
            events.dqbuf(capture(index), &[]);
        }
    });
    for index in 0..5000 {
        assert_eq!(name(&pair.event()), format!("{session}:dqbuf {index}"));
    }
    sender.join().unwrap();
    assert_quiet(&mut pair);
}

/// While held back, events of one control become one, which keeps what all of them say has changed.
#[test]
fn control_events_coalesce() {
    let (fake, mut pair) = pair_with(0);
    let session = pair.open().unwrap();
    let ctrl = |changes, value| {
        let mut event = event(EVENT_CTRL, 9);
        let ctrl = EventCtrl {
            changes,
            value,
            ..EventCtrl::default()
        };
        ctrl.write_to_prefix(&mut event.u).unwrap();
        event
    };
    let events = fake.events(session);
    events.event(ctrl(1, 10));
    for value in 0..10_000 {
        events.event(ctrl(2, value));
    }
    events.event(event(EVENT_CTRL, 8));
    pair.post_event_buffers(4);
    let WireEvent::Event(back) = pair.event() else {
        panic!("not an event")
    };
    let (back, _) = EventCtrl::read_from_prefix(&back.event.u).unwrap();
    assert_eq!((back.changes, back.value), (3, 9999));
    assert_eq!(name(&pair.event()), format!("{session}:event 3 8"));
    assert_quiet(&mut pair);
}

/// EOS keeps its place before the LAST buffer of each drain.
#[test]
fn end_of_stream_does_not_overtake_buffers() {
    let (fake, mut pair) = pair_with(0);
    let session = pair.open().unwrap();
    let events = fake.events(session);
    for drain in 0..3 {
        events.event(event(EVENT_EOS, 0));
        events.dqbuf(capture(drain), &[]);
    }
    pair.post_event_buffers(6);
    let expected: Vec<String> = (0..3)
        .flat_map(|drain| {
            [
                format!("{session}:event 2 0"),
                format!("{session}:dqbuf {drain}"),
            ]
        })
        .collect();
    assert_eq!(next_names(&mut pair, 6), expected);
}

/// STREAMOFF: buffers of that queue that the guest has not seen are not for it any more. Others
/// are.
#[test]
fn purge_takes_one_queue_of_one_session() {
    let (fake, mut pair) = pair_with(0);
    let session = pair.open().unwrap();
    let other = pair.open().unwrap();
    let events = fake.events(session);
    events.dqbuf(capture(1), &[]);
    events.dqbuf(buffer(BUF_TYPE_VIDEO_OUTPUT_MPLANE, 2), &[]);
    events.event(event(EVENT_EOS, 3));
    events.dqbuf(capture(4), &[]);
    fake.events(other).dqbuf(capture(5), &[]);
    events.purge(BUF_TYPE_VIDEO_CAPTURE_MPLANE);
    pair.post_event_buffers(8);
    assert_eq!(
        next_names(&mut pair, 3),
        [
            format!("{session}:dqbuf 2"),
            format!("{session}:event 2 3"),
            format!("{other}:dqbuf 5")
        ]
    );
    assert_quiet(&mut pair);
}

#[test]
fn nothing_follows_close() {
    let (fake, mut pair) = pair_with(0);
    let session = pair.open().unwrap();
    let other = pair.open().unwrap();
    let events = fake.events(session);
    events.dqbuf(capture(1), &[]);
    fake.events(other).dqbuf(capture(2), &[]);
    pair.close(session);
    // A thread of the device may be late.
    events.dqbuf(capture(3), &[]);
    events.event(event(EVENT_EOS, 4));
    events.error(Errno::EIO);
    pair.post_event_buffers(8);
    assert_eq!(name(&pair.event()), format!("{other}:dqbuf 2"));
    assert_quiet(&mut pair);
}

/// VIRTIO_MEDIA_EVT_ERROR: all later commands fail, nothing follows it, the ID stays taken until
/// CLOSE.
#[test]
fn a_lost_session() {
    let (fake, mut pair) = pair_with(16);
    let session = pair.open().unwrap();
    let events = fake.events(session);
    events.dqbuf(capture(1), &[]);
    events.error(Errno::EIO);
    events.error(Errno::ENODEV);
    events.dqbuf(capture(2), &[]);
    assert_eq!(
        next_names(&mut pair, 2),
        [format!("{session}:dqbuf 1"), format!("{session}:error 5")]
    );
    assert_quiet(&mut pair);
    for code in [ioctl::G_FMT, ioctl::STREAMON] {
        let reply = pair.ioctl_raw(session, code, &[0; 208], &[], &[]);
        assert_eq!(reply.status(), Some(Errno::EIO as u32));
    }
    assert_eq!(pair.mmap(session, 0), Err(Errno::EIO));
    assert_eq!(fake.calls(), []);
    for _ in 0..300 {
        // "the device MUST NOT recycle the session ID until the driver has explicitly closed it"
        let id = pair.open().unwrap();
        assert_ne!(id, session);
        pair.close(id);
    }
    pair.close(session);
    assert!(fake.closed().contains(&session));
    pair.ioctl(session, ioctl::G_FMT, &mut Format::default())
        .unwrap_err();
}

/// A device that panics loses its session, and nothing else.
#[test]
fn a_panic_in_the_device() {
    let (fake, mut pair) = pair_with(8);
    let session = pair.open().unwrap();
    let other = pair.open().unwrap();
    for code in [ioctl::G_FMT, ioctl::REQBUFS] {
        let session = pair.open().unwrap();
        fake.answer(|_, _| panic!("a panic that the test wants"));
        let size = ioctl::lookup(code).unwrap().size;
        let reply = pair.ioctl_raw(session, code, &vec![0; size], &[], &[]);
        assert!(matches!(reply.status(), Some(5) | None), "{reply:?}");
        assert_eq!(name(&pair.event()), format!("{session}:error 5"));
    }
    fake.answer(|_, _| Ok(()));
    pair.ioctl(other, ioctl::G_FMT, &mut Format::default())
        .unwrap();
    pair.ioctl(session, ioctl::G_FMT, &mut Format::default())
        .unwrap();
}

/// Event buffers that are too small, readable, or malformed go back empty, and the event goes into
/// the next.
#[test]
fn event_buffers_of_no_use() {
    use frontend::Segment;

    let (fake, mut pair) = pair_with(0);
    pair.repost = false;
    let session = pair.open().unwrap();
    let memory = pair.link.memory.clone();
    let small = memory.alloc(MAX_EVENT_SIZE - 1, 16);
    let readable = memory.alloc(MAX_EVENT_SIZE, 16);
    let ring = &mut pair.link.events;
    let mut heads = vec![
        ring.add(&[Segment::writable(&small)]),
        ring.add(&[Segment::readable(&readable)]),
        ring.add(&[Segment {
            addr: memory.end(),
            len: MAX_EVENT_SIZE as u32,
            writable: true,
        }]),
    ];
    let since = ring.avail_index();
    ring.notify(since.wrapping_sub(3));
    fake.events(session).dqbuf(capture(7), &[]);
    for _ in 0..3 {
        let used = pair.link.events.wait_used(frontend::PATIENCE).unwrap();
        assert_eq!(used.len, 0);
        heads.retain(|head| u32::from(*head) != used.id);
    }
    assert!(heads.is_empty());
    pair.post_event_buffers(1);
    assert_eq!(name(&pair.event()), format!("{session}:dqbuf 7"));
}

/// A buffer in several descriptors is one buffer.
#[test]
fn event_buffers_in_pieces() {
    use frontend::Segment;

    let (fake, mut pair) = pair_with(0);
    let session = pair.open().unwrap();
    let memory = pair.link.memory.clone();
    let block = memory.alloc(MAX_EVENT_SIZE, 16);
    let pieces: Vec<Segment> = Segment::writable(&block).split(100).collect();
    let ring = &mut pair.link.events;
    let since = ring.avail_index();
    ring.add(&pieces);
    ring.notify(since);
    fake.events(session).dqbuf(capture(7), &[]);
    let used = pair.link.events.wait_used(frontend::PATIENCE).unwrap();
    assert_eq!(used.len as usize, MAX_EVENT_SIZE);
    assert_eq!(block.bytes()[8], 7);
}
