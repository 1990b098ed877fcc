// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Files that are mapped, and how.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::unistd::ftruncate;

/// Size of a page: mappings start and end on it. 4 KiB on every machine whose guests we serve.
pub const PAGE_SIZE: usize = 4096;

/// What the host may do with imported memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only: raw frames.
    Read,
    /// Read and write: buffers for coded frames.
    ReadWrite,
}

impl Access {
    pub(super) fn protection(self) -> ProtFlags {
        match self {
            Self::Read => ProtFlags::PROT_READ,
            Self::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        }
    }
}

/// A file of `size` bytes, all zero. Whoever gets it cannot shrink it under us (SIGBUS) nor grow
/// it.
pub(super) fn sealed_file(size: NonZeroUsize) -> Result<OwnedFd, Errno> {
    let fd = memfd_create(
        c"virtio-v4l2 buffer",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?;
    ftruncate(&fd, i64::try_from(size.get()).map_err(|_| Errno::ENOMEM)?)?;
    fcntl(
        &fd,
        FcntlArg::F_ADD_SEALS(
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL,
        ),
    )?;
    Ok(fd)
}

/// Maps the first `size` bytes of a file. The mapping is the caller's to undo.
pub(super) fn map_shared(fd: &OwnedFd, size: NonZeroUsize) -> Result<NonNull<c_void>, Errno> {
    // SAFETY: A new mapping at an address of the kernel's choice touches nothing that exists.
    unsafe {
        mmap(
            None,
            size,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED,
            fd,
            0,
        )
    }
}

/// Maps the first `size` bytes of a file for `access`. The mapping is the caller's to undo.
pub(super) fn map_whole(
    fd: &OwnedFd,
    size: NonZeroUsize,
    access: Access,
) -> Result<NonNull<c_void>, Errno> {
    // SAFETY: As in `map_shared`.
    unsafe { mmap(None, size, access.protection(), MapFlags::MAP_SHARED, fd, 0) }
}
