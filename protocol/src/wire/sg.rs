// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory of the guest that the device imports.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct virtio_media_sg_entry`: one run of guest-physical memory.
///
/// A pointer to guest memory (`m.userptr` of a buffer or plane, `ptr` of a control) travels as as
/// many entries as cover the length that its structure states. Entries stand only in the
/// device-readable part.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SgEntry {
    /// Guest-physical address, in bytes.
    pub start: u64,
    /// Length in bytes.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<SgEntry>() == 16);

impl SgEntry {
    /// An entry for `len` bytes from guest-physical address `start`.
    pub const fn new(start: u64, len: u32) -> Self {
        Self {
            start,
            len,
            reserved: 0,
        }
    }
}

/// UUID of a virtio object, in place of a dmabuf's file descriptor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Uuid(pub [u8; 16]);
