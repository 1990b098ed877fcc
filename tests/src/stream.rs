// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A program in the guest that encodes: two queues of MMAP buffers, frames in, bitstream out.
//!
//! As in [`client`](crate::client), a device that breaks the protocol is a panic.

use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE, Buffer, Control, EncoderCmd,
    EventSubscription, FIELD_NONE, Format, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR,
    PixFormatMplane, Plane, Timeval,
};
use v4l2r::bindings::{V4L2_BUF_FLAG_LAST, V4L2_ENC_CMD_START, V4L2_ENC_CMD_STOP, V4L2_EVENT_EOS};
use zerocopy::IntoBytes;

use crate::client::{Client, Mapping, WireEvent};
use crate::pages::Pages;

/// Whose memory the buffers of a queue are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The device's.
    Mmap,
    /// The program's, each plane in one piece.
    InARow,
    /// The program's, each plane in single pages that begin so many bytes into the first.
    Scattered(usize),
    /// That of virtio objects, which the test fills in.
    Objects,
}

impl Memory {
    /// `V4L2_MEMORY_*`.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Mmap => MEMORY_MMAP,
            Self::InARow | Self::Scattered(_) => MEMORY_USERPTR,
            Self::Objects => MEMORY_DMABUF,
        }
    }

    /// What the driver makes of it: without a region in which the device's memory can be seen, it
    /// is its own.
    fn in_guest(self, client: &Client) -> Self {
        match self {
            Self::Mmap if !client.link.has_region() => Self::Scattered(0),
            other => other,
        }
    }

    /// Memory of the guest for a plane of `len` bytes, if it is the guest's.
    pub(crate) fn pages(self, client: &Client, len: usize) -> Option<Pages> {
        let memory = &client.link.memory;
        match self {
            Self::Mmap | Self::Objects => None,
            Self::InARow => Some(Pages::in_a_row(memory, len, 0)),
            Self::Scattered(offset) => Some(Pages::scattered(memory, len, offset)),
        }
    }
}

/// What to encode.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Coded format, such as `H264`.
    pub coded: [u8; 4],
    /// Raw format, such as `NV12`.
    pub raw: [u8; 4],
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Buffers to ask for, of raw frames.
    pub output_buffers: u32,
    /// Buffers to ask for, of bitstream.
    pub capture_buffers: u32,
    /// Memory of raw frames.
    pub output_memory: Memory,
    /// Memory of bitstream.
    pub capture_memory: Memory,
}

impl Settings {
    /// H.264 from NV12, four buffers each.
    pub fn h264(width: u32, height: u32) -> Self {
        Self {
            coded: *b"H264",
            raw: *b"NV12",
            width,
            height,
            output_buffers: 4,
            capture_buffers: 4,
            output_memory: Memory::Mmap,
            capture_memory: Memory::Mmap,
        }
    }
}

/// A buffer that came back with bitstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coded {
    /// The bitstream.
    pub data: Vec<u8>,
    /// `V4L2_BUF_FLAG_*`.
    pub flags: u32,
    /// The frame's.
    pub timestamp: Timeval,
    /// Number in the queue since STREAMON.
    pub sequence: u32,
}

/// One queue of the session.
#[derive(Debug)]
pub struct Queue {
    /// `V4L2_BUF_TYPE_*`.
    pub type_: u32,
    /// `V4L2_MEMORY_*`.
    pub memory: u32,
    /// Its format.
    pub format: PixFormatMplane,
    /// Planes of each buffer: where they are mapped. Empty if the memory is the program's.
    pub buffers: Vec<Vec<Mapping>>,
    /// Planes of each buffer: where they are in the guest. Empty if the memory is the device's.
    pub pages: Vec<Vec<Pages>>,
    /// Planes of each buffer: virtio objects. Empty if it has none.
    pub objects: Vec<Vec<Uuid>>,
    /// Buffers that the program has.
    pub free: Vec<u32>,
}

/// What comes back from the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A raw frame is taken; the buffer is free again. True if with an error.
    Taken(bool),
    /// Bitstream, or the empty LAST buffer.
    Coded(Coded),
    /// `V4L2_EVENT_EOS`.
    EndOfStream,
    /// Another event.
    Other,
}

/// An encoder session.
#[derive(Debug)]
pub struct Stream {
    /// Its ID.
    pub session: u32,
    /// Raw frames, to the device.
    pub output: Queue,
    /// Bitstream, from the device.
    pub capture: Queue,
}

impl Stream {
    /// Opens a session, sets formats, maps buffers, and starts both queues.
    ///
    /// # Errors
    ///
    /// The errno of the ioctl that failed. The session is closed then.
    pub fn start(client: &mut Client, settings: &Settings) -> Result<Self, Errno> {
        let session = client.open()?;
        Self::prepare(client, session, settings)
            .and_then(|mut stream| {
                stream.streamon(client)?;
                Ok(stream)
            })
            .inspect_err(|_| client.close(session))
    }

    /// As [`start`](Self::start) on an open session, and without STREAMON.
    ///
    /// # Errors
    ///
    /// The errno of the ioctl that failed.
    pub fn prepare(client: &mut Client, session: u32, settings: &Settings) -> Result<Self, Errno> {
        let coded = PixFormatMplane {
            pixelformat: u32::from_le_bytes(settings.coded),
            num_planes: 1,
            ..PixFormatMplane::default()
        };
        let raw = PixFormatMplane {
            width: settings.width,
            height: settings.height,
            pixelformat: u32::from_le_bytes(settings.raw),
            field: FIELD_NONE,
            ..PixFormatMplane::default()
        };
        let coded = set_format(client, session, BUF_TYPE_VIDEO_CAPTURE_MPLANE, &coded)?;
        let raw = set_format(client, session, BUF_TYPE_VIDEO_OUTPUT_MPLANE, &raw)?;
        let mut end = EventSubscription {
            type_: V4L2_EVENT_EOS,
            ..EventSubscription::default()
        };
        client.ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut end)?;
        let output = (
            BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            settings.output_buffers,
            settings.output_memory.in_guest(client),
        );
        let capture = (
            BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            settings.capture_buffers,
            settings.capture_memory.in_guest(client),
        );
        Ok(Self {
            session,
            output: Queue::allocate(client, session, output, raw)?,
            capture: Queue::allocate(client, session, capture, coded)?,
        })
    }

    /// STREAMON of both queues; all buffers for bitstream are queued.
    ///
    /// # Errors
    ///
    /// The errno of the ioctl that failed.
    pub fn streamon(&mut self, client: &mut Client) -> Result<(), Errno> {
        for mut type_ in [self.output.type_, self.capture.type_] {
            client.ioctl(self.session, ioctl::STREAMON, &mut type_)?;
        }
        while let Some(index) = self.capture.free.pop() {
            self.queue_capture(client, index)?;
        }
        Ok(())
    }

    /// Sets a control.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn set_control(&self, client: &mut Client, id: u32, value: i32) -> Result<(), Errno> {
        let mut control = Control { id, value };
        client.ioctl(self.session, ioctl::S_CTRL, &mut control)
    }

    /// ENCODER_CMD: STOP drains, START goes on.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn command(&self, client: &mut Client, stop: bool) -> Result<(), Errno> {
        let mut cmd = EncoderCmd {
            cmd: if stop {
                V4L2_ENC_CMD_STOP
            } else {
                V4L2_ENC_CMD_START
            },
            ..EncoderCmd::default()
        };
        client.ioctl(self.session, ioctl::ENCODER_CMD, &mut cmd)
    }

    /// Queues `frame`, which has all planes in a row, in a buffer that is free.
    ///
    /// # Errors
    ///
    /// The device's errno.
    ///
    /// # Panics
    ///
    /// None is free, or the frame is not of the format's size.
    pub fn queue_frame(
        &mut self,
        client: &mut Client,
        frame: &[u8],
        timestamp: Timeval,
    ) -> Result<(), Errno> {
        let index = self.output.free.pop().expect("no buffer is free");
        let mut rest = frame;
        let mut planes = self.output.planes(index);
        for (at, plane) in planes.iter_mut().enumerate() {
            let format = &self.output.format.plane_fmt[at];
            let (now, later) = rest.split_at(format.sizeimage as usize);
            rest = later;
            if let Some(pages) = self.output.pages.get(index as usize) {
                pages[at].write(now);
            } else {
                let mapping = self.output.buffers[index as usize][at];
                let shared = &client.link.shared;
                shared.write(mapping.addr, now).expect("a mapped buffer");
            }
            plane.bytesused = now.len() as u32;
        }
        assert_eq!(rest.len(), 0, "a frame larger than its format");
        let mut buffer = Buffer {
            timestamp,
            ..self.output.buffer(index)
        };
        let lists = self.output.lists(index);
        client
            .buffer(self.session, ioctl::QBUF, &mut buffer, &mut planes, &lists)
            .inspect_err(|_| self.output.free.push(index))
    }

    /// Queues a buffer for bitstream.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn queue_capture(&self, client: &mut Client, index: u32) -> Result<(), Errno> {
        let mut buffer = self.capture.buffer(index);
        let mut planes = self.capture.planes(index);
        let lists = self.capture.lists(index);
        client.buffer(self.session, ioctl::QBUF, &mut buffer, &mut planes, &lists)
    }

    /// Waits for the next thing that comes back. Buffers of bitstream are queued again, but the
    /// LAST one.
    #[track_caller]
    pub fn step(&mut self, client: &mut Client) -> Step {
        let event = client.event();
        self.take(client, event)
    }

    /// As [`step`](Self::step), with an event of this session that has come.
    #[track_caller]
    pub fn take(&mut self, client: &mut Client, event: WireEvent) -> Step {
        let step = self.take_only(client, event);
        if let Step::Coded(coded) = &step
            && coded.flags & V4L2_BUF_FLAG_LAST == 0
            && let Some(index) = self.capture.free.pop()
        {
            self.queue_capture(client, index)
                .expect("a buffer goes back");
        }
        step
    }

    /// As [`take`](Self::take); no buffer is queued again.
    #[track_caller]
    pub fn take_only(&mut self, client: &Client, event: WireEvent) -> Step {
        match event {
            WireEvent::Dqbuf(event) if event.hdr.session_id == self.session => {
                let buffer = event.buffer;
                if buffer.type_ == self.output.type_ {
                    self.output.free.push(buffer.index);
                    let error = buffer.flags & v4l2r::bindings::V4L2_BUF_FLAG_ERROR != 0;
                    return Step::Taken(error);
                }
                assert_eq!(buffer.type_, self.capture.type_);
                let plane = event.planes[0];
                let used = u64::from(plane.bytesused);
                let start = u64::from(plane.data_offset);
                assert_eq!(buffer.memory, self.capture.memory);
                assert!(start <= used && used <= u64::from(plane.length));
                let len = (used - start) as usize;
                let data = if let Some(pages) = self.capture.pages.get(buffer.index as usize) {
                    pages[0].read(start as usize, len)
                } else {
                    let mapping = self.capture.buffers[buffer.index as usize][0];
                    assert!(used <= mapping.len);
                    let shared = &client.link.shared;
                    let read = shared.read(mapping.addr + start, len);
                    read.expect("a mapped buffer")
                };
                self.capture.free.push(buffer.index);
                Step::Coded(Coded {
                    data,
                    flags: buffer.flags,
                    timestamp: buffer.timestamp,
                    sequence: buffer.sequence,
                })
            }
            WireEvent::Event(event) if event.hdr.session_id == self.session => {
                if event.event.type_ == V4L2_EVENT_EOS {
                    Step::EndOfStream
                } else {
                    Step::Other
                }
            }
            WireEvent::Error(event) => panic!("session lost: {event:?}"),
            other => panic!("an event of another session: {other:?}"),
        }
    }

    /// Encodes `frames` and drains: what comes out, without the empty LAST buffer.
    ///
    /// # Panics
    ///
    /// The end is not signalled as it is to be: one EOS, then one empty LAST buffer.
    #[track_caller]
    pub fn encode<'a>(
        &mut self,
        client: &mut Client,
        frames: impl Iterator<Item = (&'a [u8], Timeval)>,
    ) -> Vec<Coded> {
        let mut out = Vec::new();
        let mut ends = 0;
        for (frame, timestamp) in frames {
            while self.output.free.is_empty() {
                match self.step(client) {
                    Step::Coded(coded) => out.push(coded),
                    Step::EndOfStream => ends += 1,
                    Step::Taken(error) => assert!(!error, "a frame was refused"),
                    Step::Other => {}
                }
            }
            self.queue_frame(client, frame, timestamp).expect("QBUF");
        }
        assert_eq!(ends, 0, "EOS before STOP");
        self.command(client, true).expect("STOP");
        loop {
            match self.step(client) {
                Step::Coded(coded) if coded.flags & V4L2_BUF_FLAG_LAST != 0 => {
                    assert_eq!(ends, 1, "LAST without EOS before it");
                    assert!(coded.data.is_empty(), "LAST with data");
                    return out;
                }
                Step::Coded(coded) => {
                    assert_eq!(ends, 0, "data after EOS");
                    out.push(coded);
                }
                Step::EndOfStream => ends += 1,
                Step::Taken(error) => assert!(!error, "a frame was refused"),
                Step::Other => {}
            }
        }
    }

    /// After [`encode`](Self::encode): goes on in the same session.
    ///
    /// # Errors
    ///
    /// The errno of the ioctl that failed.
    pub fn resume(&mut self, client: &mut Client) -> Result<(), Errno> {
        self.command(client, false)?;
        while let Some(index) = self.capture.free.pop() {
            self.queue_capture(client, index)?;
        }
        Ok(())
    }

    /// Whether `offset` is the `mem_offset` of a plane of this session.
    #[track_caller]
    pub fn known_offset(&self, client: &mut Client, offset: u32) -> bool {
        [&self.output, &self.capture].into_iter().any(|queue| {
            (0..queue.buffers.len() as u32).any(|index| {
                let mut buffer = queue.buffer(index);
                let mut planes = vec![Plane::default(); usize::from(queue.format.num_planes)];
                client
                    .buffer(self.session, ioctl::QUERYBUF, &mut buffer, &mut planes, &[])
                    .expect("QUERYBUF");
                planes.iter().any(|plane| plane.m == u64::from(offset))
            })
        })
    }

    /// EXPBUF of all planes of all raw frames.
    ///
    /// # Errors
    ///
    /// The device's errno.
    pub fn export(&self, client: &mut Client) -> Result<Vec<Vec<Uuid>>, Errno> {
        let (session, type_) = (self.session, self.output.type_);
        let planes = u32::from(self.output.format.num_planes);
        (0..self.output.buffers.len() as u32)
            .map(|index| {
                let planes = 0..planes;
                planes
                    .map(|at| client.expbuf(session, (type_, index, at)))
                    .collect()
            })
            .collect()
    }

    /// Unmaps and closes.
    pub fn end(self, client: &mut Client) {
        client.close(self.session);
        for mapping in self
            .output
            .buffers
            .iter()
            .chain(&self.capture.buffers)
            .flatten()
        {
            client.munmap(mapping.addr).expect("MUNMAP");
        }
    }
}

fn set_format(
    client: &mut Client,
    session: u32,
    type_: u32,
    pix: &PixFormatMplane,
) -> Result<PixFormatMplane, Errno> {
    let mut format = Format {
        type_,
        ..Format::default()
    };
    format.set_pix_mp(pix);
    client.ioctl(session, ioctl::S_FMT, &mut format)?;
    let set = format.pix_mp();
    assert_eq!(set.pixelformat, pix.pixelformat, "the format is not there");
    Ok(set)
}

impl Queue {
    fn allocate(
        client: &mut Client,
        session: u32,
        (type_, count, memory): (u32, u32, Memory),
        format: PixFormatMplane,
    ) -> Result<Self, Errno> {
        let number = memory.number();
        let count = client.reqbufs(session, (type_, count, number))?;
        let mut queue = Self {
            type_,
            memory: number,
            format,
            buffers: Vec::new(),
            pages: Vec::new(),
            objects: Vec::new(),
            free: (0..count).rev().collect(),
        };
        if memory == Memory::Objects {
            return Ok(queue);
        }
        for index in 0..count {
            let mut buffer = queue.buffer(index);
            let mut planes = vec![Plane::default(); usize::from(format.num_planes)];
            client.buffer(session, ioctl::QUERYBUF, &mut buffer, &mut planes, &[])?;
            let pages: Vec<Pages> = planes
                .iter()
                .filter_map(|plane| memory.pages(client, plane.length as usize))
                .collect();
            if !pages.is_empty() {
                queue.pages.push(pages);
                continue;
            }
            let mut mappings = Vec::new();
            for plane in &planes {
                let offset = u32::try_from(plane.m).expect("mem_offset of 32 bits");
                let mapping = client.mmap(session, offset)?;
                assert_eq!(mapping.len, u64::from(plane.length));
                mappings.push(mapping);
            }
            queue.buffers.push(mappings);
        }
        Ok(queue)
    }

    /// `struct v4l2_buffer` for buffer `index`.
    pub fn buffer(&self, index: u32) -> Buffer {
        Buffer {
            index,
            type_: self.type_,
            memory: self.memory,
            length: u32::from(self.format.num_planes),
            ..Buffer::default()
        }
    }

    /// `struct v4l2_plane` for each plane of buffer `index`.
    pub fn planes(&self, index: u32) -> Vec<Plane> {
        let index = index as usize;
        let lengths: Vec<u32> = match self.pages.get(index) {
            Some(pages) => pages.iter().map(|plane| plane.len() as u32).collect(),
            None => self.buffers[index].iter().map(|m| m.len as u32).collect(),
        };
        lengths
            .into_iter()
            .map(|length| Plane {
                length,
                ..Plane::default()
            })
            .collect()
    }

    /// SG lists or UUIDs of buffer `index`, if the memory is the program's.
    pub fn lists(&self, index: u32) -> Vec<u8> {
        if let Some(uuids) = self.objects.get(index as usize) {
            return uuids.as_bytes().to_vec();
        }
        let pages = self.pages.get(index as usize);
        let planes = pages.into_iter().flatten();
        planes.flat_map(Pages::as_bytes).copied().collect()
    }
}
