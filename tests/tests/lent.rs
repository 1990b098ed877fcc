// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Frames that lie in the guest's own memory, scattered or not: encoded where they are, as if they were the device's.

mod common;

use common::encoder::works;
use common::{Pair, alone, panics};
use frontend::client::Mapping;
use frontend::stream::{Coded, Memory, Settings, Stream};
use frontend::{Client, Options};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::Timeval;
use v4l2r::bindings::V4L2_BUF_FLAG_ERROR;
use virtio_v4l2d::config::{DeviceSpec, Limits};

fn pair_with(memory: usize) -> Pair {
    let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
    let options = Options {
        memory: vec![(0, memory), (1 << 32, 1 << 20)],
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
