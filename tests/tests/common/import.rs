// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Programs that have the device import their memory.

use frontend::stream::{Coded, Settings, Stream};
use frontend::{Client, Options, Pages};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::Timeval;
use v4l2r::bindings::V4L2_BUF_FLAG_ERROR;
use virtio_v4l2d::config::{DeviceSpec, Limits};

use super::Pair;

/// Where the guest's second run of memory is.
pub const HIGH: u64 = 1 << 32;

pub fn pair_with(memory: usize) -> Pair {
    // With several threads and a bound on the rate x264 does not make the same stream every time.
    let spec = DeviceSpec {
        settings: [("threads", "1"), ("formats", "all")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        ..DeviceSpec::default()
    };
    let device = virtio_v4l2d::device::open(&spec).unwrap();
    let options = Options {
        memory: vec![(0, memory), (HIGH, 4 << 20)],
        ..Options::default()
    };
    Pair::limited(device, &options, Limits::default())
}

/// A frame of so many bytes that differs from others and from row to row.
pub fn frame(len: usize, number: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at / 97 + at % 61 + 29 * number) as u8)
        .collect()
}

pub fn size(settings: &Settings) -> usize {
    (settings.width * settings.height * 3 / 2) as usize
}

/// The bitstream of `count` frames.
#[track_caller]
pub fn encode(client: &mut Client, settings: &Settings, count: usize) -> Vec<Vec<u8>> {
    let mut stream = Stream::start(client, settings).unwrap();
    let coded = feed(client, &mut stream, settings, count);
    stream.end(client);
    coded
}

#[track_caller]
pub fn feed(
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

/// A stream that has four frames in the second run of memory, scattered, and its CAPTURE buffers:
/// as long as those are not queued nothing is encoded.
pub fn fed_from_high(client: &mut Client, settings: &Settings) -> (Stream, Vec<u32>) {
    let session = client.open().unwrap();
    let mut stream = Stream::prepare(client, session, settings).unwrap();
    let held = std::mem::take(&mut stream.capture.free);
    stream.streamon(client).unwrap();
    let memory = client.link.memory.clone();
    for (n, pages) in stream.output.pages.iter_mut().enumerate() {
        let start = HIGH + (n as u64) * (256 << 10);
        pages[0] = Pages::scattered_at(&memory, start, size(settings), 0);
    }
    for n in 0..4 {
        let frame = frame(size(settings), n);
        stream
            .queue_frame(client, &frame, Timeval::default())
            .unwrap();
    }
    (stream, held)
}

/// QBUF of frame 0 as the caller wants it.
pub fn queue_as(
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

/// Drains: what was still to come.
pub fn feed_rest(client: &mut Client, stream: &mut Stream) -> Vec<Vec<u8>> {
    let rest = stream.encode(client, std::iter::empty());
    rest.into_iter().map(|coded| coded.data).collect()
}
