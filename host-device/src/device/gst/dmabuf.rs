// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! dmabufs for GStreamer, mapped once and not for each frame.
//!
//! GStreamer's own dmabuf memory maps the file when it is first read, for each `GstMemory` anew,
//! and tells nobody when it is done with it. So these come from an allocator of ours, whose
//! memories are mapped already.

use std::ffi::c_void;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::LazyLock;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::glib::translate::{IntoGlib, from_glib_full};
use gstreamer::prelude::*;
use gstreamer_allocators as gst_allocators;
use nix::errno::Errno;

use super::release::Release;
use crate::memory::MappedDmabuf;

/// `DMA_BUF_SYNC_*`.
const SYNC_READ: u64 = 1;
const SYNC_END: u64 = 1 << 2;

nix::ioctl_write_ptr!(dma_buf_sync, b'b', 0, u64);

/// What one of our memories carries.
struct State {
    base: NonNull<u8>,
    /// The dmabuf to synchronise with.
    sync: Option<RawFd>,
    /// Taken at the end.
    release: Option<Release>,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release.run();
        }
    }
}

fn key() -> glib::ffi::GQuark {
    static KEY: LazyLock<glib::Quark> =
        LazyLock::new(|| glib::Quark::from_str("virtio-v4l2-dmabuf"));
    KEY.into_glib()
}

/// GStreamer's allocator of dmabufs, but for how its memories are mapped.
fn allocator() -> &'static gst_allocators::DmaBufAllocator {
    static ALLOCATOR: LazyLock<gst_allocators::DmaBufAllocator> = LazyLock::new(|| {
        let allocator = gst_allocators::DmaBufAllocator::new();
        // SAFETY: It was just made and nobody else has it; its memories, which only `memory` below
        // makes, carry what the two functions rely on.
        unsafe {
            let raw = allocator.upcast_ref::<gst::Allocator>().as_ptr();
            (*raw).mem_map_full = Some(map);
            (*raw).mem_unmap_full = Some(unmap);
        }
        allocator
    });
    &ALLOCATOR
}

/// What `memory`, or the one that it is a part of, carries.
///
/// # Safety
///
/// `memory` must be a valid memory of our allocator, and the result not outlive it.
unsafe fn state<'a>(memory: *mut gst::ffi::GstMemory) -> Option<&'a State> {
    // SAFETY: It is valid, and parts keep what they are parts of. The data under our key is a
    // `State` that lives as long as the memory.
    unsafe {
        let parent = (*memory).parent;
        let whole = if parent.is_null() { memory } else { parent };
        gst::ffi::gst_mini_object_get_qdata(whole.cast(), key())
            .cast::<State>()
            .as_ref()
    }
}

fn sync(state: &State, flags: u64) {
    if let Some(fd) = state.sync {
        // SAFETY: The kernel reads the flags; the descriptor is open for as long as the memory
        // lives, which carries what keeps it.
        if let Err(errno) = unsafe { dma_buf_sync(fd, &raw const flags) } {
            tracing::debug!("DMA_BUF_IOCTL_SYNC: {errno}");
        }
    }
}

/// Starts an access of the CPU. Returns where the dmabuf starts.
unsafe extern "C" fn map(
    memory: *mut gst::ffi::GstMemory,
    _: *mut gst::ffi::GstMapInfo,
    _: usize,
) -> glib::ffi::gpointer {
    // SAFETY: GStreamer calls this with a memory of this allocator.
    match unsafe { state(memory) } {
        Some(state) => {
            sync(state, SYNC_READ);
            state.base.as_ptr().cast()
        }
        None => std::ptr::null_mut(),
    }
}

/// Ends it.
unsafe extern "C" fn unmap(memory: *mut gst::ffi::GstMemory, _: *mut gst::ffi::GstMapInfo) {
    // SAFETY: As in `map`.
    if let Some(state) = unsafe { state(memory) } {
        sync(state, SYNC_READ | SYNC_END);
    }
}

unsafe extern "C" fn drop_state(state: *mut c_void) {
    // SAFETY: It is the box that `memory` attached, and this runs once.
    drop(unsafe { Box::from_raw(state.cast::<State>()) });
}

/// Wraps `range` of a dmabuf for GStreamer, read-only. `release` runs when GStreamer has let go of
/// it.
///
/// # Errors
///
/// `ENOMEM` if GStreamer makes no memory of it.
///
/// # Safety
///
/// `release` must keep the dmabuf and the mapping, and `range` must lie inside of both.
pub(super) unsafe fn memory(
    dmabuf: MappedDmabuf<'_>,
    range: Range<usize>,
    release: Release,
) -> Result<gst::Memory, Errno> {
    let fd = dmabuf.fd.as_raw_fd();
    let state = Box::new(State {
        base: dmabuf.base,
        sync: dmabuf.foreign.then_some(fd),
        release: Some(release),
    });
    // SAFETY: The allocator only notes the descriptor, which it neither maps nor closes; `release`
    // keeps it open. The memory is new, so it may be cut to size, marked and given its state, which
    // goes with the last reference to it.
    unsafe {
        let memory = gst_allocators::ffi::gst_dmabuf_allocator_alloc_with_flags(
            allocator().upcast_ref::<gst::Allocator>().as_ptr(),
            fd,
            range.end,
            gst_allocators::ffi::GST_FD_MEMORY_FLAG_DONT_CLOSE
                | gst_allocators::ffi::GST_FD_MEMORY_FLAG_KEEP_MAPPED,
        );
        if memory.is_null() {
            return Err(Errno::ENOMEM);
        }
        let start = range.start.cast_signed();
        gst::ffi::gst_memory_resize(memory, start, range.end - range.start);
        (*memory).mini_object.flags |= gst::ffi::GST_MEMORY_FLAG_READONLY;
        gst::ffi::gst_mini_object_set_qdata(
            memory.cast(),
            key(),
            Box::into_raw(state).cast(),
            Some(drop_state),
        );
        Ok(from_glib_full(memory))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::memory::{HostBuffer, PlaneMemory};

    /// Neither GStreamer nor the allocator looks at what kind of file it is: a memfd does.
    fn wrapped(range: Range<usize>, ends: &Arc<AtomicUsize>) -> (gst::Memory, usize, RawFd) {
        gst::init().unwrap();
        let buffer = HostBuffer::new(8192).unwrap();
        buffer.write_at(100, b"pixels").unwrap();
        let base = PlaneMemory::from(Arc::clone(&buffer)).address();
        let mapped = MappedDmabuf {
            fd: buffer.fd(),
            base,
            foreign: true,
        };
        let fd = mapped.fd.as_raw_fd();
        let ends = Arc::clone(ends);
        let release = Release::new(Arc::clone(&buffer), move || {
            ends.fetch_add(1, Ordering::SeqCst);
        });
        // SAFETY: `release` keeps the buffer, and with it file and mapping.
        let memory = unsafe { memory(mapped, range, release) }.unwrap();
        (memory, base.as_ptr() as usize, fd)
    }

    #[test]
    fn it_is_a_dmabuf_that_is_mapped_already() {
        let ends = Arc::new(AtomicUsize::new(0));
        let (memory, base, fd) = wrapped(96..4196, &ends);
        assert_eq!(memory.size(), 4100);
        assert_eq!(memory.offset(), 96);
        let dmabuf = memory
            .downcast_memory_ref::<gst_allocators::DmaBufMemory>()
            .unwrap();
        assert_eq!(dmabuf.fd(), fd);
        for _ in 0..2 {
            let map = memory.map_readable().unwrap();
            assert_eq!(map.as_ptr() as usize, base + 96);
            assert_eq!(&map[4..10], b"pixels");
        }
        let mut memory = memory;
        assert!(
            memory.get_mut().unwrap().map_writable().is_err(),
            "read-only"
        );
    }

    #[test]
    fn its_end_is_that_of_its_last_part() {
        let ends = Arc::new(AtomicUsize::new(0));
        let (memory, base, _) = wrapped(0..8192, &ends);
        let part = memory.share(100..106);
        let part_of_part = part.share(2..4);
        drop(memory);
        drop(part);
        assert_eq!(ends.load(Ordering::SeqCst), 0);
        let map = part_of_part.into_mapped_memory_readable().unwrap();
        assert_eq!(map.as_ptr() as usize, base + 102);
        assert_eq!(&map[..], b"xe");
        drop(map);
        assert_eq!(ends.load(Ordering::SeqCst), 1);
    }
}
