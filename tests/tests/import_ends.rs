// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Imported memory of the guest, and how it ends: it goes away, sessions do, or there are many.

mod common;

use common::encoder::{OUTPUT, baseline, reqbufs, works};
use common::import::{HIGH, encode, fed_from_high, feed_rest, frame, pair_with, queue_as, size};
use common::{Pair, alone, panics};
use frontend::stream::{Memory, Settings, Step, Stream};
use frontend::{Backing, Client, Options};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{MEMORY_USERPTR, Timeval};
use vhost::VhostBackend;
use virtio_v4l2d::config::DeviceSpec;
use virtio_v4l2d::memory::probe_udmabuf;

/// Memory that leaves the guest while the device has frames in it: those are encoded, others are
/// refused.
#[test]
fn the_memory_table_changes_under_frames() {
    let _alone = alone();
    let mut pair = pair_with(32 << 20);
    let client = pair.client.as_mut().unwrap();
    let mmap = Settings::h264(320, 240);
    let expected = encode(client, &mmap, 4);
    let settings = Settings {
        output_memory: Memory::InARow,
        ..mmap
    };
    let (mut stream, held) = fed_from_high(client, &settings);
    let memory = client.link.memory.clone();
    let vmm = client.link.frontend();
    vmm.set_mem_table(&[memory.region(0)]).unwrap();
    for index in held {
        stream.queue_capture(client, index).unwrap();
    }
    assert!(feed_rest(client, &mut stream) == expected);
    let again = frame(size(&settings), 0);
    let refused = stream.queue_frame(client, &again, Timeval::default());
    assert_eq!(refused, Err(Errno::EFAULT));
    vmm.set_mem_table(&[memory.region(0), memory.region(HIGH)])
        .unwrap();
    stream.resume(client).unwrap();
    stream
        .queue_frame(client, &again, Timeval::default())
        .unwrap();
    assert_eq!(feed_rest(client, &mut stream).len(), 1);
    stream.end(client);
    works(client);
}

/// A guest that reboots, a program that closes, and a VMM that dies, with frames inside: nothing
/// stays.
#[test]
fn ends_with_frames_inside() {
    let _alone = alone();
    let before = baseline();
    for end in 0..6 {
        let mut pair = pair_with(32 << 20);
        let client = pair.client.as_mut().unwrap();
        let settings = Settings {
            output_memory: Memory::Scattered(0),
            capture_memory: Memory::Scattered(0),
            ..Settings::h264(640, 360)
        };
        for _ in 0..3 {
            let mut stream = Stream::start(client, &settings).unwrap();
            while !stream.output.free.is_empty() {
                let frame = frame(size(&settings), 1);
                stream
                    .queue_frame(client, &frame, Timeval::default())
                    .unwrap();
            }
            match end % 3 {
                0 => client.close(stream.session),
                1 => client.restart().unwrap(),
                _ => {}
            }
            while client.poll_event().is_some() {}
        }
        if end % 3 == 1 {
            works(client);
        }
        pair.end();
    }
    before.assert_back();
    assert_eq!(panics(), 0);
}

/// Sixteen sessions at once, all in scattered memory.
#[test]
fn many_sessions() {
    let _alone = alone();
    let before = baseline();
    let mut pair = pair_with(96 << 20);
    let client = pair.client.as_mut().unwrap();
    let settings = Settings {
        output_memory: Memory::Scattered(0),
        output_buffers: 2,
        ..Settings::h264(176, 144)
    };
    let expected = encode(client, &settings, 6);
    let mut streams: Vec<_> = (0..16)
        .map(|_| (Stream::start(client, &settings).unwrap(), 0, Vec::new()))
        .collect();
    while streams.iter().any(|(_, _, coded)| coded.len() < 6) {
        for (stream, sent, _) in &mut streams {
            while *sent < 6 && !stream.output.free.is_empty() {
                let frame = frame(size(&settings), *sent);
                stream
                    .queue_frame(client, &frame, Timeval::default())
                    .unwrap();
                *sent += 1;
            }
        }
        let event = client.event();
        let session = event.session();
        let (stream, _, coded) = streams
            .iter_mut()
            .find(|(stream, _, _)| stream.session == session)
            .unwrap();
        if let Step::Coded(unit) = stream.take(client, event) {
            coded.push(unit.data);
        }
    }
    for (stream, _, coded) in streams {
        assert!(coded == expected);
        stream.end(client);
        while client.poll_event().is_some() {}
    }
    pair.end();
    before.assert_back();
}

/// REQBUFS lets go of imported memory, and another kind of memory may follow.
#[test]
fn kinds_of_memory_follow_each_other() {
    let _alone = alone();
    let before = baseline();
    let mut pair = pair_with(32 << 20);
    let client = pair.client.as_mut().unwrap();
    let settings = Settings {
        output_memory: Memory::Scattered(0),
        ..Settings::h264(320, 240)
    };
    let stream = Stream::start(client, &settings).unwrap();
    let queue_one = |client: &mut Client, stream: &Stream| {
        queue_as(
            client,
            stream,
            MEMORY_USERPTR,
            None,
            &stream.output.lists(0),
        )
    };
    let mut type_ = OUTPUT;
    client
        .ioctl(stream.session, ioctl::STREAMOFF, &mut type_)
        .unwrap();
    let mappings = || common::leaks::Holdings::now().shared_mappings;
    let without = mappings();
    queue_one(client, &stream).unwrap();
    assert!(mappings() > without, "it is mapped");
    assert_eq!(reqbufs(client, stream.session, OUTPUT, 0), Ok(0));
    assert_eq!(mappings(), without, "it is not any more");
    assert_eq!(reqbufs(client, stream.session, OUTPUT, 2), Ok(2));
    assert_eq!(
        queue_one(client, &stream),
        Err(Errno::EINVAL),
        "MMAP buffers now"
    );
    client.close(stream.session);
    drop(stream);
    pair.end();
    before.assert_back();
    // What this machine proves of the other kind of view.
    if !probe_udmabuf() {
        common::no_udmabuf();
    }
}

/// A VMM that cuts the guest's memory short while frames are in it: its guest's frames are
/// nonsense, the daemon lives.
#[test]
fn memory_that_is_cut_short() {
    let _alone = alone();
    let options = Options {
        memory: vec![(0, 32 << 20), (HIGH, 4 << 20)],
        backing: Backing::Unsealable,
        ..Options::default()
    };
    let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
    let mut pair = Pair::with(device, &options);
    let client = pair.client.as_mut().unwrap();
    let settings = Settings {
        output_memory: Memory::InARow,
        capture_memory: Memory::InARow,
        ..Settings::h264(320, 240)
    };
    let (mut stream, held) = fed_from_high(client, &settings);
    let memory = client.link.memory.clone();
    memory.cut_short(HIGH);
    for index in held {
        stream.queue_capture(client, index).unwrap();
    }
    assert_eq!(feed_rest(client, &mut stream).len(), 4);
    stream.end(client);
    works(client);
    assert_eq!(panics(), 0);
}
