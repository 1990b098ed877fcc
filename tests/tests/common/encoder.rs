// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The real encoder behind a connection, and values at the edge of things.

use frontend::stream::{Settings, Stream};
use frontend::{Client, Options};
use nix::errno::Errno;
use proptest::prelude::ProptestConfig;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE, MEMORY_MMAP, RequestBuffers,
    Timeval,
};
use virtio_v4l2d::config::{DeviceSpec, Limits};

use super::leaks::Holdings;
use super::{Pair, panics};

pub const OUTPUT: u32 = BUF_TYPE_VIDEO_OUTPUT_MPLANE;
pub const CAPTURE: u32 = BUF_TYPE_VIDEO_CAPTURE_MPLANE;

/// Numbers that are at the edge of something.
pub const WILD: [u32; 14] = [
    0,
    1,
    2,
    31,
    32,
    33,
    64,
    255,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    u32::MAX,
];

pub fn encoder_limited(limits: Limits) -> Pair {
    let spec = DeviceSpec {
        settings: vec![("formats".to_owned(), "all".to_owned())],
        ..DeviceSpec::default()
    };
    let device = virtio_v4l2d::device::open(&spec).unwrap();
    Pair::limited(device, &Options::default(), limits)
}

pub fn encoder() -> Pair {
    encoder_limited(Limits::default())
}

/// What the process holds when the encoder has been used once: GStreamer keeps threads and files of
/// its own.
pub fn baseline() -> Holdings {
    let mut pair = encoder();
    works(&mut pair);
    pair.end();
    Holdings::now()
}

/// A session can still encode.
#[track_caller]
pub fn works(client: &mut Client) {
    while client.poll_event().is_some() {}
    let settings = Settings::h264(176, 144);
    let mut stream = Stream::start(client, &settings).unwrap();
    let frame = vec![0x40; 176 * 144 * 3 / 2];
    let frames = [(&frame[..], Timeval::default()); 3];
    assert_eq!(stream.encode(client, frames.into_iter()).len(), 3);
    stream.end(client);
    assert_eq!(panics(), 0);
}

pub fn reqbufs(client: &mut Client, session: u32, type_: u32, count: u32) -> Result<u32, Errno> {
    let mut request = RequestBuffers {
        count,
        type_,
        memory: MEMORY_MMAP,
        ..RequestBuffers::default()
    };
    client.ioctl(session, ioctl::REQBUFS, &mut request)?;
    Ok(request.count)
}

/// So many cases, or what PROPTEST_CASES says.
pub fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: wanted.and_then(|text| text.parse().ok()).unwrap_or(cases),
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
