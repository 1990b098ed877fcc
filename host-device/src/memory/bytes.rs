// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Mapped memory that others change at any time.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use gstreamer as gst;
use gstreamer::glib::translate::from_glib_full;
use nix::errno::Errno;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BS;

use super::dmabuf::{self, Mapped};

/// A run of mapped memory, without the mapping itself: whoever has that has this as a part.
///
/// Guest, VMM or another process may write to it at any time. So the host never forms a reference to its content: it
/// copies in and out, or hands the address to code that expects memory to change.
///
/// # Invariants
///
/// `address` is the start of `len` bytes of a shared mapping, which is readable, and writable if `writable` says so, for
/// as long as `self` lives.
#[derive(Debug)]
pub(super) struct Bytes {
    address: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: The content is only touched as memory that others may change at any time.
unsafe impl Send for Bytes {}
// SAFETY: As above; no method needs exclusive access.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// The `len` bytes at `address`.
    ///
    /// # Safety
    ///
    /// They must be what the type's invariants say, for as long as the result lives.
    pub(super) unsafe fn new(address: NonNull<u8>, len: usize, writable: bool) -> Self {
        Self {
            address,
            len,
            writable,
        }
    }

    pub(super) fn address(&self) -> NonNull<u8> {
        self.address
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies `data` in at `offset`. `EINVAL` when it does not fit, `EACCES` if this is only for reading.
    pub(super) fn write_at(&self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        if !self.writable {
            return Err(Errno::EACCES);
        }
        self.slice(offset, data.len())?.copy_from(data);
        Ok(())
    }

    /// Copies out to `data` from `offset`. `EINVAL` when there is less.
    pub(super) fn read_at(&self, offset: usize, data: &mut [u8]) -> Result<(), Errno> {
        self.slice(offset, data.len())?.copy_to(data);
        Ok(())
    }

    fn slice(&self, offset: usize, len: usize) -> Result<VolatileSlice<'_, BS<'_, ()>>, Errno> {
        let range = offset..offset.checked_add(len).ok_or(Errno::EINVAL)?;
        self.check(&range)?;
        // SAFETY: `check` found the range inside the mapping, which lives as long as `self` (type invariant). The
        // memory is accessed as volatile only, and written to only by `write_at`, which checks that it may be.
        Ok(unsafe { VolatileSlice::new(self.address.as_ptr().add(range.start), len) })
    }

    /// The length of `range`, which is inside.
    pub(super) fn check(&self, range: &Range<usize>) -> Result<usize, Errno> {
        if range.end > self.len {
            return Err(Errno::EINVAL);
        }
        range.end.checked_sub(range.start).ok_or(Errno::EINVAL)
    }

    /// Wraps a range for GStreamer, read-only, without a copy: as a part of `dmabuf` if there is one. `keep` is dropped,
    /// then `on_release` runs, when GStreamer has let go of it, on whatever thread that happens. `EINVAL` when the range is
    /// empty or not inside.
    ///
    /// # Safety
    ///
    /// `keep` must keep `self` and `dmabuf`, and `self` be a part of the dmabuf's mapping.
    pub(super) unsafe fn gst_memory<K: Send + 'static>(
        &self,
        range: Range<usize>,
        dmabuf: Option<Mapped<'_>>,
        keep: K,
        on_release: impl FnOnce() + Send + 'static,
    ) -> Result<gst::Memory, Errno> {
        let len = self.check(&range)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let lent = Lent::new(keep, on_release);
        if let Some(dmabuf) = dmabuf {
            let start = self.address.as_ptr() as usize - dmabuf.base.as_ptr() as usize;
            // SAFETY: `lent` keeps both (this function's contract), and the range is inside of `self`, which is inside of
            // them.
            return unsafe { dmabuf::memory(dmabuf, start + range.start..start + range.end, lent) };
        }
        // SAFETY: The range is inside the mapping, which `lent` keeps until `release` drops it. GStreamer writes to no
        // memory that is marked read-only, and copes with content that changes.
        let memory = unsafe {
            let data = self.address.as_ptr().add(range.start);
            from_glib_full(gst::ffi::gst_memory_new_wrapped(
                gst::ffi::GST_MEMORY_FLAG_READONLY,
                data.cast(),
                len,
                0,
                len,
                Box::into_raw(Box::new(lent)).cast(),
                Some(Lent::release),
            ))
        };
        Ok(memory)
    }
}

/// What GStreamer holds on to for as long as it uses a piece of memory.
pub(super) struct Lent(Box<dyn FnOnce() + Send>);

impl Lent {
    pub(super) fn new<K: Send + 'static>(
        keep: K,
        on_release: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self(Box::new(move || {
            drop(keep);
            on_release();
        }))
    }

    /// GStreamer is done. Does not panic: that must not cross into C.
    pub(super) fn end(self) {
        if catch_unwind(AssertUnwindSafe(self.0)).is_err() {
            tracing::error!("panic when a buffer was released, please report it");
        }
    }

    /// [`end`](Self::end) for C.
    ///
    /// # Safety
    ///
    /// `data` must be a `Box<Lent>` turned into a pointer, and this must run once.
    pub(super) unsafe extern "C" fn release(data: gst::glib::ffi::gpointer) {
        // SAFETY: As the caller says.
        let lent = unsafe { Box::from_raw(data.cast::<Self>()) };
        lent.end();
    }
}
