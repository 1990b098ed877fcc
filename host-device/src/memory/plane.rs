// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory of one plane of a buffer, whosever it is.

use std::ops::Range;
use std::sync::Arc;

use gstreamer as gst;
use nix::errno::Errno;

use super::buffer::HostBuffer;
use super::view::View;

/// Memory of one plane of a buffer; clones are the same memory.
#[derive(Clone, Debug)]
pub enum PlaneMemory {
    /// The device's own, which the guest maps.
    Own(Arc<HostBuffer>),
    /// The guest's.
    Lent(Arc<View>),
}

impl PlaneMemory {
    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        match self {
            Self::Own(buffer) => buffer.len(),
            Self::Lent(view) => view.len(),
        }
    }

    /// Copies `data` in at `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it does not fit, `EACCES` if the memory is lent for reading.
    pub fn write_at(&self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Own(buffer) => buffer.write_at(offset, data),
            Self::Lent(view) => view.write_at(offset, data),
        }
    }

    /// Wraps a range for GStreamer, as [`HostBuffer::gst_memory`] does.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the range is empty or not inside.
    pub fn gst_memory(
        &self,
        range: Range<usize>,
        on_release: impl FnOnce() + Send + 'static,
    ) -> Result<gst::Memory, Errno> {
        match self {
            Self::Own(buffer) => buffer.gst_memory(range, on_release),
            Self::Lent(view) => view.gst_memory(range, on_release),
        }
    }
}

impl From<Arc<HostBuffer>> for PlaneMemory {
    fn from(buffer: Arc<HostBuffer>) -> Self {
        Self::Own(buffer)
    }
}
