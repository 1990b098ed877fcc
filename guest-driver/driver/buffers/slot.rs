// SPDX-License-Identifier: GPL-2.0

//! A buffer, by the rules of videobuf2: what a client may say of it, and what it is told.

use super::mapped::Users;
use crate::driver::clock::Clock;
use crate::driver::command::CommandRequest;
use crate::driver::lend::{Fate, FenceState, Layout, Loan, Occasion, Purpose};
use crate::wire::v4l2::{is_multiplanar, Buffer, Plane, MEMORY_MMAP, VIDEO_MAX_PLANES};
use kernel::prelude::*;
use kernel::sync::Arc;

/// `V4L2_BUF_FLAG_*`.
pub(in crate::driver) mod flag {
    pub(in crate::driver) const MAPPED: u32 = 0x0000_0001;
    pub(in crate::driver) const QUEUED: u32 = 0x0000_0002;
    pub(in crate::driver) const DONE: u32 = 0x0000_0004;
    pub(in crate::driver) const ERROR: u32 = 0x0000_0040;
    pub(in crate::driver) const TIMECODE: u32 = 0x0000_0100;
    pub(in crate::driver) const HOLD_CAPTURE: u32 = 0x0000_0200;
    pub(in crate::driver) const PREPARED: u32 = 0x0000_0400;
    pub(in crate::driver) const CACHE_HINTS: u32 = 0x0000_0800 | 0x0000_1000;
    pub(in crate::driver) const TIMESTAMP_MASK: u32 = 0x0000_e000;
    pub(in crate::driver) const TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;
    pub(in crate::driver) const TIMESTAMP_COPY: u32 = 0x0000_4000;
    pub(in crate::driver) const TIMESTAMP_SOURCE: u32 = 0x0007_0000;
    pub(in crate::driver) const LAST: u32 = 0x0010_0000;
    pub(in crate::driver) const REQUEST_FD: u32 = 0x0080_0000;
    /// Not the client's to say: state, mapping, requests, and the kind of timestamp.
    pub(in crate::driver) const OURS: u32 =
        MAPPED | QUEUED | DONE | ERROR | 0x0080 | PREPARED | REQUEST_FD | TIMESTAMP_MASK;
    /// What a frame is; said of OUTPUT buffers by the client, of CAPTURE buffers by the device.
    pub(in crate::driver) const FRAME: u32 = 0x0008 | 0x0010 | 0x0020 | TIMECODE | HOLD_CAPTURE;
}

/// "Invalid request descriptor", which the `kernel` crate has no name for.
const EBADR: i32 = 53;

/// `V4L2_FIELD_ANY`.
const FIELD_ANY: u32 = 0;
/// `V4L2_FIELD_ALTERNATE`.
const FIELD_ALTERNATE: u32 = 7;

/// `V4L2_BUF_CAP_SUPPORTS_M2M_HOLD_CAPTURE_BUF`.
const CAP_HOLD_CAPTURE: u32 = 0x0020;
/// `V4L2_BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS`.
const CAP_CACHE_HINTS: u32 = 0x0040;

/// What holds for all buffers of a queue.
#[derive(Clone, Copy, Default)]
pub(in crate::driver) struct Rules {
    /// They carry data to the device.
    pub(in crate::driver) output: bool,
    /// Their memory, as the client knows it.
    pub(in crate::driver) memory: u32,
    /// Their memory, as the device knows it.
    pub(in crate::driver) wire_memory: u32,
    /// What `V4L2_FIELD_ANY` means for OUTPUT: the format's field.
    pub(in crate::driver) field: u32,
    /// `V4L2_BUF_CAP_*`.
    pub(in crate::driver) capabilities: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Dequeued,
    /// In its queue's line.
    Held,
    /// With the device.
    Queued,
    Done,
}

/// A buffer.
pub(in crate::driver) struct Slot {
    pub(super) state: State,
    /// Its payload was settled by PREPARE_BUF.
    pub(super) prepared: bool,
    /// What it carries is of no use. Means something when it is `Done`.
    pub(super) failed: bool,
    /// The next in line, or of those that are done.
    pub(super) next: Option<u32>,
    /// Number of the QBUF that was posted last.
    pub(super) posting: u64,
    /// What has become of its QBUFs and PREPARE_BUFs.
    pub(super) fate: Fate,
    /// What must be over before the device may have it. Means something when it is `Held`.
    pub(super) fence: Option<Arc<FenceState>>,
    /// The QBUF, for the next time; not here while the device has it.
    pub(super) request: Option<CommandRequest>,
    /// As QUERYBUF answers, but for the flags of state and the planes.
    buffer: Buffer,
    /// Of a single-planar buffer one, as videobuf2 has it.
    planes: [Plane; VIDEO_MAX_PLANES],
    count: usize,
    /// What the device calls the planes for MMAP; clients know them by other numbers.
    offsets: [u64; VIDEO_MAX_PLANES],
    /// Who has mapped it.
    pub(super) users: Arc<Users>,
    /// Its memory, as the device knows it.
    wire_memory: u32,
}

/// The argument of QBUF as the device is to have it.
pub(in crate::driver) struct OnWire {
    pub(in crate::driver) buffer: Buffer,
    pub(in crate::driver) planes: [Plane; VIDEO_MAX_PLANES],
    /// How many planes follow the buffer; 0 if it is single-planar.
    pub(in crate::driver) count: usize,
}

/// Size of a plane of a buffer of `buf_type`, on the wire; a single-planar buffer has none apart from it.
const fn planes_on_wire(buf_type: u32, count: usize) -> usize {
    if is_multiplanar(buf_type) {
        count
    } else {
        0
    }
}

impl Slot {
    /// A new buffer, as QUERYBUF of the device describes it.
    ///
    /// # Errors
    ///
    /// `EIO` if it has no planes, or more than there may be; `ENOMEM`.
    pub(in crate::driver) fn new(buffer: &Buffer, planes: &[Plane]) -> Result<Self> {
        let mut slot = Self {
            state: State::Dequeued,
            prepared: false,
            failed: false,
            next: None,
            posting: 0,
            fate: Fate::default(),
            fence: None,
            request: None,
            buffer: *buffer,
            planes: [Plane::default(); VIDEO_MAX_PLANES],
            count: 1,
            offsets: [0; VIDEO_MAX_PLANES],
            users: Users::none()?,
            wire_memory: MEMORY_MMAP,
        };
        slot.buffer.flags &= flag::TIMESTAMP_MASK | flag::TIMESTAMP_SOURCE;
        if is_multiplanar(buffer.type_) {
            slot.count = buffer.length as usize;
            if slot.count == 0 || slot.count > planes.len() {
                return Err(EIO);
            }
            for (to, from) in slot.planes.iter_mut().zip(planes).take(slot.count) {
                to.length = from.length;
                to.m = from.m;
            }
        } else {
            slot.planes[0].length = buffer.length;
            slot.planes[0].m = buffer.m;
        }
        for (to, plane) in slot.offsets.iter_mut().zip(&slot.planes) {
            *to = plane.m;
        }
        Ok(slot)
    }

    /// Length of the QBUF on the wire, without what follows it.
    pub(in crate::driver) fn wire_size(&self) -> usize {
        let planes = planes_on_wire(self.buffer.type_, self.count);
        size_of::<Buffer>() + planes * size_of::<Plane>()
    }

    fn copies_timestamps(&self) -> bool {
        self.buffer.flags & flag::TIMESTAMP_MASK == flag::TIMESTAMP_COPY
    }

    /// What the client says of a plane.
    fn said(&self, at: usize, buffer: &Buffer, planes: &[Plane]) -> Plane {
        if is_multiplanar(self.buffer.type_) {
            return planes.get(at).copied().unwrap_or_default();
        }
        Plane {
            bytesused: buffer.bytesused,
            length: buffer.length,
            m: buffer.m,
            ..Plane::default()
        }
    }

    /// Whether the client has brought an array for the planes.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it has not, or too short a one.
    pub(super) fn check_planes(&self, planes: &[Plane]) -> Result {
        if is_multiplanar(self.buffer.type_)
            && !(self.count..=VIDEO_MAX_PLANES).contains(&planes.len())
        {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Whether the client may queue (or prepare) the buffer like this.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: it is not the client's to queue, or a length or field makes no sense.
    /// - `EBADR`: with a request, which there are none of.
    pub(super) fn check(
        &self,
        rules: &Rules,
        buffer: &Buffer,
        planes: &[Plane],
        prepare: bool,
    ) -> Result {
        if buffer.memory != rules.memory {
            return Err(EINVAL);
        }
        self.check_planes(planes)?;
        if prepare && buffer.flags & flag::REQUEST_FD != 0 {
            return Err(EINVAL);
        }
        if rules.output && !self.prepared {
            // How long memory is that is lent is only known when it is.
            if rules.wire_memory == MEMORY_MMAP {
                for at in 0..self.count {
                    let length = self.planes.get(at).map_or(0, |own| own.length);
                    check_payload(length, &self.said(at, buffer, planes))?;
                }
            }
            if buffer.field == FIELD_ALTERNATE {
                return Err(EINVAL);
            }
        }
        if !prepare && buffer.flags & flag::REQUEST_FD != 0 {
            return Err(Error::from_errno(-EBADR));
        }
        if self.state != State::Dequeued || (prepare && self.prepared) {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Takes over what memory is lent.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the payload is not within it.
    pub(super) fn borrow(
        &mut self,
        rules: &Rules,
        loan: &Loan,
        buffer: &Buffer,
        planes: &[Plane],
    ) -> Result {
        if rules.output && !self.prepared {
            for (at, length) in loan.lengths().iter().enumerate() {
                check_payload(*length, &self.said(at, buffer, planes))?;
            }
        }
        let memory = loan.lengths().iter().zip(loan.pointers());
        for (plane, (length, pointer)) in self.planes.iter_mut().zip(memory) {
            (plane.length, plane.m) = (*length, *pointer);
        }
        self.wire_memory = loan.wire();
        Ok(())
    }

    /// The planes as the format wants them, if nothing was lent yet.
    pub(in crate::driver) fn layout(&self) -> Layout {
        let mut layout = Layout {
            planes: self.count,
            ..Layout::default()
        };
        for (length, plane) in layout.lengths.iter_mut().zip(&self.planes).take(self.count) {
            *length = plane.length;
        }
        layout
    }

    /// Length of a plane, and what the device calls it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none.
    pub(super) fn plane(&self, at: usize) -> Result<(u32, u64)> {
        let planes = self.planes.get(..self.count).unwrap_or_default();
        let plane = planes.get(at).ok_or(EINVAL)?;
        let offset = self.offsets.get(at).ok_or(EINVAL)?;
        Ok((plane.length, *offset))
    }

    /// Sets what the client is to know a plane by.
    pub(in crate::driver) fn set_pointer(&mut self, plane: usize, pointer: u64) {
        if let Some(plane) = self.planes.get_mut(plane) {
            plane.m = pointer;
        }
    }

    /// What QBUF (or PREPARE_BUF) number `number` wants its memory for.
    pub(in crate::driver) fn occasion(&self, number: u64, prepare: bool) -> Occasion {
        Occasion {
            purpose: match (prepare, self.prepared) {
                (true, _) => Purpose::Prepare,
                (false, true) => Purpose::QueuePrepared,
                (false, false) => Purpose::Queue,
            },
            number,
            fate: self.fate,
        }
    }

    /// Takes over what the client says of a buffer that [`Self::check`] has let pass.
    pub(super) fn settle(&mut self, rules: &Rules, buffer: &Buffer, planes: &[Plane]) {
        if self.prepared {
            return;
        }
        for at in 0..self.count {
            let said = self.said(at, buffer, planes);
            let Some(plane) = self.planes.get_mut(at) else {
                break;
            };
            (plane.bytesused, plane.data_offset) = match (rules.output, said.bytesused) {
                (true, 0) => (plane.length, said.data_offset),
                (true, bytes) => (bytes, said.data_offset),
                (false, _) => (0, 0),
            };
        }
        let mut flags = buffer.flags & !flag::OURS;
        if rules.capabilities & CAP_CACHE_HINTS == 0 {
            flags &= !flag::CACHE_HINTS;
        }
        if rules.output {
            flags &= !flag::TIMECODE;
            if rules.capabilities & CAP_HOLD_CAPTURE == 0 {
                flags &= !flag::HOLD_CAPTURE;
            }
            self.buffer.field = match buffer.field {
                FIELD_ANY => rules.field,
                field => field,
            };
        } else {
            flags &= !(flag::FRAME | flag::LAST);
        }
        if !rules.output || !self.copies_timestamps() {
            flags &= !flag::TIMESTAMP_SOURCE;
        }
        self.set_flags(flags);
        self.buffer.sequence = 0;
        self.buffer.timestamp = Default::default();
    }

    /// Takes over what QBUF says of time, even of a prepared buffer.
    pub(super) fn stamp(&mut self, rules: &Rules, buffer: &Buffer) {
        if !rules.output {
            return;
        }
        if self.copies_timestamps() {
            self.buffer.timestamp = buffer.timestamp;
        }
        if buffer.flags & flag::TIMECODE != 0 {
            self.buffer.flags |= flag::TIMECODE;
            self.buffer.timecode = buffer.timecode;
        }
    }

    /// Replaces the flags that are not of the driver's making. Who does not copy timestamps takes them all from one
    /// source.
    fn set_flags(&mut self, flags: u32) {
        let mut kept = flag::TIMESTAMP_MASK;
        if !self.copies_timestamps() {
            kept |= flag::TIMESTAMP_SOURCE;
        }
        self.buffer.flags = self.buffer.flags & kept | flags & !flag::OURS & !kept;
    }

    /// Takes over what the device says of a buffer that it returns. A program reads from `data_offset` to `bytesused`: more
    /// than the length is an error, and so is what ends before it begins.
    pub(super) fn take_back(&mut self, buffer: &Buffer, planes: &[Plane; VIDEO_MAX_PLANES]) {
        self.failed = buffer.flags & flag::ERROR != 0;
        for at in 0..self.count {
            let said = self.said(at, buffer, planes);
            let Some(plane) = self.planes.get_mut(at) else {
                break;
            };
            if said.bytesused > plane.length || said.data_offset > said.bytesused {
                self.failed = true;
                (plane.bytesused, plane.data_offset) = (0, 0);
            } else {
                (plane.bytesused, plane.data_offset) = (said.bytesused, said.data_offset);
            }
        }
        self.set_flags(buffer.flags);
        self.buffer.field = buffer.field;
        self.buffer.timestamp = buffer.timestamp;
        self.buffer.timecode = buffer.timecode;
        self.buffer.sequence = buffer.sequence;
    }

    /// Makes a time of the device's clock one of this machine's; `last` is the one before in the queue.
    pub(super) fn translate(&mut self, clock: &mut Clock, last: &mut i64) {
        if self.buffer.flags & flag::TIMESTAMP_MASK == flag::TIMESTAMP_MONOTONIC {
            self.buffer.timestamp = clock.translate(self.buffer.timestamp, last);
        }
    }

    /// The buffer never reached the device.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        for plane in &mut self.planes {
            (plane.bytesused, plane.data_offset) = (0, 0);
        }
    }

    /// Fills in what the client is told. `planes` are as many as [`Self::check_planes`] wants.
    pub(super) fn fill(&self, rules: &Rules, buffer: &mut Buffer, planes: &mut [Plane]) {
        let pointer = buffer.m;
        *buffer = Buffer {
            memory: rules.memory,
            bytesused: 0,
            reserved2: 0,
            request_fd: 0,
            ..self.buffer
        };
        buffer.flags |= match self.state {
            State::Dequeued if self.prepared => flag::PREPARED,
            State::Dequeued => 0,
            State::Held | State::Queued => flag::QUEUED,
            State::Done if self.failed => flag::DONE | flag::ERROR,
            State::Done => flag::DONE,
        };
        if rules.memory == MEMORY_MMAP && self.users.any() {
            buffer.flags |= flag::MAPPED;
        }
        if is_multiplanar(self.buffer.type_) {
            buffer.m = pointer;
            buffer.length = self.count as u32;
            for (to, from) in planes.iter_mut().zip(&self.planes).take(self.count) {
                *to = *from;
            }
        } else {
            buffer.bytesused = self.planes[0].bytesused;
            buffer.length = self.planes[0].length;
            buffer.m = self.planes[0].m;
        }
    }

    /// The argument of QBUF as the device is to have it.
    pub(super) fn on_wire(&self, rules: &Rules) -> OnWire {
        let mut wire = OnWire {
            buffer: Buffer::default(),
            planes: self.planes,
            count: planes_on_wire(self.buffer.type_, self.count),
        };
        self.fill(rules, &mut wire.buffer, &mut []);
        wire.buffer.memory = self.wire_memory;
        wire.buffer.flags = self.buffer.flags & !flag::TIMESTAMP_MASK;
        // Where clients have or map the memory is none of the device's business.
        let own = match self.wire_memory {
            MEMORY_MMAP => self.offsets,
            _ => [0; VIDEO_MAX_PLANES],
        };
        if wire.count == 0 {
            wire.buffer.m = own[0];
        }
        for (plane, own) in wire.planes.iter_mut().zip(own) {
            plane.m = own;
        }
        wire
    }
}

/// # Errors
///
/// `EINVAL`: the payload of a plane is not within its `length` bytes.
fn check_payload(length: u32, plane: &Plane) -> Result {
    let bytesused = match plane.bytesused {
        0 => length,
        bytes => bytes,
    };
    if bytesused > length || (plane.data_offset > 0 && plane.data_offset >= bytesused) {
        return Err(EINVAL);
    }
    Ok(())
}
