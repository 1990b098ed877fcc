// SPDX-License-Identifier: GPL-2.0

//! What is said of buffers: by clients, to the device, and to those who import memory.

use super::fate::Fate;
use crate::wire::v4l2::{Buffer, Plane, VIDEO_MAX_PLANES};

/// Most buffers of a queue that the driver keeps account of.
pub(in crate::driver) const MAX_BUFFERS: u32 = 1024;

/// Groups of `V4L2_BUF_FLAG_*`.
pub(super) mod flag {
    use crate::wire::v4l2;

    /// Not the client's to say: state, mapping, requests, and the kind of timestamp.
    pub(in super::super) const OURS: u32 = v4l2::BUF_FLAG_MAPPED
        | v4l2::BUF_FLAG_QUEUED
        | v4l2::BUF_FLAG_DONE
        | v4l2::BUF_FLAG_ERROR
        | v4l2::BUF_FLAG_IN_REQUEST
        | v4l2::BUF_FLAG_PREPARED
        | v4l2::BUF_FLAG_REQUEST_FD
        | v4l2::BUF_FLAG_TIMESTAMP_MASK;
    /// What a frame is; said of OUTPUT buffers by the client, of CAPTURE buffers by the device.
    pub(in super::super) const FRAME: u32 = v4l2::BUF_FLAG_KEYFRAME
        | v4l2::BUF_FLAG_PFRAME
        | v4l2::BUF_FLAG_BFRAME
        | v4l2::BUF_FLAG_TIMECODE
        | v4l2::BUF_FLAG_M2M_HOLD_CAPTURE_BUF;
    /// Which caches the client flushes itself.
    pub(in super::super) const CACHE_HINTS: u32 =
        v4l2::BUF_FLAG_NO_CACHE_INVALIDATE | v4l2::BUF_FLAG_NO_CACHE_CLEAN;
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
