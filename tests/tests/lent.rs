// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Frames that lie in the guest's own memory, scattered or not: encoded where they are, as if they were the device's.

mod common;

use common::encoder::{OUTPUT, baseline, reqbufs, works};
use common::{Pair, alone, panics};
use frontend::client::Mapping;
use frontend::pages::PAGE;
use frontend::stream::{Coded, Memory, Settings, Step, Stream};
use frontend::{Client, Options, Pages};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::{MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Timeval};
use v4l2r::bindings::V4L2_BUF_FLAG_ERROR;
use vhost::VhostBackend;
use virtio_v4l2d::config::{DeviceSpec, Limits};
use virtio_v4l2d::memory::probe_udmabuf;
use zerocopy::IntoBytes;

/// Where the guest's second run of memory is.
const HIGH: u64 = 1 << 32;

fn pair_with(memory: usize) -> Pair {
    let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
    let options = Options {
        memory: vec![(0, memory), (HIGH, 4 << 20)],
        ..Options::default()
    };
    Pair::limited(device, &options, Limits::default())
}

/// A frame of so many bytes that differs from others and from row to row.
fn frame(len: usize, number: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at / 97 + at % 61 + 29 * number) as u8)
        .collect()
}

fn size(settings: &Settings) -> usize {
    (settings.width * settings.height * 3 / 2) as usize
}

/// The bitstream of `count` frames.
#[track_caller]
fn encode(client: &mut Client, settings: &Settings, count: usize) -> Vec<Vec<u8>> {
    let mut stream = Stream::start(client, settings).unwrap();
    let coded = feed(client, &mut stream, settings, count);
    stream.end(client);
    coded
}

#[track_caller]
fn feed(
    client: &mut Client,
    stream: &mut Stream,
    settings: &Settings,
    count: usize,
) -> Vec<Vec<u8>> {
    let frames: Vec<Vec<u8>> = (0..count).map(|n| frame(size(settings), n)).collect();
    let coded = stream.encode(
        client,
        frames.iter().map(|frame| (&frame[..], Timeval::default())),
    );
    assert_eq!(coded.len(), count);
    assert!(coded.iter().all(|c| c.flags & V4L2_BUF_FLAG_ERROR == 0));
    coded.into_iter().map(|Coded { data, .. }| data).collect()
}

/// Whatever memory frames and bitstream are in, the bitstream is the same.
#[test]
fn the_stream_is_that_of_mmap() {
    let _alone = alone();
    let mut pair = pair_with(64 << 20);
    let client = pair.client.as_mut().unwrap();
    for raw in [*b"NV12", *b"NM12", *b"YM12"] {
        let mmap = Settings {
            raw,
            ..Settings::h264(648, 364)
        };
        let expected = encode(client, &mmap, 12);
        for (output_memory, capture_memory) in [
            (Memory::InARow, Memory::Mmap),
            (Memory::Scattered(0), Memory::Mmap),
            (Memory::Scattered(48), Memory::Scattered(0)),
            (Memory::Mmap, Memory::Scattered(4080)),
        ] {
            let settings = Settings {
                output_memory,
                capture_memory,
                ..mmap
            };
            let coded = encode(client, &settings, 12);
            assert!(
                coded == expected,
                "{raw:?} {output_memory:?} {capture_memory:?}"
            );
        }
    }
    works(client);
    assert_eq!(panics(), 0);
}

/// MMAP buffers of one session, exported and queued in another: read where they are.
#[test]
fn exported_buffers_are_objects_of_other_sessions() {
    let _alone = alone();
    let mut pair = pair_with(64 << 20);
    let client = pair.client.as_mut().unwrap();
    for raw in [*b"NV12", *b"NM12"] {
        let mmap = Settings {
            raw,
            ..Settings::h264(320, 240)
        };
        let expected = encode(client, &mmap, 8);
        let source = Stream::start(client, &mmap).unwrap();
        let uuids = source.export(client).unwrap();
        assert_eq!(source.export(client).unwrap(), uuids, "the same again");
        let mut all: Vec<_> = uuids.iter().flatten().map(|uuid| uuid.0).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), uuids.iter().flatten().count(), "all differ");
        let settings = Settings {
            output_memory: Memory::Objects,
            ..mmap
        };
        let mut stream = Stream::start(client, &settings).unwrap();
        stream.output.buffers.clone_from(&source.output.buffers);
        stream.output.objects.clone_from(&uuids);
        assert!(feed(client, &mut stream, &settings, 8) == expected);
        client.close(stream.session);
        source.end(client);
        // Gone with the buffer.
        let mut stream = Stream::start(client, &settings).unwrap();
        stream.output.objects = uuids;
        stream.output.buffers = stream
            .output
            .objects
            .iter()
            .map(|uuids| unmapped(uuids))
            .collect();
        let (index, mut planes) = (0, stream.output.planes(0));
        let (mut buffer, lists) = (stream.output.buffer(index), stream.output.lists(index));
        let gone = client.buffer(
            stream.session,
            ioctl::QBUF,
            &mut buffer,
            &mut planes,
            &lists,
        );
        assert_eq!(gone, Err(Errno::EINVAL));
        client.close(stream.session);
    }
    works(client);
}

fn unmapped(uuids: &[Uuid]) -> Vec<Mapping> {
    let mapping = Mapping {
        addr: 0,
        len: 1 << 20,
    };
    vec![mapping; uuids.len()]
}

/// The largest frame, in single pages: 3456 of them.
#[test]
fn the_largest_frame_in_single_pages() {
    let _alone = alone();
    let mut pair = pair_with(160 << 20);
    let client = pair.client.as_mut().unwrap();
    for raw in [*b"NV12", *b"NM12"] {
        let mmap = Settings {
            raw,
            output_buffers: 2,
            ..Settings::h264(4096, 2304)
        };
        let lent = Settings {
            output_memory: Memory::Scattered(0),
            ..mmap
        };
        let expected = encode(client, &mmap, 3);
        assert!(encode(client, &lent, 3) == expected);
    }
}

/// QBUF of frame 0 as the caller wants it.
fn queue_as(
    client: &mut Client,
    stream: &Stream,
    memory: u32,
    length: Option<u32>,
    lists: &[u8],
) -> Result<(), Errno> {
    let mut buffer = stream.output.buffer(0);
    buffer.memory = memory;
    let mut planes = stream.output.planes(0);
    if let Some(length) = length {
        planes[0].length = length;
    }
    client.buffer(stream.session, ioctl::QBUF, &mut buffer, &mut planes, lists)
}

/// What is no memory, or not of the guest, or too little: refused, and the buffer is as it was.
#[test]
fn memory_that_is_none_is_refused() {
    let _alone = alone();
    let mut pair = pair_with(32 << 20);
    let client = pair.client.as_mut().unwrap();
    let settings = Settings {
        output_memory: Memory::InARow,
        ..Settings::h264(320, 240)
    };
    let mut stream = Stream::start(client, &settings).unwrap();
    let size = size(&settings) as u32;
    let page = PAGE as u32;
    let at = stream.output.lent[0][0].entries[0].start;
    let end = client.link.memory.end();
    let lists: [(&str, &[SgEntry], Option<u32>, Errno); 10] = [
        ("nothing", &[], None, Errno::EINVAL),
        (
            "cut off",
            &[SgEntry::new(at, size - 1)],
            None,
            Errno::EINVAL,
        ),
        (
            "too long",
            &[SgEntry::new(at, size + 1)],
            None,
            Errno::EINVAL,
        ),
        (
            "empty",
            &[SgEntry::new(at, 0), SgEntry::new(at, size)],
            None,
            Errno::EINVAL,
        ),
        (
            "less than a frame",
            &[SgEntry::new(at, size - 1)],
            Some(size - 1),
            Errno::EINVAL,
        ),
        (
            "a part of a page in the middle",
            &[
                SgEntry::new(at, page + 1),
                SgEntry::new(at + 2 * u64::from(page), size - page - 1),
            ],
            None,
            Errno::EINVAL,
        ),
        (
            "a start that is not a page's",
            &[SgEntry::new(at, page), SgEntry::new(at + 1, size - page)],
            None,
            Errno::EINVAL,
        ),
        (
            "no memory there",
            &[SgEntry::new(end, size)],
            None,
            Errno::EFAULT,
        ),
        (
            "over the end",
            &[SgEntry::new(end - u64::from(page), size)],
            None,
            Errno::EFAULT,
        ),
        (
            "over the end of all",
            &[SgEntry::new(u64::MAX - 9, size)],
            None,
            Errno::EINVAL,
        ),
    ];
    for (what, list, length, errno) in lists {
        let result = queue_as(client, &stream, MEMORY_USERPTR, length, list.as_bytes());
        assert_eq!(result, Err(errno), "{what}");
    }
    let good = stream.output.lists(0);
    for (memory, errno) in [
        (MEMORY_MMAP, Errno::EINVAL),
        (3, Errno::EINVAL),
        (0, Errno::EINVAL),
    ] {
        assert_eq!(queue_as(client, &stream, memory, None, &good), Err(errno));
    }
    let nobody = Uuid([7; 16]);
    let result = queue_as(client, &stream, MEMORY_DMABUF, None, &nobody.0);
    assert_eq!(result, Err(Errno::EINVAL));
    // More entries than a command may have.
    let many = vec![SgEntry::new(at, page); 1 << 16];
    let mut buffer = stream.output.buffer(0);
    buffer.memory = MEMORY_USERPTR;
    let mut planes = stream.output.planes(0);
    planes[0].length = page << 16;
    let reply = client.ioctl_raw(
        stream.session,
        ioctl::QBUF,
        buffer.as_bytes(),
        planes.as_bytes(),
        many.as_bytes(),
    );
    assert_eq!(reply.len, 0, "over 1 MiB");
    // As many as it may, all the same page: 255 MiB in single pieces.
    let many = &many[..65_000];
    let length = Some(page * 65_000);
    match queue_as(client, &stream, MEMORY_USERPTR, length, many.as_bytes()) {
        Ok(()) => stream.output.free.retain(|index| *index != 0),
        Err(errno) => assert_eq!(errno, Errno::ENOMEM),
    }
    feed(client, &mut stream, &settings, 5);
    stream.end(client);
    works(client);
    assert_eq!(panics(), 0);
}

/// The same page more than once, and the same memory in two buffers: the guest's affair.
#[test]
fn memory_may_overlap() {
    let _alone = alone();
    let mut pair = pair_with(32 << 20);
    let client = pair.client.as_mut().unwrap();
    let settings = Settings {
        output_memory: Memory::Scattered(0),
        ..Settings::h264(320, 240)
    };
    let mut stream = Stream::start(client, &settings).unwrap();
    let first = stream.output.lent[0][0].entries.clone();
    for lent in &mut stream.output.lent {
        let entries = &mut lent[0].entries;
        entries.clone_from(&first);
        entries[5] = entries[4];
    }
    let black = vec![0x20; size(&settings)];
    let frames = [(&black[..], Timeval::default()); 9];
    assert_eq!(stream.encode(client, frames.into_iter()).len(), 9);
    stream.end(client);
}

/// Each frame in other memory than the last one of its buffer: more pieces than buffers, and old ones again.
#[test]
fn memory_changes_from_frame_to_frame() {
    let _alone = alone();
    let before = baseline();
    let mut pair = pair_with(64 << 20);
    let client = pair.client.as_mut().unwrap();
    let mmap = Settings::h264(320, 240);
    let expected = encode(client, &mmap, 40);
    let settings = Settings {
        output_memory: Memory::Scattered(0),
        ..mmap
    };
    let mut stream = Stream::start(client, &settings).unwrap();
    let mut spare: Vec<Pages> = (0..13)
        .map(|n| Pages::scattered(&client.link.memory, size(&settings), 16 * n))
        .collect();
    let mut coded = Vec::new();
    for n in 0..40 {
        while stream.output.free.is_empty() {
            if let Step::Coded(unit) = stream.step(client) {
                coded.push(unit.data);
            }
        }
        let index = *stream.output.free.last().unwrap() as usize;
        let last = std::mem::replace(&mut stream.output.lent[index][0], spare.remove(0));
        spare.push(last);
        let frame = frame(size(&settings), n);
        stream
            .queue_frame(client, &frame, Timeval::default())
            .unwrap();
    }
    coded.extend(feed_rest(client, &mut stream));
    assert!(coded == expected);
    stream.end(client);
    // They keep the guest's memory.
    drop(spare);
    pair.end();
    before.assert_back();
}

/// Drains: what was still to come.
fn feed_rest(client: &mut Client, stream: &mut Stream) -> Vec<Vec<u8>> {
    let rest = stream.encode(client, std::iter::empty());
    rest.into_iter().map(|coded| coded.data).collect()
}

/// Memory that leaves the guest while the device has frames in it: those are encoded, others are refused.
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
    let session = client.open().unwrap();
    let mut stream = Stream::prepare(client, session, &settings).unwrap();
    let held = std::mem::take(&mut stream.capture.free);
    stream.streamon(client).unwrap();
    let memory = client.link.memory.clone();
    for (n, lent) in stream.output.lent.iter_mut().enumerate() {
        let start = HIGH + (n as u64) * (256 << 10);
        lent[0] = Pages::scattered_at(&memory, start, size(&settings), 0);
    }
    for n in 0..4 {
        let frame = frame(size(&settings), n);
        stream
            .queue_frame(client, &frame, Timeval::default())
            .unwrap();
    }
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

/// A guest that reboots, a program that closes, and a VMM that dies, with frames inside: nothing stays.
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

/// REQBUFS gives back what was lent, and another kind of memory may follow.
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
    queue_one(client, &stream).unwrap();
    let lent = common::leaks::Holdings::now().shared_mappings;
    assert_eq!(reqbufs(client, stream.session, OUTPUT, 2), Ok(2));
    assert_eq!(
        queue_one(client, &stream),
        Err(Errno::EINVAL),
        "MMAP buffers now"
    );
    let now = common::leaks::Holdings::now().shared_mappings;
    assert!(now < lent, "{now} mappings, {lent} before");
    client.close(stream.session);
    drop(stream);
    pair.end();
    before.assert_back();
    // What this machine proves of the other kind of view.
    if !probe_udmabuf() {
        common::no_udmabuf();
    }
}
