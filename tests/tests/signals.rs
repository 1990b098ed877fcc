// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Who tells whom, and how often: kicks and signals of a stream whose QBUFs nobody waits for.

mod common;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use common::bytes::pair;
use common::{Pair, panics};
use frontend::client::ioctl_parts;
use frontend::stream::{Queue, Settings, Step, Stream};
use frontend::{Client, Options, PATIENCE};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{BUF_TYPE_VIDEO_CAPTURE_MPLANE, Buffer, Format, MEMORY_MMAP};
use virtio_v4l2d::config::DeviceSpec;
use zerocopy::IntoBytes;

/// An encoder that encodes nothing.
fn sink(options: &Options) -> Pair {
    Pair::with(common::sink::open(&DeviceSpec::default()).unwrap(), options)
}

fn settings(output_buffers: u32, capture_buffers: u32) -> Settings {
    Settings {
        output_buffers,
        capture_buffers,
        ..Settings::h264(320, 240)
    }
}

/// Queues a buffer without a kick, and does not wait for the answer.
fn post(client: &mut Client, session: u32, queue: &Queue, index: u32) {
    let (buffer, planes) = (queue.buffer(index), queue.planes(index));
    let lists = queue.lists(index);
    let (readable, writable) = ioctl_parts(
        session,
        ioctl::QBUF,
        buffer.as_bytes(),
        planes.as_bytes(),
        &lists,
    );
    let _ = client.submit_quietly(&readable, writable);
}

/// Queues what is free, of frames at most `frames`, with one kick.
fn post_all(client: &mut Client, stream: &mut Stream, frames: &mut usize) {
    let since = client.link.commands.avail_index();
    while let Some(index) = stream.capture.free.pop() {
        post(client, stream.session, &stream.capture, index);
    }
    while *frames > 0
        && let Some(index) = stream.output.free.pop()
    {
        post(client, stream.session, &stream.output, index);
        *frames -= 1;
    }
    if client.link.commands.avail_index() != since {
        client.link.commands.notify(since);
    }
    for reply in client.reap() {
        assert_eq!(reply.status(), Some(0), "a QBUF was refused");
    }
}

/// Streams `frames` frames as a guest does that only looks when it is signalled. Returns how often
/// it was.
#[track_caller]
fn stream(client: &mut Client, settings: &Settings, frames: usize) -> u64 {
    let session = client.open().unwrap();
    let mut stream = Stream::prepare(client, session, settings).unwrap();
    for mut type_ in [stream.output.type_, stream.capture.type_] {
        client.ioctl(session, ioctl::STREAMON, &mut type_).unwrap();
    }
    while client.poll_event().is_some() {}
    client.link.events.drain_calls();
    let before = client.link.events.calls;
    let (mut left, mut coded) = (frames, 0);
    while coded < frames {
        post_all(client, &mut stream, &mut left);
        assert!(
            client.link.events.wait_signal(PATIENCE),
            "{coded} of {frames} frames came, and no signal"
        );
        while let Some(event) = client.poll_event() {
            match stream.take_only(client, event) {
                Step::Coded(_) => coded += 1,
                Step::Taken(error) => assert!(!error),
                other => panic!("{other:?}"),
            }
        }
    }
    client.link.events.drain_calls();
    let signals = client.link.events.calls - before;
    stream.end(client);
    signals
}

/// The events of a frame, its raw buffer's and its coded buffer's, share a signal.
#[test]
fn one_signal_a_frame_at_most() {
    for event_idx in [false, true] {
        let mut pair = sink(&Options {
            event_idx,
            ..Options::default()
        });
        for (output, capture) in [(1, 16), (4, 16), (16, 16)] {
            let signals = stream(&mut pair, &settings(output, capture), 100);
            assert!(signals <= 100, "{signals} signals for {output} at a time");
        }
    }
    assert_eq!(panics(), 0);
}

/// Frames that wait together are told of together: some of them at a time, so that the program can
/// queue more while the encoder works.
#[test]
fn several_frames_share_a_signal() {
    const FRAMES: usize = 16;
    let mut pair = sink(&Options {
        event_idx: false,
        ..Options::default()
    });
    let client = &mut *pair;
    let session = client.open().unwrap();
    let mut stream = Stream::prepare(client, session, &settings(FRAMES as u32, 16)).unwrap();
    post_all(client, &mut stream, &mut FRAMES.clone());
    client.link.events.drain_calls();
    let before = client.link.events.calls;
    for mut type_ in [stream.output.type_, stream.capture.type_] {
        client.ioctl(session, ioctl::STREAMON, &mut type_).unwrap();
    }
    let mut coded = 0;
    while coded < FRAMES {
        assert!(client.link.events.wait_signal(PATIENCE));
        while let Some(event) = client.poll_event() {
            coded += usize::from(matches!(stream.take_only(client, event), Step::Coded(_)));
        }
    }
    client.link.events.drain_calls();
    let signals = client.link.events.calls - before;
    // Four, if nothing keeps the encoder from its work for long.
    assert!((2..=8).contains(&signals), "{signals} signals");
    let kicks = client.link.events.kicks;
    assert!(kicks <= 1, "{kicks} kicks for buffers nobody waits for");
    stream.end(client);
}

/// No buffer waits for a signal that does not come, however few or many there are of either kind.
#[test]
fn every_frame_is_signalled_to_who_waits_for_it() {
    let mut pair = sink(&Options {
        event_idx: false,
        ..Options::default()
    });
    for frames in 1..=9 {
        for output in [1, 2, 3, 8] {
            stream(&mut pair, &settings(output, 16), frames);
        }
    }
}

/// A program that queues all it has and then wants to see the first frame before it does anything
/// else, with fewer buffers for bitstream than frames.
#[test]
fn the_first_frame_does_not_wait_for_more_buffers() {
    let mut pair = sink(&Options {
        event_idx: false,
        ..Options::default()
    });
    let client = &mut *pair;
    let session = client.open().unwrap();
    let mut stream = Stream::prepare(client, session, &settings(8, 16)).unwrap();
    for mut type_ in [stream.output.type_, stream.capture.type_] {
        client.ioctl(session, ioctl::STREAMON, &mut type_).unwrap();
    }
    for captures in 1..4 {
        client.link.events.drain_calls();
        let since = client.link.commands.avail_index();
        for index in stream
            .capture
            .free
            .split_off(stream.capture.free.len() - captures)
        {
            post(client, session, &stream.capture, index);
        }
        while let Some(index) = stream.output.free.pop() {
            post(client, session, &stream.output, index);
        }
        client.link.commands.notify(since);
        let mut coded = 0;
        while coded < captures {
            assert!(client.link.events.wait_signal(PATIENCE));
            while let Some(event) = client.poll_event() {
                coded += usize::from(matches!(stream.take_only(client, event), Step::Coded(_)));
            }
        }
        client.reap();
    }
    stream.end(client);
}

/// A QBUF that goes well is not signalled to who does not want to know; one that is refused is.
#[test]
fn a_refused_qbuf_is_signalled_anyway() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    fake.answer(|call, _| {
        if call.payload[0] == 9 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    });
    let qbuf = |index, code| {
        let buffer = Buffer {
            index,
            type_: BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            memory: MEMORY_MMAP,
            ..Buffer::default()
        };
        ioctl_parts(session, code, buffer.as_bytes(), &[], &[])
    };
    // Nobody has waited since: the device is not asked for signals.
    pair.link.commands.drain_calls();
    let mut send = |index, code, count: usize| {
        let (readable, writable) = qbuf(index, code);
        let _ = pair.submit(&readable, writable);
        let mut replies = Vec::new();
        while replies.len() < count {
            replies.extend(pair.reap());
            std::thread::yield_now();
        }
        replies.last().unwrap().status().unwrap()
    };
    for _ in 0..3 {
        assert_eq!(send(0, ioctl::QBUF, 1), 0);
        assert_eq!(send(9, ioctl::PREPARE_BUF, 1), Errno::EINVAL as u32);
    }
    assert_eq!(send(9, ioctl::QBUF, 1), Errno::EINVAL as u32);
    let ring = &mut pair.link.commands;
    let before = ring.calls;
    assert!(ring.wait_signal(PATIENCE), "the refusal is not signalled");
    assert_eq!(ring.calls - before, 1, "and nothing else");
}

/// While the device works it asks for no kicks, and finds what came in the meantime.
#[test]
fn no_kick_while_the_device_is_busy() {
    for event_idx in [false, true] {
        let (fake, _) = pair();
        let mut pair = Pair::with(
            std::sync::Arc::new(fake.clone()),
            &Options {
                event_idx,
                ..Options::default()
            },
        );
        let session = pair.open().unwrap();
        let (started, has_started) = channel();
        let (go_on, may_go_on) = channel::<()>();
        let may_go_on = Mutex::new(may_go_on);
        fake.answer(move |_, _| {
            let _ = started.send(());
            let _ = may_go_on.lock().unwrap().recv();
            Ok(())
        });
        let format = Format::default();
        let (readable, writable) = ioctl_parts(session, ioctl::G_FMT, format.as_bytes(), &[], &[]);
        let mut pending = vec![pair.submit(&readable, writable)];
        has_started.recv_timeout(PATIENCE).unwrap();
        let before = pair.link.commands.kicks;
        for _ in 0..5 {
            pending.push(pair.submit(&readable, writable));
        }
        assert_eq!(pair.link.commands.kicks, before, "{event_idx}");
        drop(go_on);
        for pending in pending {
            assert_eq!(pair.wait(pending).status(), Some(0));
        }
    }
}
