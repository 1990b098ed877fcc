// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! vicodec behind the proxy: what it makes is what it makes on the host, and its streams end as
//! they do there.

mod common;

use common::proxy::*;
use frontend::stream::Memory;
use frontend::{Buffers, WireEvent};
use nix::errno::Errno;
use protocol::wire::event::EventDqbuf;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{EncoderCmd, Event, EventSubscription, Format, MEMORY_USERPTR, Timeval};
use v4l2r::bindings::{
    V4L2_BUF_FLAG_ERROR, V4L2_BUF_FLAG_LAST, V4L2_BUF_FLAG_TIMESTAMP_COPY, V4L2_EVENT_EOS,
    V4L2_EVENT_SOURCE_CHANGE,
};

const FRAMES: usize = 12;
/// vicodec has none below 640x480, and wants multiples of 16.
const SIZES: [(u32, u32); 3] = [(640, 480), (800, 608), (640, 496)];
/// In front of each frame of a file that v4l2-ctl writes with `-hdr`, then its length; big endian.
const HEADER: &[u8; 4] = b"rdhV";

/// A picture. Not too rough: vicodec decodes garbage of a frame that takes more than its picture.
fn raw(number: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at / 640 + at % 13 * (number % 3) + number * 3) as u8)
        .collect()
}

/// What came back of a session with two queues.
#[derive(Default)]
struct Back {
    taken: Vec<u32>,
    made: Vec<(Vec<u8>, Box<EventDqbuf>)>,
    events: Vec<Event>,
}

impl Back {
    /// Whether an event of this type came.
    fn has(&self, type_: u32) -> bool {
        self.events.iter().any(|event| event.type_ == type_)
    }
}

/// An encoder or decoder: what goes in, what comes out.
struct Codec {
    output: Buffers,
    capture: Option<Buffers>,
    back: Back,
    /// OUTPUT buffers that are ours.
    free: Vec<u32>,
}

impl Codec {
    /// Takes the next event. CAPTURE buffers go back until the LAST one.
    #[track_caller]
    fn step(&mut self, both: &mut Both) {
        match both.pair.event() {
            WireEvent::Dqbuf(event) if event.buffer.type_ == self.output.type_ => {
                assert_eq!(event.buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
                self.free.push(event.buffer.index);
                self.back.taken.push(event.buffer.index);
            }
            WireEvent::Dqbuf(event) => {
                let capture = self.capture.as_ref().expect("a buffer of no queue");
                let data = capture.data(&both.pair, &event).remove(0);
                if event.buffer.flags & V4L2_BUF_FLAG_LAST == 0 {
                    let index = event.buffer.index;
                    capture.queue(&mut both.pair, index, &[]).unwrap();
                }
                self.back.made.push((data, event));
            }
            WireEvent::Event(event) => self.back.events.push(event.event),
            WireEvent::Error(event) => panic!("{event:?}"),
        }
    }

    /// Gives it `data`, when an OUTPUT buffer is free.
    #[track_caller]
    fn feed(&mut self, both: &mut Both, data: &[u8], stamp: i64) {
        while self.free.is_empty() {
            self.step(both);
        }
        let index = self.free.pop().unwrap();
        self.output.write(&both.pair, index, 0, data);
        let mut buffer = self.output.buffer(index);
        buffer.flags = V4L2_BUF_FLAG_TIMESTAMP_COPY;
        buffer.timestamp = Timeval {
            tv_sec: stamp,
            tv_usec: 500,
        };
        self.output
            .queue_as(&mut both.pair, buffer, &[data.len()])
            .unwrap();
    }

    /// Waits for the LAST buffer.
    #[track_caller]
    fn until_last(&mut self, both: &mut Both) {
        while !self.ended() {
            self.step(both);
        }
    }

    /// After LAST: EOS has come, too. vicodec queues it before a LAST buffer with a frame, but
    /// after an empty one (7.2, vicodec_buf_queue and vicodec_encoder_cmd).
    #[track_caller]
    fn has_eos(&mut self, both: &mut Both) {
        let last = self.back.made.last();
        let empty = last.is_some_and(|(data, _)| data.is_empty());
        while empty && !self.back.has(V4L2_EVENT_EOS) {
            self.step(both);
        }
        assert!(self.back.has(V4L2_EVENT_EOS), "LAST came before EOS");
    }

    fn ended(&self) -> bool {
        let last = self.back.made.last();
        last.is_some_and(|(_, event)| event.buffer.flags & V4L2_BUF_FLAG_LAST != 0)
    }

    fn data(&self) -> Vec<Vec<u8>> {
        let made = self.back.made.iter().map(|(data, _)| data.clone());
        made.filter(|data| !data.is_empty()).collect()
    }
}

#[track_caller]
fn format(both: &mut Both, type_: u32, fourcc: &[u8; 4], (width, height): (u32, u32)) -> u32 {
    let pix = both.set_format(type_, fourcc, (width, height));
    pix.sizeimage
}

fn subscribe(both: &mut Both, type_: u32) {
    let session = both.session;
    let mut wanted = EventSubscription {
        type_,
        ..EventSubscription::default()
    };
    both.pair
        .ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut wanted)
        .unwrap();
}

fn command(both: &mut Both, cmd: u32) -> Result<(), Errno> {
    let session = both.session;
    let mut cmd = EncoderCmd {
        cmd,
        ..EncoderCmd::default()
    };
    both.pair.ioctl(session, ioctl::ENCODER_CMD, &mut cmd)
}

fn encoder(both: &mut Both, size: (u32, u32), memory: Memory) -> (Codec, usize) {
    let session = both.session;
    let len = format(both, VIDEO_OUTPUT, b"NV12", size);
    format(both, VIDEO_CAPTURE, b"FWHT", size);
    subscribe(both, V4L2_EVENT_EOS);
    let output = Buffers::request(&mut both.pair, session, (VIDEO_OUTPUT, 4, memory)).unwrap();
    let capture = Buffers::request(&mut both.pair, session, (VIDEO_CAPTURE, 4, memory)).unwrap();
    output.streamon(&mut both.pair).unwrap();
    capture.streamon(&mut both.pair).unwrap();
    capture.queue_all(&mut both.pair).unwrap();
    let codec = Codec {
        free: (0..output.count()).collect(),
        output,
        capture: Some(capture),
        back: Back::default(),
    };
    (codec, len as usize)
}

/// The frames of these pictures as v4l2-ctl on the host has them encoded, and the file that it
/// wrote.
fn encoded_on_the_host(
    dir: &std::path::Path,
    pictures: &[Vec<u8>],
    size: (u32, u32),
) -> Vec<Vec<u8>> {
    let (from, to) = (dir.join("raw"), dir.join("fwht"));
    std::fs::write(&from, pictures.concat()).unwrap();
    v4l2_ctl(
        &node("VICODEC_ENC"),
        &[
            &format!(
                "--set-fmt-video-out=width={},height={},pixelformat=NV12",
                size.0, size.1
            ),
            "--stream-mmap",
            "--stream-out-mmap",
            &format!("--stream-from={}", from.display()),
            &format!("--stream-to-hdr={}", to.display()),
        ],
    );
    split(&std::fs::read(&to).unwrap())
}

/// The frames of a file with headers.
fn split(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = file.split_first_chunk::<8>() {
        assert!(
            header.starts_with(HEADER) || header.starts_with(b"Vhdr"),
            "{header:?}"
        );
        let len = u32::from_be_bytes(*header.last_chunk().unwrap()) as usize;
        frames.push(rest[..len].to_vec());
        file = &rest[len..];
    }
    frames
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn encodes_as_on_the_host() {
    let size = (640, 480);
    let pictures: Vec<_> = (0..FRAMES).map(|n| raw(n, 640 * 480 * 3 / 2)).collect();
    let dir = tempfile::tempdir().unwrap();
    let expected = encoded_on_the_host(dir.path(), &pictures, size);
    assert_eq!(expected.len(), FRAMES);
    for memory in [Memory::Mmap, Memory::Scattered(0)] {
        let mut both = Both::open("VICODEC_ENC");
        if memory != Memory::Mmap && !takes_userptr(&mut both) {
            continue;
        }
        let (mut codec, len) = encoder(&mut both, size, memory);
        assert_eq!(len, pictures[0].len());
        // Twice: after the drain it goes on. Not by START alone: vicodec leaves the queue at its
        // end (7.2, vicodec_encoder_cmd).
        for _ in 0..2 {
            codec.back = Back::default();
            for (number, picture) in pictures.iter().enumerate() {
                codec.feed(&mut both, picture, number as i64);
            }
            command(&mut both, 1).unwrap();
            codec.until_last(&mut both);
            assert!(codec.data() == expected, "{memory:?}: another stream");
            let with_data = codec.back.made.iter().filter(|(data, _)| !data.is_empty());
            let stamps: Vec<_> = with_data
                .map(|(_, event)| event.buffer.timestamp.tv_sec)
                .collect();
            assert_eq!(stamps, (0..FRAMES as i64).collect::<Vec<_>>());
            codec.has_eos(&mut both);
            let capture = codec.capture.as_ref().unwrap();
            capture.streamoff(&mut both.pair).unwrap();
            codec.output.streamoff(&mut both.pair).unwrap();
            while both.pair.poll_event().is_some() {}
            codec.free = (0..codec.output.count()).collect();
            codec.output.streamon(&mut both.pair).unwrap();
            capture.streamon(&mut both.pair).unwrap();
            capture.queue_all(&mut both.pair).unwrap();
        }
        both.works();
    }
}

/// Whether REQBUFS says that the queues of the device take memory of the program.
fn takes_userptr(both: &mut Both) -> bool {
    let session = both.session;
    let none = (VIDEO_OUTPUT, 0, MEMORY_USERPTR);
    both.pair.reqbufs(session, none).is_ok()
}

struct Decoded {
    frames: Vec<Vec<u8>>,
    sizes: Vec<(u32, u32)>,
}

/// A client of a stateful decoder: formats from SOURCE_CHANGE, a new set of CAPTURE buffers for
/// each.
#[track_caller]
fn decode(both: &mut Both, units: &[Vec<u8>], memory: Memory) -> Decoded {
    let session = both.session;
    format(both, VIDEO_OUTPUT, b"FWHT", SIZES[0]);
    subscribe(both, V4L2_EVENT_SOURCE_CHANGE);
    subscribe(both, V4L2_EVENT_EOS);
    let output = Buffers::request(&mut both.pair, session, (VIDEO_OUTPUT, 3, memory)).unwrap();
    output.streamon(&mut both.pair).unwrap();
    let mut codec = Codec {
        free: (0..output.count()).collect(),
        output,
        capture: None,
        back: Back::default(),
    };
    let mut decoded = Decoded {
        frames: Vec::new(),
        sizes: Vec::new(),
    };
    let mut units = units.iter().enumerate();
    let mut stopped = false;
    loop {
        let changed = codec.back.has(V4L2_EVENT_SOURCE_CHANGE);
        if changed && (codec.capture.is_none() || codec.ended()) {
            codec.back.events.clear();
            if let Some(mut old) = codec.capture.take() {
                decoded.frames.extend(codec.data());
                old.streamoff(&mut both.pair).unwrap();
                old.unmap(&mut both.pair).unwrap();
                old.free(&mut both.pair).unwrap();
            }
            codec.back.made.clear();
            let mut format = Format {
                type_: VIDEO_CAPTURE,
                ..Format::default()
            };
            both.pair.ioctl(session, ioctl::G_FMT, &mut format).unwrap();
            let mut pix = format.pix();
            pix.pixelformat = u32::from_le_bytes(*b"NV12");
            format.set_pix(&pix);
            both.pair.ioctl(session, ioctl::S_FMT, &mut format).unwrap();
            decoded
                .sizes
                .push((format.pix().width, format.pix().height));
            let capture = Buffers::streaming(&mut both.pair, session, (VIDEO_CAPTURE, 4, memory));
            codec.capture = Some(capture);
            continue;
        }
        if stopped && codec.ended() {
            decoded.frames.extend(codec.data());
            codec.has_eos(both);
            return decoded;
        }
        if !codec.free.is_empty()
            && let Some((number, unit)) = units.next()
        {
            codec.feed(both, unit, number as i64);
        } else if !stopped && units.len() == 0 {
            // struct v4l2_decoder_cmd: STOP.
            let mut stop = [0u32; 18];
            stop[0] = 1;
            both.pair
                .ioctl(session, ioctl::DECODER_CMD, &mut stop)
                .unwrap();
            stopped = true;
        } else {
            codec.step(both);
        }
    }
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn decodes_as_on_the_host() {
    let pictures: Vec<_> = (0..FRAMES).map(|n| raw(n, 640 * 480 * 3 / 2)).collect();
    let dir = tempfile::tempdir().unwrap();
    let units = encoded_on_the_host(dir.path(), &pictures, (640, 480));
    let back = dir.path().join("back");
    v4l2_ctl(
        &node("VICODEC_DEC"),
        &[
            "--set-fmt-video-out=width=640,height=480,pixelformat=FWHT",
            "--set-fmt-video=pixelformat=NV12",
            "--stream-mmap",
            "--stream-out-mmap",
            &format!("--stream-from-hdr={}", dir.path().join("fwht").display()),
            &format!("--stream-to={}", back.display()),
        ],
    );
    let expected = std::fs::read(&back).unwrap();
    let mut both = Both::open("VICODEC_DEC");
    let decoded = decode(&mut both, &units, Memory::Mmap);
    assert_eq!(decoded.sizes, [(640, 480)]);
    assert_eq!(decoded.frames.len(), FRAMES);
    let decoded = decoded.frames.concat();
    assert_eq!(decoded.len(), expected.len());
    let differs = decoded.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "another picture from this byte on");
    both.works();
}

/// The size changes in mid-stream: SOURCE_CHANGE, the frames before it up to LAST, then the new
/// ones.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn another_resolution() {
    let dir = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for (width, height) in SIZES {
        let len = width as usize * height as usize * 3 / 2;
        let pictures: Vec<_> = (0..6).map(|n| raw(n, len)).collect();
        units.extend(encoded_on_the_host(dir.path(), &pictures, (width, height)));
    }
    let mut both = Both::open("VICODEC_DEC");
    let decoded = decode(&mut both, &units, Memory::Mmap);
    assert_eq!(decoded.sizes, SIZES);
    assert_eq!(decoded.frames.len(), 18);
    both.works();
}

/// Sessions of a codec do not know each other.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn several_sessions() {
    let mut both = Both::open("VICODEC_ENC");
    let first = both.session;
    let (mut codec, len) = encoder(&mut both, (800, 608), Memory::Mmap);
    codec.feed(&mut both, &raw(1, len), 1);
    while codec.data().is_empty() {
        codec.step(&mut both);
    }
    both.session = both.pair.open().unwrap();
    let (mut other, other_len) = encoder(&mut both, (640, 480), Memory::Mmap);
    other.feed(&mut both, &raw(1, other_len), 1);
    while other.data().is_empty() {
        other.step(&mut both);
    }
    assert_ne!(codec.data()[0].len(), other.data()[0].len());
    let second = both.session;
    both.pair.close(second);
    both.session = first;
    codec.feed(&mut both, &raw(2, len), 2);
    while codec.data().len() < 2 {
        codec.step(&mut both);
    }
    both.works();
}
