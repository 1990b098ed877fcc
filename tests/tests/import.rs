// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Frames that lie in the guest's own memory, scattered or not: encoded where they are, as if they
//! were the device's.

mod common;

use common::encoder::{baseline, works};
use common::import::{encode, feed, feed_rest, frame, pair_with, queue_as, size};
use common::{alone, panics};
use frontend::Pages;
use frontend::client::Mapping;
use frontend::pages::PAGE;
use frontend::stream::{Memory, Settings, Step, Stream};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::{MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Timeval};
use zerocopy::IntoBytes;

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
        let imported = Settings {
            output_memory: Memory::Scattered(0),
            ..mmap
        };
        let expected = encode(client, &mmap, 3);
        assert!(encode(client, &imported, 3) == expected);
    }
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
    let at = stream.output.pages[0][0].entries[0].start;
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
    let first = stream.output.pages[0][0].entries.clone();
    for pages in &mut stream.output.pages {
        let entries = &mut pages[0].entries;
        entries.clone_from(&first);
        entries[5] = entries[4];
    }
    let black = vec![0x20; size(&settings)];
    let frames = [(&black[..], Timeval::default()); 9];
    assert_eq!(stream.encode(client, frames.into_iter()).len(), 9);
    stream.end(client);
}

/// Each frame in other memory than the last one of its buffer: more pieces than buffers, and old
/// ones again.
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
        let last = std::mem::replace(&mut stream.output.pages[index][0], spare.remove(0));
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
