// SPDX-License-Identifier: GPL-2.0

//! What is said of buffers: by clients, to the device, and to those who import memory.

use super::fate::Fate;
use crate::wire::v4l2::{Buffer, Plane, VIDEO_MAX_PLANES};

/// Most buffers of a queue that the driver keeps account of.
pub(in crate::driver) const MAX_BUFFERS: u32 = 1024;

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

/// What holds for all buffers of a queue.
#[derive(Clone, Copy, Debug, Default)]
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
    /// The device takes virtio objects.
    pub(in crate::driver) objects: bool,
}

/// The planes of a buffer, as the format wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::driver) struct Layout {
    /// How many there are.
    pub(in crate::driver) planes: usize,
    /// Their sizes in bytes.
    pub(in crate::driver) lengths: [u32; VIDEO_MAX_PLANES],
}

impl Layout {
    /// Size of all planes in bytes.
    pub(in crate::driver) fn bytes(&self) -> u64 {
        let lengths = self.lengths.iter().take(self.planes);
        lengths.map(|length| u64::from(*length)).sum()
    }
}

/// What a buffer's memory is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Purpose {
    /// QBUF.
    Queue,
    /// QBUF after PREPARE_BUF: what that named counts.
    QueuePrepared,
    /// PREPARE_BUF.
    Prepare,
}

/// What memory a QBUF or PREPARE_BUF is to have imported.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct ImportRequest {
    pub(in crate::driver) purpose: Purpose,
    pub(in crate::driver) rules: Rules,
    pub(in crate::driver) layout: Layout,
    /// Number of the command.
    pub(in crate::driver) number: u64,
    /// What has become of those before.
    pub(in crate::driver) fate: Fate,
}

/// What a buffer has learnt of its memory when that has been imported.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Imported {
    /// `memory` of the buffer, as the device is to see it.
    pub(in crate::driver) wire_memory: u32,
    /// Lengths of the planes' memory in bytes.
    pub(in crate::driver) lengths: [u32; VIDEO_MAX_PLANES],
}

/// The argument of QBUF as the device is to have it.
pub(in crate::driver) struct OnWire {
    pub(in crate::driver) buffer: Buffer,
    pub(in crate::driver) planes: [Plane; VIDEO_MAX_PLANES],
    /// How many planes follow the buffer; 0 if it is single-planar.
    pub(in crate::driver) count: usize,
}
