// SPDX-License-Identifier: GPL-2.0

//! A buffer: checks what a client passes in, fills in what it gets back.

use super::clock::Clock;
use super::fate::Fate;
use super::mapping::{offset, Users};
use super::rules::{flag, ImportRequest, Imported, Layout, OnWire, Purpose, Rules};
use crate::wire::v4l2::{self, is_multiplanar, Buffer, Plane, MEMORY_MMAP, VIDEO_MAX_PLANES};
use kernel::prelude::*;
use kernel::sync::Arc;

/// "Invalid request descriptor", which the `kernel` crate has no name for.
const EBADR: i32 = 53;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Dequeued,
    /// Pending on a fence, its own or that of a buffer before it.
    Pending,
    /// With the device.
    Queued,
    Done,
}

/// A buffer.
pub(in crate::driver) struct Slot<R, F> {
    pub(super) state: State,
    /// PREPARE_BUF has fixed its payload.
    pub(super) prepared: bool,
    /// What it carries is of no use. Means something when it is `Done`.
    pub(super) failed: bool,
    /// The next of those that are pending, or of those that are done.
    pub(super) next: Option<u32>,
    /// Number of the QBUF that was posted last.
    pub(super) posting: u64,
    /// What has become of its QBUFs and PREPARE_BUFs.
    pub(super) fate: Fate,
    /// What must be over before the device may have it. Means something when it is `Pending`.
    pub(super) fence: Option<F>,
    /// The QBUF, for the next time; not here while the device has it.
    pub(super) request: Option<R>,
    /// As QUERYBUF answers, but for the flags of state and the planes.
    buffer: Buffer,
    /// Of a single-planar buffer one, as videobuf2 has it. `m` is what the client named in QBUF: an
    /// address or a file descriptor. (Where it maps MMAP buffers follows from their index:
    /// [`offset`].)
    planes: [Plane; VIDEO_MAX_PLANES],
    layout: Layout,
    /// What the device calls the planes for MMAP; clients know them by other numbers.
    offsets: [u64; VIDEO_MAX_PLANES],
    /// Who has mapped it.
    pub(super) users: Arc<Users>,
    /// Its memory, as the device knows it.
    wire_memory: u32,
}

/// Size of a plane of a buffer of `buf_type`, on the wire; a single-planar buffer has none apart
/// from it.
const fn planes_on_wire(buf_type: u32, count: usize) -> usize {
    if is_multiplanar(buf_type) {
        count
    } else {
        0
    }
}

impl<R, F> Slot<R, F> {
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
            layout: Layout {
                planes: 1,
                ..Layout::default()
            },
            offsets: [0; VIDEO_MAX_PLANES],
            users: Users::none()?,
            wire_memory: MEMORY_MMAP,
        };
        slot.buffer.flags &= v4l2::BUF_FLAG_TIMESTAMP_MASK | v4l2::BUF_FLAG_TSTAMP_SRC_MASK;
        if is_multiplanar(buffer.type_) {
            let count = buffer.length as usize;
            slot.layout.planes = count;
            if count == 0 || count > planes.len() {
                return Err(EIO);
            }
            let to = slot.layout.lengths.iter_mut().zip(&mut slot.offsets);
            for ((length, offset), from) in to.zip(planes).take(count) {
                (*length, *offset) = (from.length, from.m);
            }
        } else {
            slot.layout.lengths[0] = buffer.length;
            slot.offsets[0] = buffer.m;
        }
        for (plane, length) in slot.planes.iter_mut().zip(slot.layout.lengths) {
            plane.length = length;
        }
        Ok(slot)
    }

    /// Length of the QBUF on the wire, without what follows it.
    pub(in crate::driver) fn wire_size(&self) -> usize {
        let planes = planes_on_wire(self.buffer.type_, self.layout.planes);
        size_of::<Buffer>() + planes * size_of::<Plane>()
    }

    fn copies_timestamps(&self) -> bool {
        self.buffer.flags & v4l2::BUF_FLAG_TIMESTAMP_MASK == v4l2::BUF_FLAG_TIMESTAMP_COPY
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
            && !(self.layout.planes..=VIDEO_MAX_PLANES).contains(&planes.len())
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
        if prepare && buffer.flags & v4l2::BUF_FLAG_REQUEST_FD != 0 {
            return Err(EINVAL);
        }
        if rules.output && !self.prepared {
            // How long imported memory is is only known when it is imported.
            if rules.wire_memory == MEMORY_MMAP {
                for at in 0..self.layout.planes {
                    let length = self.planes.get(at).map_or(0, |own| own.length);
                    check_payload(length, &self.said(at, buffer, planes))?;
                }
            }
            if buffer.field == v4l2::FIELD_ALTERNATE {
                return Err(EINVAL);
            }
        }
        if !prepare && buffer.flags & v4l2::BUF_FLAG_REQUEST_FD != 0 {
            return Err(Error::from_errno(-EBADR));
        }
        if self.state != State::Dequeued || (prepare && self.prepared) {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Takes over what memory has been imported.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the payload is not within it.
    pub(super) fn set_memory(
        &mut self,
        rules: &Rules,
        imported: &Imported,
        buffer: &Buffer,
        planes: &[Plane],
    ) -> Result {
        let lengths = imported.lengths.iter().take(self.layout.planes);
        if rules.output && !self.prepared {
            for (at, length) in lengths.clone().enumerate() {
                check_payload(*length, &self.said(at, buffer, planes))?;
            }
        }
        for (at, length) in lengths.enumerate() {
            let m = self.said(at, buffer, planes).m;
            let Some(plane) = self.planes.get_mut(at) else {
                break;
            };
            plane.length = *length;
            if !self.prepared {
                plane.m = m;
            }
        }
        self.wire_memory = imported.wire_memory;
        Ok(())
    }

    /// The planes as the format wants them.
    pub(in crate::driver) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Length of a plane, and what the device calls it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none.
    pub(super) fn plane(&self, at: usize) -> Result<(u32, u64)> {
        let planes = self.planes.get(..self.layout.planes).unwrap_or_default();
        let plane = planes.get(at).ok_or(EINVAL)?;
        let offset = self.offsets.get(at).ok_or(EINVAL)?;
        Ok((plane.length, *offset))
    }

    /// What memory QBUF (or PREPARE_BUF) number `number` is to have imported.
    pub(super) fn import_request(
        &self,
        rules: &Rules,
        number: u64,
        prepare: bool,
    ) -> ImportRequest {
        ImportRequest {
            rules: *rules,
            layout: self.layout,
            purpose: match (prepare, self.prepared) {
                (true, _) => Purpose::Prepare,
                (false, true) => Purpose::QueuePrepared,
                (false, false) => Purpose::Queue,
            },
            number,
            fate: self.fate,
        }
    }

    /// Takes over the client's argument, which [`Self::check`] has let pass.
    pub(super) fn take_argument(&mut self, rules: &Rules, buffer: &Buffer, planes: &[Plane]) {
        if self.prepared {
            return;
        }
        for at in 0..self.layout.planes {
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
        if rules.capabilities & v4l2::BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS == 0 {
            flags &= !flag::CACHE_HINTS;
        }
        if rules.output {
            flags &= !v4l2::BUF_FLAG_TIMECODE;
            if rules.capabilities & v4l2::BUF_CAP_SUPPORTS_M2M_HOLD_CAPTURE_BUF == 0 {
                flags &= !v4l2::BUF_FLAG_M2M_HOLD_CAPTURE_BUF;
            }
            self.buffer.field = match buffer.field {
                v4l2::FIELD_ANY => rules.field,
                field => field,
            };
        } else {
            flags &= !(flag::FRAME | v4l2::BUF_FLAG_LAST);
        }
        if !rules.output || !self.copies_timestamps() {
            flags &= !v4l2::BUF_FLAG_TSTAMP_SRC_MASK;
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
        if buffer.flags & v4l2::BUF_FLAG_TIMECODE != 0 {
            self.buffer.flags |= v4l2::BUF_FLAG_TIMECODE;
            self.buffer.timecode = buffer.timecode;
        }
    }

    /// Replaces the flags that the driver does not set itself. Where timestamps are not copied
    /// their source is fixed.
    fn set_flags(&mut self, flags: u32) {
        let mut kept = v4l2::BUF_FLAG_TIMESTAMP_MASK;
        if !self.copies_timestamps() {
            kept |= v4l2::BUF_FLAG_TSTAMP_SRC_MASK;
        }
        self.buffer.flags = self.buffer.flags & kept | flags & !flag::OURS & !kept;
    }

    /// Takes over a buffer that the device returns. A program reads from `data_offset` to
    /// `bytesused`, so it is an error if that range is not within the plane.
    pub(super) fn take_back(&mut self, buffer: &Buffer, planes: &[Plane; VIDEO_MAX_PLANES]) {
        self.failed = buffer.flags & v4l2::BUF_FLAG_ERROR != 0;
        for at in 0..self.layout.planes {
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

    /// Makes a time of the device's clock one of this machine's; `last` is the one before in the
    /// queue.
    pub(super) fn translate(&mut self, clock: &mut Clock, last: &mut i64, now: i64) {
        if self.buffer.flags & v4l2::BUF_FLAG_TIMESTAMP_MASK == v4l2::BUF_FLAG_TIMESTAMP_MONOTONIC {
            self.buffer.timestamp = clock.translate(self.buffer.timestamp, last, now);
        }
    }

    /// The buffer never reached the device.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        for plane in &mut self.planes {
            (plane.bytesused, plane.data_offset) = (0, 0);
        }
    }

    /// Fills in the client's `struct v4l2_buffer`. There are as many `planes` as
    /// [`Self::check_planes`] wants.
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
            State::Dequeued if self.prepared => v4l2::BUF_FLAG_PREPARED,
            State::Dequeued => 0,
            State::Pending | State::Queued => v4l2::BUF_FLAG_QUEUED,
            State::Done if self.failed => v4l2::BUF_FLAG_DONE | v4l2::BUF_FLAG_ERROR,
            State::Done => v4l2::BUF_FLAG_DONE,
        };
        if rules.memory == MEMORY_MMAP && self.users.any() {
            buffer.flags |= v4l2::BUF_FLAG_MAPPED;
        }
        if is_multiplanar(self.buffer.type_) {
            buffer.m = pointer;
            buffer.length = self.layout.planes as u32;
            for (at, to) in planes.iter_mut().enumerate().take(self.layout.planes) {
                *to = self.describe(rules, at);
            }
        } else {
            let plane = self.describe(rules, 0);
            buffer.bytesused = plane.bytesused;
            buffer.length = plane.length;
            buffer.m = plane.m;
        }
    }

    /// A plane, as the client sees it.
    fn describe(&self, rules: &Rules, at: usize) -> Plane {
        let mut plane = self.planes.get(at).copied().unwrap_or_default();
        if rules.memory == MEMORY_MMAP {
            plane.m = offset(self.buffer.type_, self.buffer.index, at).unwrap_or(0);
        }
        plane
    }

    /// The argument of QBUF as the device is to have it.
    pub(super) fn on_wire(&self, rules: &Rules) -> OnWire {
        let mut wire = OnWire {
            buffer: Buffer::default(),
            planes: self.planes,
            count: planes_on_wire(self.buffer.type_, self.layout.planes),
        };
        self.fill(rules, &mut wire.buffer, &mut []);
        wire.buffer.memory = self.wire_memory;
        wire.buffer.flags = self.buffer.flags & !v4l2::BUF_FLAG_TIMESTAMP_MASK;
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
