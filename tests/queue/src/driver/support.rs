// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A session's buffers without a session, and a device that notes what it is given.

use crate::driver::queue::{
    Clock, Fence, Imported, Nothing, Posted, Ready, Rules, Slot, Slots, Streams,
};
use crate::prelude::{Error, Result, ENODEV, GFP_KERNEL_ACCOUNT};
use crate::wire::v4l2::{
    self, Buffer, Plane, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, VIDEO_MAX_PLANES,
};
use std::cell::Cell;
use std::rc::Rc;

pub(crate) const CAPTURE: u32 = v4l2::BUF_TYPE_VIDEO_CAPTURE;
pub(crate) const OUTPUT: u32 = v4l2::BUF_TYPE_VIDEO_OUTPUT;
pub(crate) const CAPTURE_MPLANE: u32 = v4l2::BUF_TYPE_VIDEO_CAPTURE_MPLANE;
pub(crate) const OUTPUT_MPLANE: u32 = v4l2::BUF_TYPE_VIDEO_OUTPUT_MPLANE;

/// Bytes of a plane of the buffers here.
pub(crate) const LENGTH: u32 = 4096;

/// What another device has yet to do.
#[derive(Clone)]
pub(crate) struct Gate(pub(crate) Rc<Cell<Ready>>);

impl Gate {
    pub(crate) fn new(ready: Ready) -> Self {
        Self(Rc::new(Cell::new(ready)))
    }
}

impl Fence for Gate {
    fn ready(&self) -> Ready {
        self.0.get()
    }
}

/// A request: number of the QBUF, or 0 for a STOP.
pub(crate) type Request = u64;

pub(crate) struct Session {
    pub(crate) streams: Streams<Request, Gate>,
    pub(crate) clock: Clock,
    /// What the device has been given, in order.
    pub(crate) posted: Vec<Request>,
    /// Whether the device takes anything.
    pub(crate) gone: bool,
    next: u64,
}

/// A buffer and planes of which a client has filled in kind and index only, and how many planes it
/// has room for.
fn empty(buf_type: u32, index: u32) -> (Buffer, [Plane; VIDEO_MAX_PLANES], usize) {
    let buffer = Buffer {
        index,
        type_: buf_type,
        ..Buffer::default()
    };
    let count = if buf_type >= CAPTURE_MPLANE {
        VIDEO_MAX_PLANES
    } else {
        0
    };
    (buffer, [Plane::default(); VIDEO_MAX_PLANES], count)
}

/// A buffer as the device describes it in QUERYBUF.
pub(crate) fn described(
    buf_type: u32,
    index: u32,
    planes: usize,
) -> (Buffer, [Plane; VIDEO_MAX_PLANES]) {
    let mut array = [Plane::default(); VIDEO_MAX_PLANES];
    let mut buffer = Buffer {
        index,
        type_: buf_type,
        ..Buffer::default()
    };
    if buf_type >= CAPTURE_MPLANE {
        buffer.length = planes as u32;
        for (at, plane) in array.iter_mut().enumerate().take(planes) {
            plane.length = LENGTH;
            plane.m = 0x1000_0000 + u64::from(index) * 0x10_0000 + at as u64 * 0x1_0000;
        }
    } else {
        buffer.length = LENGTH;
        buffer.m = 0x1000_0000 + u64::from(index) * 0x10_0000;
    }
    (buffer, array)
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            streams: Streams::new().unwrap(),
            clock: Clock::new(),
            posted: Vec::new(),
            gone: false,
            next: 0,
        }
    }

    /// As after REQBUFS of `count` buffers with `planes` planes and STREAMON.
    pub(crate) fn with_buffers(buf_type: u32, memory: u32, count: u32, planes: usize) -> Self {
        let mut this = Self::new();
        this.reqbufs(buf_type, memory, count, planes);
        this.streams.start(buf_type);
        this
    }

    pub(crate) fn reqbufs(&mut self, buf_type: u32, memory: u32, count: u32, planes: usize) {
        let mut slots = new_slots(buf_type, 0, count, planes);
        let rules = rules(buf_type, memory);
        let stop = self
            .streams
            .get(buf_type)
            .unwrap()
            .replace(&mut slots, rules);
        assert_eq!(stop, None);
    }

    /// QBUF as the driver does it: check, build, post or wait. Returns its number.
    pub(crate) fn qbuf(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane],
        fence: Option<Gate>,
    ) -> Result<u64> {
        let queue = self.streams.get(buffer.type_)?;
        let wanted = queue.import_request(buffer, planes, false, self.next + 1)?;
        self.next += 1;
        let number = self.next;
        let imported = Imported {
            wire_memory: wanted.rules.wire_memory,
            lengths: wanted.layout.lengths,
        };
        let imported = (wanted.rules.wire_memory != MEMORY_MMAP).then_some(&imported);
        queue.build(buffer, planes, imported, false)?;
        queue.take_request(buffer.index)?;
        if fence.is_some() || queue.has_pending() {
            queue.wait(buffer.index, number, number, fence);
        } else if self.gone {
            queue.failed(buffer.index, number);
            return Err(ENODEV);
        } else {
            self.posted.push(number);
            queue.queue(buffer.index, number, 0);
        }
        self.advance();
        Ok(number)
    }

    /// QBUF of a buffer with full planes.
    pub(crate) fn queue(&mut self, buf_type: u32, index: u32, fence: Option<Gate>) -> Result<u64> {
        let (buffer, planes, count) = self.argument(buf_type, index);
        self.qbuf(&buffer, &planes[..count], fence)
    }

    /// The argument of QBUF, as a client fills it in after QUERYBUF.
    pub(crate) fn argument(
        &mut self,
        buf_type: u32,
        index: u32,
    ) -> (Buffer, [Plane; VIDEO_MAX_PLANES], usize) {
        let (mut buffer, mut planes, count) = empty(buf_type, index);
        let _ = self
            .streams
            .get(buf_type)
            .unwrap()
            .fill(&mut buffer, &mut planes[..count]);
        buffer.flags = 0;
        (buffer, planes, count)
    }

    pub(crate) fn advance(&mut self) {
        let (posted, gone) = (&mut self.posted, self.gone);
        self.streams
            .advance(&mut |request| post(posted, gone, request));
    }

    pub(crate) fn freeze(&mut self, buf_type: u32) {
        let (posted, gone) = (&mut self.posted, self.gone);
        let queue = self.streams.get(buf_type).unwrap();
        queue.freeze(&mut |request| post(posted, gone, request));
    }

    /// The device returns a buffer, with `bytesused` and `flags`.
    pub(crate) fn give_back(
        &mut self,
        buf_type: u32,
        index: u32,
        bytesused: u32,
        flags: u32,
    ) -> Result<bool> {
        let (mut buffer, mut planes) = described(buf_type, index, 2);
        (buffer.bytesused, buffer.flags) = (bytesused, flags);
        for plane in &mut planes {
            plane.bytesused = bytesused;
        }
        self.streams
            .returned(&buffer, &planes, &mut self.clock, 1_000_000, 1)
    }

    /// DQBUF: index and flags.
    pub(crate) fn dqbuf(&mut self, buf_type: u32) -> Result<(u32, u32), Nothing> {
        let (mut buffer, mut planes, count) = empty(buf_type, 0);
        let queue = self.streams.get(buf_type).map_err(Nothing::Ever)?;
        queue.dequeue(&mut buffer, &mut planes[..count])?;
        Ok((buffer.index, buffer.flags))
    }

    /// What QUERYBUF says of a buffer's flags, without the kind of timestamp.
    pub(crate) fn flags(&mut self, buf_type: u32, index: u32) -> u32 {
        let (mut buffer, mut planes, count) = empty(buf_type, index);
        let queue = self.streams.get(buf_type).unwrap();
        queue.fill(&mut buffer, &mut planes[..count]).unwrap();
        buffer.flags & !v4l2::BUF_FLAG_TIMESTAMP_MASK
    }
}

fn post(
    posted: &mut Vec<Request>,
    gone: bool,
    request: Request,
) -> Result<Posted, (Request, Error)> {
    if gone {
        return Err((request, ENODEV));
    }
    posted.push(request);
    Ok(Posted {
        batch: 0,
        drain: false,
    })
}

pub(crate) fn rules(buf_type: u32, memory: u32) -> Rules {
    Rules {
        output: crate::wire::v4l2::is_output(buf_type),
        memory,
        wire_memory: match memory {
            MEMORY_MMAP => MEMORY_MMAP,
            MEMORY_DMABUF | MEMORY_USERPTR => MEMORY_USERPTR,
            other => other,
        },
        field: v4l2::FIELD_NONE,
        ..Rules::default()
    }
}

pub(crate) fn new_slots(
    buf_type: u32,
    first: u32,
    count: u32,
    planes: usize,
) -> Slots<Request, Gate> {
    let mut slots = Slots::new();
    for index in first..first + count {
        let (buffer, array) = described(buf_type, index, planes);
        slots
            .push(
                Some(Slot::new(&buffer, &array).unwrap()),
                GFP_KERNEL_ACCOUNT,
            )
            .unwrap();
    }
    slots
}
