// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory of one plane of a buffer: of the daemon, of the guest, or of another device.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use nix::errno::Errno;

use super::buffer::HostBuffer;
use super::bytes::{Bytes, Mapped};
use super::import::Import;
use super::view::View;

/// Memory of one plane of a buffer; clones are the same memory.
#[derive(Clone, Debug)]
pub enum PlaneMemory {
    /// The device's own, which the guest maps.
    Own(Arc<HostBuffer>),
    /// That of another MMAP buffer of the device, which a client exported and imports here: all
    /// pages of it.
    Shared(Arc<HostBuffer>),
    /// Pages of the guest.
    View(Arc<View>),
    /// A dmabuf of another device.
    Import(Arc<Import>),
}

impl PlaneMemory {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Own(buffer) | Self::Shared(buffer) => buffer.bytes(),
            Self::View(view) => view.bytes(),
            Self::Import(import) => import.bytes(),
        }
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        match self {
            Self::Own(buffer) => buffer.len(),
            _ => self.bytes().len(),
        }
    }

    /// Where it is mapped in this process.
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.bytes().address()
    }

    /// Whether it is a dmabuf, or a part of one.
    pub(crate) fn is_dmabuf(&self) -> bool {
        match self {
            Self::Own(buffer) | Self::Shared(buffer) => buffer.dmabuf().is_some(),
            Self::View(view) => view.pins(),
            Self::Import(_) => true,
        }
    }

    /// The same memory, from its first byte on, as a dmabuf, if it is one.
    pub fn dmabuf(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Own(buffer) | Self::Shared(buffer) => buffer.dmabuf(),
            Self::View(view) => view.dmabuf(),
            Self::Import(import) => Some(import.fd()),
        }
    }

    /// Copies `data` in at `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it does not fit, `EACCES` if the memory was imported for reading.
    pub fn write_at(&self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.bytes().write_at(offset, data)
    }

    /// Copies out to `data` from `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is less.
    pub fn read_at(&self, offset: usize, data: &mut [u8]) -> Result<(), Errno> {
        self.bytes().read_at(offset, data)
    }

    /// A range of it, for code that reads memory in place. A clone of `self` keeps it mapped.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the range is empty or not inside.
    pub(crate) fn mapped(&self, range: &Range<usize>) -> Result<Mapped<'_>, Errno> {
        match self {
            Self::Own(buffer) | Self::Shared(buffer) => buffer.mapped(range),
            Self::View(view) => view.mapped(range),
            Self::Import(import) => import.mapped(range),
        }
    }
}

impl From<Arc<HostBuffer>> for PlaneMemory {
    fn from(buffer: Arc<HostBuffer>) -> Self {
        Self::Own(buffer)
    }
}
