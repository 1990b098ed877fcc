// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A client of the encoder, without a guest: what a program does with ioctls, in calls.

#![allow(dead_code)] // Each test uses its part.

mod events;
pub mod fake;
pub mod log;

use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use protocol::wire::v4l2::{
    Buffer, Control, EncoderCmd, Event, EventSubscription, FmtDesc, Format, Fract, Plane, Rect,
    RequestBuffers, Selection, StreamParm, Timeval,
};
use virtio_v4l2d::device::encoder::{Encoder, Settings};
use virtio_v4l2d::device::{BufferArgs, Device, Session, WireMemory};
use virtio_v4l2d::memory::Vm;
use virtio_v4l2d::v4l2::core::uapi::*;

pub use self::events::testing::{Sent, SentEvents, channel};

/// How long an answer may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a session answered.
#[derive(Clone, Debug)]
pub enum Got {
    /// A CAPTURE buffer and its data.
    Coded(Buffer, Vec<u8>),
    /// An OUTPUT buffer.
    Raw(Buffer, Vec<Plane>),
    /// An event.
    Event(Event),
}

/// An open session.
pub struct Client {
    pub session: Box<dyn Session>,
    sent: SentEvents,
    /// OUTPUT buffers that are the client's.
    pub free_output: VecDeque<u32>,
    /// What came, in order, and is not taken yet.
    pub got: VecDeque<Got>,
    pub planes: usize,
    /// `bytesused` of each plane of OUTPUT buffers.
    pub bytesused: u32,
    capture_offsets: Vec<u32>,
    output_offsets: Vec<Vec<u32>>,
    /// CAPTURE buffers that were queued again before their content was taken from `got`.
    requeued: Vec<u32>,
}

/// A frame of the test.
#[derive(Clone, Debug)]
pub struct Coded {
    pub buffer: Buffer,
    pub data: Vec<u8>,
}

impl Coded {
    pub fn is_key(&self) -> bool {
        self.buffer.flags & V4L2_BUF_FLAG_KEYFRAME != 0
    }
}

/// Settings of a device that offers every raw format.
pub fn all_formats() -> Settings {
    let mut settings = Settings::default();
    settings.set("formats", "all").unwrap();
    settings
}

pub fn encoder(settings: Settings) -> Encoder {
    log::start();
    Encoder::new(settings).unwrap()
}

impl Client {
    pub fn new(encoder: &Encoder) -> Self {
        Self::of(encoder, Vm::without_guest())
    }

    /// A session of `vm`.
    pub fn of(encoder: &Encoder, vm: Vm) -> Self {
        let (events, sent) = channel();
        Self {
            session: encoder.open(1, events, vm).unwrap(),
            sent,
            free_output: VecDeque::new(),
            got: VecDeque::new(),
            planes: 1,
            bytesused: 0,
            capture_offsets: Vec::new(),
            output_offsets: Vec::new(),
            requeued: Vec::new(),
        }
    }

    pub fn has_codec(&mut self, name: &[u8; 4]) -> bool {
        (0..8).any(|index| {
            let mut desc = FmtDesc {
                index,
                type_: CAPTURE,
                ..Default::default()
            };
            self.session.enum_fmt(&mut desc).is_ok() && desc.pixelformat == fourcc(name)
        })
    }

    /// Sets both formats, CAPTURE first.
    pub fn formats(&mut self, raw: &[u8; 4], width: u32, height: u32) -> Format {
        self.s_fmt(CAPTURE, b"H264", 0, 0);
        let output = self.s_fmt(OUTPUT, raw, width, height);
        self.planes = output.pix_mp().num_planes.into();
        output
    }

    pub fn s_fmt(&mut self, type_: u32, pixelformat: &[u8; 4], width: u32, height: u32) -> Format {
        let mut format = Format {
            type_,
            ..Default::default()
        };
        let mut pix = format.pix_mp();
        pix.pixelformat = fourcc(pixelformat);
        pix.width = width;
        pix.height = height;
        format.set_pix_mp(&pix);
        self.session.s_fmt(&mut format).unwrap();
        assert_eq!(format.pix_mp().pixelformat, fourcc(pixelformat));
        format
    }

    pub fn interval(&mut self, numerator: u32, denominator: u32) {
        let mut parm = StreamParm {
            type_: OUTPUT,
            timeperframe: Fract {
                numerator,
                denominator,
            },
            ..Default::default()
        };
        self.session.s_parm(&mut parm).unwrap();
    }

    pub fn crop(&mut self, left: i32, top: i32, width: u32, height: u32) -> Rect {
        let mut selection = Selection {
            type_: OUTPUT_SINGLE,
            target: V4L2_SEL_TGT_CROP,
            r: Rect {
                left,
                top,
                width,
                height,
            },
            ..Default::default()
        };
        self.session.s_selection(&mut selection).unwrap();
        selection.r
    }

    pub fn control(&mut self, id: u32, value: i32) {
        self.session.s_ctrl(&mut Control { id, value }).unwrap();
    }

    pub fn reqbufs(&mut self, type_: u32, count: u32) -> Result<u32, Errno> {
        let mut request = RequestBuffers {
            count,
            type_,
            memory: MEMORY_MMAP,
            ..Default::default()
        };
        self.session.reqbufs(&mut request)?;
        Ok(request.count)
    }

    pub fn querybuf(&mut self, type_: u32, index: u32) -> Result<(Buffer, Vec<Plane>), Errno> {
        let mut buffer = Buffer {
            type_,
            index,
            length: 8,
            ..Default::default()
        };
        let mut planes = vec![Plane::default(); 8];
        self.session.querybuf(BufferArgs {
            buffer: &mut buffer,
            planes: &mut planes,
            memory: WireMemory::Nothing,
        })?;
        planes.truncate(buffer.length as usize);
        Ok((buffer, planes))
    }

    /// Allocates, queues all CAPTURE buffers.
    pub fn buffers(&mut self, output: u32, capture: u32) {
        assert_eq!(self.reqbufs(OUTPUT, output), Ok(output));
        assert!(self.reqbufs(CAPTURE, capture).unwrap() >= capture);
        self.remember(output, capture);
        for index in 0..capture {
            self.queue_capture(index).unwrap();
        }
    }

    pub fn remember(&mut self, output: u32, capture: u32) {
        self.free_output = (0..output).collect();
        let offsets = |planes: Vec<Plane>| planes.iter().map(|p| p.m as u32).collect::<Vec<_>>();
        self.output_offsets = (0..output)
            .map(|index| offsets(self.querybuf(OUTPUT, index).unwrap().1))
            .collect();
        self.capture_offsets = (0..capture)
            .map(|index| offsets(self.querybuf(CAPTURE, index).unwrap().1)[0])
            .collect();
    }

    fn requeue(&mut self, index: u32) {
        match self.requeued.iter().position(|other| *other == index) {
            Some(at) => {
                self.requeued.remove(at);
            }
            None => {
                self.queue_capture(index).unwrap();
            }
        }
    }

    pub fn queue_capture(&mut self, index: u32) -> Result<Buffer, Errno> {
        let mut buffer = Buffer {
            type_: CAPTURE,
            memory: MEMORY_MMAP,
            index,
            length: 1,
            ..Default::default()
        };
        self.session.qbuf(BufferArgs {
            buffer: &mut buffer,
            planes: &mut [Plane::default()],
            memory: WireMemory::Nothing,
        })?;
        Ok(buffer)
    }

    /// Writes `planes` into OUTPUT buffer `index`.
    pub fn fill(&mut self, index: u32, planes: &[&[u8]]) {
        for (offset, data) in self.output_offsets[index as usize]
            .clone()
            .iter()
            .zip(planes)
        {
            self.session
                .mmap(*offset)
                .unwrap()
                .write_at(0, data)
                .unwrap();
        }
    }

    pub fn queue_output(&mut self, index: u32, timestamp: Timeval) -> Result<Buffer, Errno> {
        let mut buffer = Buffer {
            type_: OUTPUT,
            memory: MEMORY_MMAP,
            index,
            length: self.planes as u32,
            timestamp,
            ..Default::default()
        };
        let plane = Plane {
            bytesused: self.bytesused,
            ..Default::default()
        };
        let mut planes = vec![plane; self.planes];
        self.session.qbuf(BufferArgs {
            buffer: &mut buffer,
            planes: &mut planes,
            memory: WireMemory::Nothing,
        })?;
        Ok(buffer)
    }

    pub fn streamon(&mut self) {
        self.session.streamon(OUTPUT).unwrap();
        self.session.streamon(CAPTURE).unwrap();
    }

    pub fn streamoff(&mut self) {
        self.session.streamoff(OUTPUT).unwrap();
        self.session.streamoff(CAPTURE).unwrap();
    }

    pub fn cmd(&mut self, cmd: u32) -> Result<(), Errno> {
        self.session.encoder_cmd(&mut EncoderCmd {
            cmd,
            ..Default::default()
        })
    }

    pub fn subscribe(&mut self, type_: u32, id: u32, flags: u32) -> Result<(), Errno> {
        self.session.subscribe_event(&EventSubscription {
            type_,
            id,
            flags,
            ..Default::default()
        })
    }

    /// Waits for the next answer.
    pub fn next(&mut self, timeout: Duration) -> Option<Got> {
        let sent = self.sent.next_timeout(timeout).ok()?;
        Some(match sent {
            Sent::Dqbuf(buffer, planes) if buffer.type_ == CAPTURE => {
                let mut data = vec![0; planes[0].bytesused as usize];
                let offset = self.capture_offsets[buffer.index as usize];
                let memory = self.session.mmap(offset).unwrap();
                memory
                    .read_at(planes[0].data_offset as usize, &mut data)
                    .unwrap();
                Got::Coded(buffer, data)
            }
            Sent::Dqbuf(buffer, planes) => {
                self.free_output.push_back(buffer.index);
                Got::Raw(buffer, planes)
            }
            Sent::Event(event) => Got::Event(event),
            Sent::Error(errno) => panic!("session lost: {errno}"),
        })
    }

    /// Waits until the session is lost.
    pub fn until_lost(&mut self) -> Errno {
        loop {
            match self.sent.next_timeout(PATIENCE).expect("not lost in time") {
                Sent::Error(errno) => return errno,
                Sent::Dqbuf(..) | Sent::Event(_) => {}
            }
        }
    }

    /// Waits for an answer that `wanted` takes; others are kept in `got`.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Got) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let got = self.next(left).expect("no answer in time");
            if let Some(value) = wanted(&got) {
                return value;
            }
            self.got.push_back(got);
        }
    }

    pub fn raw_free(&mut self) -> u32 {
        while self.free_output.is_empty() {
            let got = self.next(PATIENCE).expect("no OUTPUT buffer in time");
            self.got.push_back(got);
        }
        self.free_output.pop_front().unwrap()
    }

    /// Encodes frames, queueing each CAPTURE buffer again as it comes; drains with STOP. Asserts
    /// that the order is data, EOS (if subscribed), LAST. Timestamps are the frame's number, as
    /// GStreamer's.
    pub fn encode(&mut self, frames: &[Vec<Vec<u8>>], first: usize) -> Vec<Coded> {
        let mut coded = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            self.feed(first + at, frame);
            self.collect(&mut coded);
        }
        self.cmd(V4L2_ENC_CMD_STOP).unwrap();
        self.drain(&mut coded);
        coded
    }

    pub fn feed(&mut self, number: usize, frame: &[Vec<u8>]) {
        let index = self.raw_free();
        let planes: Vec<&[u8]> = frame.iter().map(Vec::as_slice).collect();
        self.fill(index, &planes);
        self.queue_output(index, stamp(number)).unwrap();
    }

    /// Waits until every OUTPUT buffer came back: all that was queued is encoded.
    pub fn until_idle(&mut self) {
        while self.free_output.len() < self.output_offsets.len() {
            let got = self.next(PATIENCE).expect("no OUTPUT buffer in time");
            if let Got::Coded(buffer, _) = &got {
                // Frames wait for CAPTURE buffers.
                self.queue_capture(buffer.index).unwrap();
                self.requeued.push(buffer.index);
            }
            self.got.push_back(got);
        }
    }

    /// Takes what has come so far.
    pub fn collect(&mut self, coded: &mut Vec<Coded>) {
        while let Some(got) = self.next(Duration::ZERO) {
            self.got.push_back(got);
        }
        let got = std::mem::take(&mut self.got);
        for got in got {
            match got {
                Got::Coded(buffer, data) => {
                    assert_eq!(buffer.flags & V4L2_BUF_FLAG_LAST, 0);
                    self.requeue(buffer.index);
                    coded.push(Coded { buffer, data });
                }
                Got::Raw(..) => {}
                Got::Event(event) => panic!("unexpected {event:?}"),
            }
        }
    }

    /// Takes everything up to the LAST buffer.
    pub fn drain(&mut self, coded: &mut Vec<Coded>) -> usize {
        let mut eos = 0;
        loop {
            let got = match self.got.pop_front() {
                Some(got) => got,
                None => self.next(PATIENCE).expect("the drain does not end"),
            };
            match got {
                Got::Coded(buffer, data) if buffer.flags & V4L2_BUF_FLAG_LAST != 0 => {
                    assert!(data.is_empty(), "LAST carries data");
                    self.queue_capture(buffer.index).unwrap();
                    return eos;
                }
                Got::Coded(buffer, data) => {
                    assert_eq!(eos, 0, "data after EOS");
                    assert!(!data.is_empty(), "empty without LAST");
                    self.requeue(buffer.index);
                    coded.push(Coded { buffer, data });
                }
                Got::Raw(..) => {}
                Got::Event(event) => {
                    assert_eq!(event.type_, V4L2_EVENT_EOS);
                    eos += 1;
                }
            }
        }
    }
}

/// The timestamp of a frame: its number in seconds.
pub fn stamp(number: usize) -> Timeval {
    Timeval {
        tv_sec: number as i64 + 1,
        tv_usec: number as i64 * 7 % 1_000_000,
    }
}

/// A moving picture with texture, as NV12 planes (luma, chroma), tightly packed.
pub fn picture(width: u32, height: u32, number: usize) -> (Vec<u8>, Vec<u8>) {
    let mut luma = Vec::with_capacity((width * height) as usize);
    for y in 0..height as usize {
        for x in 0..width as usize {
            let wave = ((x + 3 * number) * 2 + (y + number) * 3) % 300;
            let texture = (x * 31 + y * 17) % 5;
            luma.push((40 + wave.min(300 - wave) + texture) as u8);
        }
    }
    let mut chroma = Vec::with_capacity((width * height / 2) as usize);
    for y in 0..height as usize / 2 {
        for x in 0..width as usize / 2 {
            let wave = (x + number * 2) % 140;
            chroma.push((90 + wave.min(140 - wave)) as u8);
            chroma.push((100 + (y + number) % 120 / 4) as u8);
        }
    }
    (luma, chroma)
}

/// Cuts a rectangle out of a tightly packed NV12 frame.
pub fn cut(
    (luma, chroma): &(Vec<u8>, Vec<u8>),
    width: usize,
    (left, top): (usize, usize),
    (w, h): (usize, usize),
) -> (Vec<u8>, Vec<u8>) {
    let rows = |data: &[u8], top: usize, h: usize| {
        (top..top + h)
            .flat_map(|y| data[y * width + left..y * width + left + w].to_vec())
            .collect::<Vec<u8>>()
    };
    (rows(luma, top, h), rows(chroma, top / 2, h / 2))
}

/// NV12 in one plane.
pub fn nv12((luma, chroma): (Vec<u8>, Vec<u8>)) -> Vec<Vec<u8>> {
    vec![[luma, chroma].concat()]
}

pub fn nv12_frames(width: u32, height: u32, count: usize) -> Vec<Vec<Vec<u8>>> {
    (0..count)
        .map(|n| nv12(picture(width, height, n)))
        .collect()
}

/// NAL unit types of an access unit, in order.
pub fn nals(data: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    for at in 0..data.len().saturating_sub(3) {
        if data[at..at + 3] == [0, 0, 1] {
            types.push(data[at + 3] & 0x1f);
        }
    }
    types
}

pub fn bytes(coded: &[Coded]) -> Vec<u8> {
    coded.iter().flat_map(|c| c.data.clone()).collect()
}

/// Frames of VP8 or VP9 (`fourcc`) as a file that ffmpeg reads: IVF.
pub fn ivf(coded: &[Coded], fourcc: &[u8; 4], width: u16, height: u16) -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0".to_vec();
    file.extend(fourcc);
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    for number in [30, 1, coded.len() as u32, 0] {
        file.extend(number.to_le_bytes());
    }
    for (number, frame) in coded.iter().enumerate() {
        file.extend((frame.data.len() as u32).to_le_bytes());
        file.extend((number as u64).to_le_bytes());
        file.extend(&frame.data);
    }
    file
}

/// Decodes with ffmpeg to NV12; `None` if there is no ffmpeg.
pub fn decode(stream: &[u8], demuxer: &str) -> Option<Vec<u8>> {
    use std::io::Write;
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-f", demuxer, "-i", "pipe:0"])
        .args([
            "-pix_fmt",
            "nv12",
            "-fps_mode",
            "passthrough",
            "-f",
            "rawvideo",
            "pipe:1",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let stream = stream.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&stream));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "ffmpeg cannot decode the stream");
    Some(output.stdout)
}

pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: u64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
        .sum();
    if squares == 0 {
        return f64::INFINITY;
    }
    20.0 * 255f64.log10() - 10.0 * (squares as f64 / a.len() as f64).log10()
}
