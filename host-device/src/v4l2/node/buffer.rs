// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Calls about buffers: their memory is this process's, or the device's own.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use protocol::wire::ioctl::{self, Attached, Ioctl};
use protocol::wire::v4l2::{
    Buffer, Event, ExportBuffer, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Plane,
    VIDEO_MAX_PLANES, is_multiplanar,
};
use v4l2r::bindings::V4L2_BUF_FLAG_REQUEST_FD;
use zerocopy::IntoBytes;

use super::file::Node;
use super::request::{self, entry};
use crate::memory::PlaneMemory;

/// Where the memory of a plane is that a buffer is queued with.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Mapped in this process (`V4L2_MEMORY_USERPTR`). Whoever queues it keeps it for as long as
    /// the buffer may use it; the kernel pins its pages.
    Mapped(&'a PlaneMemory),
    /// A dmabuf (`V4L2_MEMORY_DMABUF`). The kernel keeps it.
    Dmabuf(BorrowedFd<'a>),
}

/// What the kernel is to find in `m` of a plane of `length` bytes.
fn place(memory: u32, source: Option<&Source<'_>>, length: u32) -> Result<u64, Errno> {
    match (memory, source) {
        (MEMORY_MMAP, None) => Ok(0),
        (MEMORY_USERPTR, Some(Source::Mapped(mapped))) => {
            if length as usize > mapped.len() {
                return Err(Errno::EINVAL);
            }
            Ok(mapped.address().addr().get() as u64)
        }
        (MEMORY_DMABUF, Some(Source::Dmabuf(fd))) => Ok(u64::from(fd.as_raw_fd().cast_unsigned())),
        _ => Err(Errno::EINVAL),
    }
}

impl Node {
    /// QUERYBUF, QBUF, PREPARE_BUF or DQBUF. `planes` are those of a multi-planar buffer, none
    /// otherwise; `sources` has the memory of each plane (one for a single-planar buffer) for QBUF
    /// and PREPARE_BUF of memory of the guest, and is empty otherwise. What `buffer` and `planes`
    /// have in `m` is not looked at; afterwards offsets of MMAP buffers stand there, and nothing
    /// else.
    ///
    /// # Errors
    ///
    /// What the kernel answers. `EINVAL`, without asking it, if memory and sources do not agree, a
    /// plane is longer than its memory, or the buffer names a request.
    pub fn buffer(
        &self,
        ioctl: &'static Ioctl,
        buffer: &mut Buffer,
        planes: &mut [Plane],
        sources: &[Source<'_>],
    ) -> Result<(), Errno> {
        if ioctl.attached != Attached::Planes || buffer.flags & V4L2_BUF_FLAG_REQUEST_FD != 0 {
            return Err(Errno::EINVAL);
        }
        let takes_memory = matches!(ioctl.code, ioctl::QBUF | ioctl::PREPARE_BUF);
        let multiplanar = is_multiplanar(buffer.type_);
        let count = if multiplanar { planes.len() } else { 1 };
        let imports = takes_memory && buffer.memory != MEMORY_MMAP;
        if sources.len() != if imports { count } else { 0 } {
            return Err(Errno::EINVAL);
        }
        buffer.reserved2 = 0;
        buffer.request_fd = 0;
        let place = |at, length| {
            if takes_memory {
                place(buffer.memory, sources.get(at), length)
            } else {
                Ok(0)
            }
        };
        if multiplanar {
            for (at, plane) in planes.iter_mut().enumerate() {
                plane.m = place(at, plane.length)?;
            }
            buffer.length = u32::try_from(count).map_err(|_| Errno::EINVAL)?;
            buffer.m = planes.as_mut_ptr().expose_provenance() as u64;
        } else {
            buffer.m = place(0, buffer.length)?;
        }
        let _calling = self.calling(ioctl);
        // SAFETY: A `Buffer` has the size of all four ioctls. `m.planes` points to as many planes
        // as `length` says, which live until the call is over. Each `m` is zero, a dmabuf that is
        // open, or the start of a mapping that is no shorter than its length, and whose content
        // anybody may change at any time: it is guest memory or a frame.
        let result =
            unsafe { request::call(self.as_fd(), ioctl, buffer.as_mut_bytes().as_mut_ptr()) };
        // Addresses and files of this process go nowhere.
        let own = buffer.memory == MEMORY_MMAP;
        if multiplanar || !own {
            buffer.m = 0;
        }
        if !own {
            for plane in planes {
                plane.m = 0;
            }
        }
        result
    }

    /// Takes the next buffer that is done off the queue `buf_type`, whose buffers have `memory`,
    /// with its planes (`length` of them, for a multi-planar type).
    ///
    /// # Errors
    ///
    /// What the kernel answers: `EAGAIN` if none is done, `EPIPE` behind the LAST one.
    pub fn dqbuf(
        &self,
        buf_type: u32,
        memory: u32,
    ) -> Result<(Buffer, [Plane; VIDEO_MAX_PLANES]), Errno> {
        let mut buffer = Buffer {
            type_: buf_type,
            memory,
            ..Buffer::default()
        };
        let mut planes = [Plane::default(); VIDEO_MAX_PLANES];
        let of_buffer = if is_multiplanar(buf_type) {
            &mut planes[..]
        } else {
            &mut []
        };
        self.buffer(entry(ioctl::DQBUF)?, &mut buffer, of_buffer, &[])?;
        Ok((buffer, planes))
    }

    /// Exports a plane of an MMAP buffer as a dmabuf that can be mapped for reading and writing.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn export(&self, buf_type: u32, index: u32, plane: u32) -> Result<OwnedFd, Errno> {
        let mut export = ExportBuffer {
            type_: buf_type,
            index,
            plane,
            flags: (OFlag::O_RDWR | OFlag::O_CLOEXEC).bits().cast_unsigned(),
            ..ExportBuffer::default()
        };
        let bytes = export.as_mut_bytes().as_mut_ptr();
        let _calling = self.calling(entry(ioctl::EXPBUF)?);
        // SAFETY: An `ExportBuffer` has the ioctl's size, and nothing in it is a pointer or a file.
        unsafe { request::call(self.as_fd(), entry(ioctl::EXPBUF)?, bytes) }?;
        // SAFETY: The kernel has just opened it for us, and nobody else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
    }

    /// Takes the next V4L2 event off the queue.
    ///
    /// # Errors
    ///
    /// What the kernel answers: `ENOENT` if there is none.
    pub fn dqevent(&self) -> Result<Event, Errno> {
        let mut event = Event::default();
        self.call(entry(ioctl::DQEVENT)?, &mut event)?;
        Ok(event)
    }
}
