// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Commands of the driver and the device's responses.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `VIRTIO_MEDIA_CMD_OPEN`: create a session, as `open(2)` of the node does.
pub const OPEN: u32 = 1;
/// `VIRTIO_MEDIA_CMD_CLOSE`: end a session and free what belongs to it. Has no response.
pub const CLOSE: u32 = 2;
/// `VIRTIO_MEDIA_CMD_IOCTL`: run an ioctl on a session.
pub const IOCTL: u32 = 3;
/// `VIRTIO_MEDIA_CMD_MMAP`: map an MMAP buffer into shared memory region 0.
pub const MMAP: u32 = 4;
/// `VIRTIO_MEDIA_CMD_MUNMAP`: undo an MMAP.
pub const MUNMAP: u32 = 5;

/// `VIRTIO_MEDIA_MMAP_FLAG_RW`: the mapping is to be writable by the guest.
pub const MMAP_FLAG_RW: u32 = 1 << 0;

macro_rules! wire {
    (
        $(#[$doc:meta])* $name:ident($size:literal) {
            $($(#[$fdoc:meta])* $field:ident: $ty:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq,
            FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    };
}

wire! {
    /// `struct virtio_media_cmd_header`, at the start of every command.
    CmdHeader(8) {
        /// [`OPEN`], [`CLOSE`], [`IOCTL`], [`MMAP`] or [`MUNMAP`].
        cmd: u32,
        /// Zero.
        reserved: u32,
    }
}

wire! {
    /// `struct virtio_media_resp_header`, at the start of every response.
    RespHeader(8) {
        /// 0, or a Linux error number (positive).
        status: u32,
        /// Zero.
        reserved: u32,
    }
}

wire! {
    /// `struct virtio_media_cmd_open`.
    CmdOpen(8) {
        /// `cmd` is [`OPEN`].
        hdr: CmdHeader,
    }
}

wire! {
    /// `struct virtio_media_resp_open`.
    RespOpen(16) {
        /// Status.
        hdr: RespHeader,
        /// Unique among open sessions.
        session_id: u32,
        /// Zero.
        reserved: u32,
    }
}

wire! {
    /// `struct virtio_media_cmd_close`.
    CmdClose(16) {
        /// `cmd` is [`CLOSE`].
        hdr: CmdHeader,
        /// The session to end.
        session_id: u32,
        /// Zero.
        reserved: u32,
    }
}

wire! {
    /// `struct virtio_media_cmd_ioctl`; payload, array and memory follow.
    CmdIoctl(16) {
        /// `cmd` is [`IOCTL`].
        hdr: CmdHeader,
        /// The session to act on.
        session_id: u32,
        /// Number of the ioctl: the second argument of its `_IO*` macro.
        code: u32,
    }
}

wire! {
    /// `struct virtio_media_resp_ioctl`; payload and array follow.
    RespIoctl(8) {
        /// Status.
        hdr: RespHeader,
    }
}

wire! {
    /// `struct virtio_media_cmd_mmap`.
    CmdMmap(20) {
        /// `cmd` is [`MMAP`].
        hdr: CmdHeader,
        /// The session that the buffer belongs to.
        session_id: u32,
        /// 0 or [`MMAP_FLAG_RW`].
        flags: u32,
        /// `m.mem_offset` of the plane (or buffer), as QUERYBUF gave it.
        offset: u32,
    }
}

wire! {
    /// `struct virtio_media_resp_mmap`.
    RespMmap(24) {
        /// Status.
        hdr: RespHeader,
        /// Offset of the mapping into shared memory region 0, in bytes.
        driver_addr: u64,
        /// Length of the mapping: the length of the plane, in bytes.
        len: u64,
    }
}

wire! {
    /// `struct virtio_media_cmd_munmap`.
    CmdMunmap(16) {
        /// `cmd` is [`MUNMAP`].
        hdr: CmdHeader,
        /// Offset into shared memory region 0 that MMAP answered.
        driver_addr: u64,
    }
}

wire! {
    /// `struct virtio_media_resp_munmap`.
    RespMunmap(8) {
        /// Status.
        hdr: RespHeader,
    }
}

impl CmdHeader {
    /// The header of command `cmd`.
    pub const fn new(cmd: u32) -> Self {
        Self { cmd, reserved: 0 }
    }
}

impl RespHeader {
    /// The header of a response with `status`, 0 or a positive Linux error number.
    pub const fn new(status: u32) -> Self {
        Self {
            status,
            reserved: 0,
        }
    }
}

impl CmdOpen {
    /// An OPEN command.
    pub const fn new() -> Self {
        Self {
            hdr: CmdHeader::new(OPEN),
        }
    }
}

impl CmdClose {
    /// A CLOSE command.
    pub const fn new(session_id: u32) -> Self {
        Self {
            hdr: CmdHeader::new(CLOSE),
            session_id,
            reserved: 0,
        }
    }
}

impl CmdIoctl {
    /// An IOCTL command.
    pub const fn new(session_id: u32, code: u32) -> Self {
        Self {
            hdr: CmdHeader::new(IOCTL),
            session_id,
            code,
        }
    }
}

impl CmdMmap {
    /// An MMAP command.
    pub const fn new(session_id: u32, flags: u32, offset: u32) -> Self {
        Self {
            hdr: CmdHeader::new(MMAP),
            session_id,
            flags,
            offset,
        }
    }
}

impl CmdMunmap {
    /// A MUNMAP command.
    pub const fn new(driver_addr: u64) -> Self {
        Self {
            hdr: CmdHeader::new(MUNMAP),
            driver_addr,
        }
    }
}
