// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The encoder from end to end, but for the guest's kernel: frames through mapped buffers, or the
//! guest's own pages where the VMM has no region for those, the result decoded. All of it behind
//! each VMM.

mod common;

use common::Pair;
use common::decoder::{Picture, decode_h264, psnr};
use common::vmms;
use frontend::stream::{Coded, Settings, Stream};
use frontend::{Client, Options};
use protocol::wire::v4l2::Timeval;
use v4l2r::bindings::{V4L2_BUF_FLAG_ERROR, V4L2_BUF_FLAG_KEYFRAME, V4L2_CID_MPEG_VIDEO_BITRATE};
use virtio_v4l2d::config::DeviceSpec;

fn pair(options: &Options) -> Pair {
    let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
    vmms::pair(device, options)
}

/// A frame of NV12 in which things move, and which says which one it is.
fn frame(settings: &Settings, number: usize) -> Vec<u8> {
    let (width, height) = (settings.width as usize, settings.height as usize);
    let mut bytes = Vec::with_capacity(width * height * 3 / 2);
    for y in 0..height {
        for x in 0..width {
            let wave = ((x + 3 * number) as f64 / 17.0).sin() * ((y + number) as f64 / 23.0).cos();
            bytes.push((128.0 + 80.0 * wave) as u8);
        }
    }
    for y in 0..height / 2 {
        for x in 0..width / 2 {
            bytes.push((100 + (x + number) % 50) as u8);
            bytes.push((100 + (y + number) % 50) as u8);
        }
    }
    // A row of blocks, black or white: the number in binary.
    for bit in 0..8 {
        let shade = if number >> bit & 1 == 1 { 235 } else { 16 };
        for y in 0..16 {
            let at = y * width + 16 * bit;
            bytes[at..at + 16].fill(shade);
        }
    }
    bytes
}

/// The number that a decoded frame says it has.
fn number(picture: &Picture) -> usize {
    (0..8)
        .filter(|bit| picture.luma[8 * picture.width as usize + 16 * bit + 8] > 128)
        .map(|bit| 1 << bit)
        .sum()
}

/// Times that no encoder would make up: they go back and forth by odd amounts.
fn timestamp(number: usize) -> Timeval {
    Timeval {
        tv_sec: 1_000_000 + (number as i64 * 7) % 13,
        tv_usec: (number as i64 * 123_457) % 1_000_000,
    }
}

fn encode(
    client: &mut Client,
    stream: &mut Stream,
    settings: &Settings,
    numbers: std::ops::Range<usize>,
) -> Vec<Coded> {
    let frames: Vec<Vec<u8>> = numbers.clone().map(|n| frame(settings, n)).collect();
    let frames = frames.iter().zip(numbers);
    stream.encode(client, frames.map(|(frame, n)| (&frame[..], timestamp(n))))
}

/// Every frame is there once, in order, looks as it did, and carries its own time.
#[track_caller]
fn check(settings: &Settings, coded: &[Coded], numbers: std::ops::Range<usize>, least: f64) {
    assert_eq!(coded.len(), numbers.len());
    for (coded, n) in coded.iter().zip(numbers.clone()) {
        assert_eq!(coded.timestamp, timestamp(n));
        assert_eq!(coded.flags & V4L2_BUF_FLAG_ERROR, 0);
        assert!(!coded.data.is_empty());
    }
    let pictures = decode_h264(coded.iter().map(|coded| &coded.data[..]));
    assert_eq!(pictures.len(), numbers.len());
    for (picture, n) in pictures.iter().zip(numbers) {
        assert_eq!(
            (picture.width, picture.height),
            (settings.width, settings.height)
        );
        assert_eq!(number(picture), n % 256);
        let luma = &frame(settings, n)[..picture.luma.len()];
        let likeness = psnr(luma, &picture.luma);
        assert!(likeness >= least, "frame {n}: {likeness:.1} dB");
    }
}

/// Nothing of the buffers is left. One mapping may stay: that of the file that all buffers are in.
#[track_caller]
fn assert_unmapped(client: &Client) {
    let mapped = client.link.shared.mapped();
    assert!(mapped <= 1, "{mapped} mappings stay");
}

#[test]
fn frames_in_frames_out() {
    let _alone = common::alone();
    vmms::all().iter().for_each(frames_in_frames_out_of);
}

fn frames_in_frames_out_of(options: &Options) {
    let mut pair = pair(options);
    for (width, height) in [(176, 144), (640, 360), (1296, 972)] {
        let settings = Settings::h264(width, height);
        let client = pair.client.as_mut().unwrap();
        let mut stream = Stream::start(client, &settings).unwrap();
        let rate = (width * height * 8).cast_signed();
        stream
            .set_control(client, V4L2_CID_MPEG_VIDEO_BITRATE, rate)
            .unwrap();
        let coded = encode(client, &mut stream, &settings, 0..24);
        check(&settings, &coded, 0..24, 35.0);
        assert_ne!(coded[0].flags & V4L2_BUF_FLAG_KEYFRAME, 0);
        let sequences: Vec<u32> = coded.iter().map(|coded| coded.sequence).collect();
        assert_eq!(sequences, (0..24).collect::<Vec<u32>>());
        stream.end(client);
    }
    assert_unmapped(&pair);
    assert_eq!(pair.link.shared.violations(), Vec::<String>::new());
}

/// Drain and go on, ten times: each time every frame.
#[test]
fn ten_drains() {
    let _alone = common::alone();
    vmms::all().iter().for_each(ten_drains_of);
}

fn ten_drains_of(options: &Options) {
    let mut pair = pair(options);
    let client = pair.client.as_mut().unwrap();
    let settings = Settings::h264(320, 240);
    let mut stream = Stream::start(client, &settings).unwrap();
    let mut all = Vec::new();
    for drain in 0..10 {
        let numbers = 7 * drain..7 * (drain + 1);
        let coded = encode(client, &mut stream, &settings, numbers);
        assert_eq!(coded.len(), 7, "drain {drain}");
        all.extend(coded);
        stream.resume(client).unwrap();
    }
    check(&settings, &all, 0..70, 30.0);
}

/// Four sessions in turns over one connection: none gets what is another's.
#[test]
fn sessions_side_by_side() {
    let _alone = common::alone();
    vmms::all().iter().for_each(sessions_side_by_side_of);
}

fn sessions_side_by_side_of(options: &Options) {
    let mut pair = pair(options);
    let client = pair.client.as_mut().unwrap();
    let sizes = [(176, 144), (320, 240), (352, 288), (640, 360)];
    let mut sessions: Vec<(Settings, Stream, Vec<Coded>, bool)> = sizes
        .iter()
        .map(|&(width, height)| {
            let settings = Settings::h264(width, height);
            let stream = Stream::start(client, &settings).unwrap();
            (settings, stream, Vec::new(), false)
        })
        .collect();
    for n in 0..20 {
        for (settings, stream, _, _) in &mut sessions {
            if let Some(index) = stream.output.free.last() {
                let buffers = stream.output.buffers.len() + stream.output.pages.len();
                assert!((*index as usize) < buffers);
                let frame = frame(settings, n);
                stream.queue_frame(client, &frame, timestamp(n)).unwrap();
            }
        }
        collect(client, &mut sessions, |sessions| {
            sessions
                .iter()
                .all(|(_, stream, _, _)| !stream.output.free.is_empty())
        });
    }
    for (_, stream, _, _) in &sessions {
        stream.command(client, true).unwrap();
    }
    collect(client, &mut sessions, |sessions| {
        sessions.iter().all(|(_, _, _, done)| *done)
    });
    for (settings, stream, coded, _) in sessions {
        check(&settings, &coded, 0..20, 30.0);
        stream.end(client);
    }
    assert_unmapped(&pair);
}

/// Takes what comes, of any session, until `enough`.
fn collect(
    client: &mut Client,
    sessions: &mut [(Settings, Stream, Vec<Coded>, bool)],
    enough: impl Fn(&[(Settings, Stream, Vec<Coded>, bool)]) -> bool,
) {
    use frontend::stream::Step;

    while !enough(sessions) {
        let event = client.event();
        let (_, stream, coded, done) = sessions
            .iter_mut()
            .find(|(_, stream, _, _)| stream.session == event.session())
            .unwrap();
        match stream.take(client, event) {
            Step::Coded(last) if last.flags & v4l2r::bindings::V4L2_BUF_FLAG_LAST != 0 => {
                *done = true;
            }
            Step::Coded(unit) => coded.push(unit),
            Step::Taken(error) => assert!(!error),
            Step::EndOfStream | Step::Other => {}
        }
    }
}

/// Closed in the middle, with frames inside the encoder; and the VMM gone in the middle.
#[test]
fn ends_in_the_middle() {
    let _alone = common::alone();
    vmms::all().iter().for_each(ends_in_the_middle_of);
}

fn ends_in_the_middle_of(options: &Options) {
    // GStreamer keeps threads and files of its own from the first use on.
    let once = |end: bool| {
        let mut pair = pair(options);
        let client = pair.client.as_mut().unwrap();
        let settings = Settings::h264(640, 360);
        for n in 0..3 {
            let mut stream = Stream::start(client, &settings).unwrap();
            while !stream.output.free.is_empty() {
                let frame = frame(&settings, n);
                stream.queue_frame(client, &frame, timestamp(n)).unwrap();
            }
            if end {
                stream.end(client);
                // Events of the session that were on their way.
                while client.poll_event().is_some() {}
            }
        }
        pair.end();
    };
    once(true);
    once(false);
    let before = common::leaks::Holdings::now();
    for round in 0..6 {
        once(round % 2 == 0);
    }
    before.assert_back();
    assert_eq!(common::panics(), 0);
}

/// A driver that leaves one event buffer at a time, and looks away: all of it arrives.
#[test]
fn a_slow_guest() {
    let _alone = common::alone();
    vmms::all().into_iter().for_each(a_slow_guest_of);
}

fn a_slow_guest_of(options: Options) {
    let mut pair = pair(&Options {
        event_buffers: 1,
        event_idx: false,
        ..options
    });
    let client = pair.client.as_mut().unwrap();
    let settings = Settings {
        output_buffers: 8,
        capture_buffers: 2,
        ..Settings::h264(176, 144)
    };
    let mut stream = Stream::start(client, &settings).unwrap();
    let first = stream.output.free.len();
    for n in 0..first {
        let frame = frame(&settings, n);
        stream.queue_frame(client, &frame, timestamp(n)).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let coded = encode(client, &mut stream, &settings, first..20);
    check(&settings, &coded, 0..20, 30.0);
}
