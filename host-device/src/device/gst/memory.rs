// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory of planes as `GstMemory`, without a copy.

use std::ops::Range;

use gstreamer as gst;
use gstreamer::glib::translate::from_glib_full;
use nix::errno::Errno;

use super::dmabuf;
use super::release::Release;
use crate::memory::PlaneMemory;

/// Wraps a range of `memory` for GStreamer, read-only: as a dmabuf, if it is one.
///
/// `on_release` runs when GStreamer has let go of it, on whatever thread that happens. The memory
/// stays mapped until then.
///
/// # Errors
///
/// `EINVAL` when the range is empty or not inside; `ENOMEM` if GStreamer makes no memory of it.
pub fn wrap(
    memory: &PlaneMemory,
    range: Range<usize>,
    on_release: impl FnOnce() + Send + 'static,
) -> Result<gst::Memory, Errno> {
    let mapped = memory.mapped(&range)?;
    let release = Release::new(memory.clone(), on_release);
    if let Some(dmabuf) = mapped.dmabuf {
        let start = mapped.address.as_ptr() as usize - dmabuf.base.as_ptr() as usize;
        // SAFETY: `release` keeps a clone of the memory, and with it the dmabuf and its mapping.
        // The range is inside of both.
        return unsafe { dmabuf::memory(dmabuf, start..start + mapped.len, release) };
    }
    // SAFETY: The range is inside the mapping, which `release` keeps until it runs. GStreamer
    // writes to no memory that is marked read-only, and copes with content that changes.
    let wrapped = unsafe {
        from_glib_full(gst::ffi::gst_memory_new_wrapped(
            gst::ffi::GST_MEMORY_FLAG_READONLY,
            mapped.address.as_ptr().cast(),
            mapped.len,
            0,
            mapped.len,
            Box::into_raw(Box::new(release)).cast(),
            Some(Release::notify),
        ))
    };
    Ok(wrapped)
}

#[cfg(test)]
mod tests;
