// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One buffer of a queue.

use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use protocol::wire::v4l2::{Buffer, Plane, Timecode, Timeval};

use crate::device::encoder::uapi::*;
use crate::memory::{Fence, HostBuffer, PlaneMemory};

/// Whose a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The client's.
    Dequeued,
    /// The client's, with its payload settled by PREPARE_BUF.
    Prepared,
    /// Waits its turn.
    Queued,
    /// In the encoder.
    Active,
}

/// A plane of a buffer.
#[derive(Debug)]
pub struct SlotPlane {
    /// Its memory. That of a client is here only while the device has the buffer.
    pub memory: Option<PlaneMemory>,
    /// Length of its memory in bytes, or of what was last lent.
    pub length: u32,
    /// Bytes that it must have.
    pub least: u32,
    /// Its `mem_offset`; 0 for memory of a client.
    pub offset: u32,
}

impl SlotPlane {
    /// A plane of an MMAP buffer.
    pub fn own(memory: Arc<HostBuffer>, offset: u32) -> Self {
        let length = memory.len() as u32;
        Self {
            memory: Some(PlaneMemory::Own(memory)),
            length,
            least: length,
            offset,
        }
    }

    /// A plane for which a client is to lend at least so many bytes.
    pub fn lent(least: u32) -> Self {
        Self {
            memory: None,
            length: least,
            least,
            offset: 0,
        }
    }
}

/// What a client said of a buffer when it queued or prepared it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// `bytesused` and `data_offset` of each plane.
    pub planes: Vec<(u32, u32)>,
    /// Field order.
    pub field: u32,
    /// Exactly as the client wrote it.
    pub timestamp: Timeval,
    /// Valid with `V4L2_BUF_FLAG_TIMECODE`.
    pub timecode: Timecode,
    /// Flags of the client that travel with the frame.
    pub flags: u32,
    /// A key frame was asked for before this frame was queued.
    pub force_key: bool,
    /// When the kick came with which the frame was queued.
    pub since: Option<Instant>,
}

/// Flags of an OUTPUT buffer that its CAPTURE buffer gets too.
pub const COPIED_FLAGS: u32 = V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
/// Flags of an OUTPUT buffer that come back with it.
const OUTPUT_FLAGS: u32 =
    COPIED_FLAGS | V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_BFRAME;

impl Payload {
    /// Takes over what QBUF says of time: even of a prepared buffer.
    pub fn stamp(&mut self, buffer: &Buffer) {
        self.timestamp = buffer.timestamp;
        self.flags = buffer.flags & OUTPUT_FLAGS;
        if self.flags & V4L2_BUF_FLAG_TIMECODE != 0 {
            self.timecode = buffer.timecode;
        }
    }

    /// Gives it back.
    pub fn restore_stamp(&self, buffer: &mut Buffer) {
        buffer.timestamp = self.timestamp;
        buffer.flags |= self.flags;
        if self.flags & V4L2_BUF_FLAG_TIMECODE != 0 {
            buffer.timecode = self.timecode;
        }
    }

    /// What DQBUF of an OUTPUT buffer gives back.
    pub fn restore(&self, buffer: &mut Buffer, planes: &mut [Plane]) {
        self.restore_stamp(buffer);
        for (plane, (bytesused, data_offset)) in planes.iter_mut().zip(&self.planes) {
            plane.bytesused = *bytesused;
            plane.data_offset = *data_offset;
        }
    }
}

/// A buffer.
#[derive(Debug)]
pub struct Slot {
    /// Planes.
    pub planes: Vec<SlotPlane>,
    /// Whose it is.
    pub state: State,
    /// `V4L2_MEMORY_*`, as it was last queued.
    pub memory: u32,
    /// What it carries, unless it is the client's.
    pub payload: Payload,
    /// What must happen before the device may use its memory.
    pub fence: Option<Fence>,
}

impl Slot {
    /// A buffer that belongs to the client.
    pub fn new(planes: Vec<SlotPlane>, memory: u32) -> Self {
        Self {
            planes,
            memory,
            state: State::Dequeued,
            payload: Payload::default(),
            fence: None,
        }
    }

    /// The client has it again, and what it lent.
    pub fn give_back(&mut self) {
        self.state = State::Dequeued;
        self.fence = None;
        for plane in &mut self.planes {
            plane
                .memory
                .take_if(|memory| !matches!(memory, PlaneMemory::Own(_)));
        }
    }

    /// Lengths of the memory of each plane when a client queues these.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it lends too little.
    pub fn lengths(&self, memory: u32, planes: &[Plane]) -> Result<Vec<u32>, Errno> {
        let lengths = self.planes.iter().zip(planes).map(|(own, plane)| {
            if memory == MEMORY_MMAP {
                Ok(own.length)
            } else if plane.length < own.least {
                Err(Errno::EINVAL)
            } else {
                Ok(plane.length)
            }
        });
        lengths.collect()
    }

    /// What the buffer carries when a client queues it like this. `lengths` are those of its memory, `sizes` the bytes
    /// that a frame takes in each plane.
    ///
    /// # Errors
    ///
    /// `EINVAL` when that makes no sense.
    pub fn payload(
        &self,
        output: bool,
        buffer: &Buffer,
        planes: &[Plane],
        (lengths, sizes): (&[u32], &[u32]),
    ) -> Result<Payload, Errno> {
        if !output {
            return Ok(Payload {
                planes: vec![(0, 0); self.planes.len()],
                ..Payload::default()
            });
        }
        if !matches!(buffer.field, FIELD_ANY | FIELD_NONE) {
            return Err(Errno::EINVAL);
        }
        let mut settled = Vec::with_capacity(self.planes.len());
        for (at, (length, plane)) in lengths.iter().zip(planes).enumerate() {
            let length = u64::from(*length);
            let bytesused = match plane.bytesused {
                0 => length,
                bytes => bytes.into(),
            };
            let offset = u64::from(plane.data_offset);
            let size = sizes.get(at).copied().unwrap_or(0);
            // The last one: a frame that starts so late would reach over the end of the plane.
            if bytesused > length
                || (offset > 0 && offset >= bytesused)
                || offset + u64::from(size) > length
            {
                return Err(Errno::EINVAL);
            }
            settled.push((bytesused as u32, plane.data_offset));
        }
        Ok(Payload {
            planes: settled,
            field: FIELD_NONE,
            ..Payload::default()
        })
    }
}
