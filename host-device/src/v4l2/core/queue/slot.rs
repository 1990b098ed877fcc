// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One buffer of a queue.

use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::v4l2::{Buffer, Plane, Timecode, Timeval};

use crate::memory::{Fence, HostBuffer, PlaneMemory};
use crate::v4l2::core::uapi::*;

/// State of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The client owns it.
    Dequeued,
    /// The client owns it, and PREPARE_BUF has checked its payload and imported its memory.
    Prepared,
    /// It waits in the queue.
    Queued,
    /// The device works on it.
    Active,
}

/// A plane of a buffer.
#[derive(Debug)]
pub struct SlotPlane {
    /// Its memory. Imported memory is here only while the buffer is prepared, queued or active.
    pub memory: Option<PlaneMemory>,
    /// Length in bytes of its memory, or of what was imported last.
    pub length: u32,
    /// Bytes that it must have at least.
    pub min_length: u32,
    /// Its `mem_offset`; 0 for imported memory.
    pub offset: u32,
}

impl SlotPlane {
    /// A plane of an MMAP buffer.
    pub fn own(memory: Arc<HostBuffer>, offset: u32) -> Self {
        let length = memory.len() as u32;
        Self {
            memory: Some(PlaneMemory::Own(memory)),
            length,
            min_length: length,
            offset,
        }
    }

    /// A plane whose memory is imported: at least `min_length` bytes.
    pub fn imported(min_length: u32) -> Self {
        Self {
            memory: None,
            length: min_length,
            min_length,
            offset: 0,
        }
    }
}

/// What a client said about a buffer when it queued or prepared it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload<T> {
    /// `bytesused` and `data_offset` of each plane.
    pub planes: Vec<(u32, u32)>,
    /// Field order.
    pub field: u32,
    /// Exactly as the client wrote it.
    pub timestamp: Timeval,
    /// Valid with `V4L2_BUF_FLAG_TIMECODE`.
    pub timecode: Timecode,
    /// The flags that come back with the buffer.
    pub flags: u32,
    /// The device's own data of the buffer.
    pub private: T,
}

/// Flags of an OUTPUT buffer that are copied to the CAPTURE buffer that is made from it.
pub const COPIED_FLAGS: u32 = V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
/// Flags of an OUTPUT buffer that DQBUF returns.
const OUTPUT_FLAGS: u32 =
    COPIED_FLAGS | V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_BFRAME;

impl<T> Payload<T> {
    /// Takes over timestamp, timecode and flags of QBUF. QBUF may set them for a prepared buffer,
    /// too.
    pub fn stamp(&mut self, buffer: &Buffer) {
        self.timestamp = buffer.timestamp;
        self.flags = buffer.flags & OUTPUT_FLAGS;
        if self.flags & V4L2_BUF_FLAG_TIMECODE != 0 {
            self.timecode = buffer.timecode;
        }
    }

    /// Writes timestamp, timecode and flags into `buffer`.
    pub fn restore_stamp(&self, buffer: &mut Buffer) {
        buffer.timestamp = self.timestamp;
        buffer.flags |= self.flags;
        if self.flags & V4L2_BUF_FLAG_TIMECODE != 0 {
            buffer.timecode = self.timecode;
        }
    }

    /// Writes what DQBUF returns of an OUTPUT buffer.
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
pub struct Slot<T> {
    /// Planes.
    pub planes: Vec<SlotPlane>,
    /// Its state.
    pub state: State,
    /// `V4L2_MEMORY_*`, as it was last queued.
    pub memory: u32,
    /// What the client said about it when it last queued or prepared it.
    pub payload: Payload<T>,
    /// What the device must wait for before it uses the memory.
    pub fence: Option<Fence>,
}

impl<T: Default> Slot<T> {
    /// A buffer that the client owns.
    pub fn new(planes: Vec<SlotPlane>, memory: u32) -> Self {
        Self {
            planes,
            memory,
            state: State::Dequeued,
            payload: Payload::default(),
            fence: None,
        }
    }

    /// Gives it back to the client, and lets go of imported memory.
    pub fn give_back(&mut self) {
        self.state = State::Dequeued;
        self.fence = None;
        for plane in &mut self.planes {
            plane
                .memory
                .take_if(|memory| !matches!(memory, PlaneMemory::Own(_)));
        }
    }

    /// Length of the memory of each plane when a client queues these `planes`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when imported memory is too small.
    pub fn lengths(&self, memory: u32, planes: &[Plane]) -> Result<Vec<u32>, Errno> {
        let lengths = self.planes.iter().zip(planes).map(|(own, plane)| {
            if memory == MEMORY_MMAP {
                Ok(own.length)
            } else if plane.length < own.min_length {
                Err(Errno::EINVAL)
            } else {
                Ok(plane.length)
            }
        });
        lengths.collect()
    }

    /// The payload of the buffer when a client queues it with these `planes`. `lengths` are those
    /// of its memory, `sizes` the bytes that a frame takes in each plane.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a plane's payload does not fit into its memory, or for an interlaced frame.
    pub fn payload(
        &self,
        output: bool,
        buffer: &Buffer,
        planes: &[Plane],
        (lengths, sizes): (&[u32], &[u32]),
    ) -> Result<Payload<T>, Errno> {
        if !output {
            return Ok(Payload {
                planes: vec![(0, 0); self.planes.len()],
                ..Payload::default()
            });
        }
        if !matches!(buffer.field, FIELD_ANY | FIELD_NONE) {
            return Err(Errno::EINVAL);
        }
        let mut used = Vec::with_capacity(self.planes.len());
        for (at, (length, plane)) in lengths.iter().zip(planes).enumerate() {
            let length = u64::from(*length);
            let bytesused = match plane.bytesused {
                0 => length,
                bytes => bytes.into(),
            };
            let offset = u64::from(plane.data_offset);
            let size = sizes.get(at).copied().unwrap_or(0);
            // The last condition: a frame that starts at `offset` must end inside the plane.
            if bytesused > length
                || (offset > 0 && offset >= bytesused)
                || offset + u64::from(size) > length
            {
                return Err(Errno::EINVAL);
            }
            used.push((bytesused as u32, plane.data_offset));
        }
        Ok(Payload {
            planes: used,
            field: FIELD_NONE,
            ..Payload::default()
        })
    }
}
