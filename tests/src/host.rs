// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A V4L2 node of this machine, asked directly: what a device behind the proxy is compared with.
//!
//! Request numbers come from the protocol's table, everything else is this file's own: the daemon
//! has other code for the same ioctls.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use protocol::wire::ioctl::{self, Attached, Direction, Ioctl};
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_OUTPUT_OVERLAY, BUF_TYPE_VIDEO_OVERLAY, Buffer, EDID_BLOCK, Edid, ExtControl,
    ExtControls, MEMORY_MMAP, Plane, is_multiplanar,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An open node.
#[derive(Debug)]
pub struct Host(File);

impl Host {
    /// Opens the node at `path`, without blocking calls.
    ///
    /// # Errors
    ///
    /// That of `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, libc::O_NONBLOCK)
    }

    /// As [`open`](Self::open); its calls wait.
    ///
    /// # Errors
    ///
    /// That of `open(2)`.
    pub fn open_blocking(path: &Path) -> io::Result<Self> {
        Self::open_with(path, 0)
    }

    fn open_with(path: &Path, flags: i32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        options.open(path).map(Self)
    }

    /// The node's file, to poll it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    /// An ioctl of number `code` without pointers.
    ///
    /// # Errors
    ///
    /// That of `ioctl(2)`; `payload` is what the kernel left there.
    ///
    /// # Panics
    ///
    /// The payload is not of the ioctl's size, or the ioctl has pointers in it.
    pub fn bytes(&self, code: u32, payload: &mut [u8]) -> Result<(), Errno> {
        let ioctl = lookup(code);
        assert!(
            matches!(ioctl.attached, Attached::Nothing | Attached::Uuid),
            "{} has pointers",
            ioctl.name
        );
        assert_ne!(code, ioctl::S_FBUF, "S_FBUF has pointers");
        let at = if code == ioctl::CREATE_BUFS { 16 } else { 0 };
        if is_format(code)
            && [BUF_TYPE_VIDEO_OVERLAY, BUF_TYPE_VIDEO_OUTPUT_OVERLAY]
                .contains(&u32::from_ne_bytes(payload[at..][..4].try_into().unwrap()))
        {
            // struct v4l2_window: clips, clipcount, bitmap.
            payload[at + 8 + 24..][..24].fill(0);
        }
        // SAFETY: this ioctl's payload has no pointers, or none that is not null.
        unsafe { self.raw(ioctl, payload) }
    }

    /// As [`bytes`](Self::bytes).
    ///
    /// # Errors
    ///
    /// As that.
    pub fn call<T: FromBytes + IntoBytes + Immutable>(
        &self,
        code: u32,
        payload: &mut T,
    ) -> Result<(), Errno> {
        self.bytes(code, payload.as_mut_bytes())
    }

    /// QUERYBUF, QBUF, PREPARE_BUF or DQBUF of a buffer with MMAP.
    ///
    /// # Errors
    ///
    /// That of `ioctl(2)`.
    pub fn buffer(
        &self,
        code: u32,
        buffer: &mut Buffer,
        planes: &mut [Plane],
    ) -> Result<(), Errno> {
        assert_eq!(buffer.memory, MEMORY_MMAP);
        let ioctl = lookup(code);
        assert_eq!(ioctl.attached, Attached::Planes);
        let sent = buffer.m;
        if is_multiplanar(buffer.type_) {
            assert!(buffer.length as usize <= planes.len());
            buffer.m = planes.as_mut_ptr() as u64;
        }
        // SAFETY: `m` is where `length` planes are, or means nothing; buffers of the device have no
        // other pointers.
        let result = unsafe { self.raw(ioctl, buffer.as_mut_bytes()) };
        if is_multiplanar(buffer.type_) {
            buffer.m = sent;
        }
        result
    }

    /// G, S or TRY_EXT_CTRLS. The `payloads` of controls that have a `size` are of that size.
    ///
    /// # Errors
    ///
    /// That of `ioctl(2)`.
    pub fn ext_controls(
        &self,
        code: u32,
        header: &mut ExtControls,
        controls: &mut [ExtControl],
        payloads: &mut [Vec<u8>],
    ) -> Result<(), Errno> {
        let ioctl = lookup(code);
        assert_eq!(ioctl.attached, Attached::Controls);
        assert_eq!(controls.len(), payloads.len());
        for (control, payload) in controls.iter_mut().zip(payloads) {
            assert_eq!(control.size as usize, payload.len());
            if control.size > 0 {
                control.set_value64(payload.as_mut_ptr() as i64);
            }
        }
        header.count = controls.len() as u32;
        header.controls = controls.as_mut_ptr() as u64;
        // SAFETY: `controls` are `count`, and each with a size has memory of that size behind its
        // pointer. One without may be given memory that is too short only by saying so: the kernel
        // compares `size`.
        let result = unsafe { self.raw(ioctl, header.as_mut_bytes()) };
        header.controls = 0;
        for control in controls {
            if control.size > 0 {
                control.set_value64(0);
            }
        }
        result
    }

    /// G_EDID or S_EDID with space for so many blocks as `blocks` has.
    ///
    /// # Errors
    ///
    /// That of `ioctl(2)`.
    pub fn edid(&self, code: u32, edid: &mut Edid, blocks: &mut [u8]) -> Result<(), Errno> {
        let ioctl = lookup(code);
        assert_eq!(ioctl.attached, Attached::Edid);
        assert!(edid.blocks as usize * EDID_BLOCK <= blocks.len());
        edid.edid = blocks.as_mut_ptr() as u64;
        // SAFETY: the pointer is that of memory for as many blocks.
        let result = unsafe { self.raw(ioctl, edid.as_mut_bytes()) };
        edid.edid = 0;
        result
    }

    /// # Safety
    ///
    /// Pointers in `payload` point to memory of the size that the ioctl has there.
    unsafe fn raw(&self, ioctl: &Ioctl, payload: &mut [u8]) -> Result<(), Errno> {
        assert_eq!(payload.len(), ioctl.size, "{}", ioctl.name);
        loop {
            // SAFETY: the kernel reads and writes as many bytes as the request's number says, which
            // `payload` has, and what the caller vouches for.
            let ret =
                unsafe { libc::ioctl(self.0.as_raw_fd(), request(ioctl), payload.as_mut_ptr()) };
            match Errno::result(ret) {
                Err(Errno::EINTR) => {}
                result => return result.map(drop),
            }
        }
    }
}

/// Whether a `struct v4l2_format` is the payload, or in it.
fn is_format(code: u32) -> bool {
    [
        ioctl::G_FMT,
        ioctl::S_FMT,
        ioctl::TRY_FMT,
        ioctl::CREATE_BUFS,
    ]
    .contains(&code)
}

fn lookup(code: u32) -> &'static Ioctl {
    ioctl::lookup(code).unwrap_or_else(|| panic!("no ioctl {code}"))
}

/// The request's number, as `_IOC` makes it.
fn request(ioctl: &Ioctl) -> libc::c_ulong {
    let direction: u32 = match ioctl.direction {
        Direction::None => 0,
        Direction::Write => 1,
        Direction::Read => 2,
        Direction::ReadWrite => 3,
    };
    (direction << 30 | (ioctl.size as u32) << 16 | u32::from(b'V') << 8 | ioctl.code).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_requests() {
        assert_eq!(request(lookup(ioctl::QUERYCAP)), 0x8068_5600);
        assert_eq!(request(lookup(ioctl::S_FMT)), 0xc0d0_5605);
        assert_eq!(request(lookup(ioctl::STREAMON)), 0x4004_5612);
        assert_eq!(request(lookup(ioctl::LOG_STATUS)), 0x5646);
    }
}
