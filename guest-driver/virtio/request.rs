// SPDX-License-Identifier: GPL-2.0

//! Memory on its way to a device and back.

use crate::bindings;
use core::mem::MaybeUninit;
use core::ptr;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// A buffer for a virtqueue: bytes that the device reads, bytes that it writes, and what its owner
/// wants to know again when it comes back.
///
/// A request owns its memory. While the device has it, it belongs to the
/// [`Virtqueue`](super::Virtqueue), so whoever waits for it may give up at any time.
///
/// # Invariants
///
/// - Each of the first `readable_entries` elements of `entries` points into `readable`, each of the
///   `writable_entries` that follow into `writable`; together they cover both.
/// - Neither vector is resized or moved out of the request.
/// - There is no reference to what is in `writable`: a device may write there whenever it likes.
pub(crate) struct Request<C> {
    readable: KVVec<u8>,
    writable: KVVec<u8>,
    entries: Entries,
    readable_entries: usize,
    writable_entries: usize,
    context: C,
    /// Somebody wants to know at once when it comes back.
    awaited: bool,
    /// Where it is in a [`Fifo`](super::fifo::Fifo).
    pub(super) links: Links<C>,
}

/// Neighbours of a request in a `Fifo`.
pub(super) struct Links<C> {
    pub(super) previous: *mut Request<C>,
    pub(super) next: *mut Request<C>,
}

// SAFETY: The pointers are only followed by the list, which owns the requests.
unsafe impl<C> Send for Links<C> {}
// SAFETY: As above; there are no methods that take `&self`.
unsafe impl<C> Sync for Links<C> {}

impl<C> Links<C> {
    /// Of a request in no list.
    pub(super) const fn new() -> Self {
        Self {
            previous: ptr::null_mut(),
            next: ptr::null_mut(),
        }
    }
}

/// A scatterlist.
struct Entries(KVec<bindings::scatterlist>);

// SAFETY: The pointers in it refer to memory that the same `Request` owns.
unsafe impl Send for Entries {}
// SAFETY: There are no methods that take `&self`.
unsafe impl Sync for Entries {}

impl<C> Request<C> {
    /// A request with bytes for the device and space for `writable` bytes of its answer.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(readable: KVVec<u8>, writable: usize, context: C) -> Result<KBox<Self>> {
        let mut readable = readable;
        let mut writable = KVVec::from_elem(0u8, writable, GFP_KERNEL_ACCOUNT)?;
        let pages = |data: &KVVec<u8>| {
            // SAFETY: Only the address is looked at.
            unsafe { bindings::virtio_helper_pages(data.as_ptr().cast(), data.len()) as usize }
        };
        let (readable_entries, writable_entries) = (pages(&readable), pages(&writable));
        let count = readable_entries + writable_entries;

        let mut entries = KVec::<bindings::scatterlist>::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        entries.spare_capacity_mut().fill(MaybeUninit::zeroed());
        // SAFETY: There is capacity for `count` elements, and a scatterlist may be all zeroes.
        unsafe { entries.inc_len(count) };

        let (first, second) = entries.split_at_mut(readable_entries);
        for (list, data) in [(first, &mut readable), (second, &mut writable)] {
            if list.is_empty() {
                continue;
            }
            // SAFETY: `list` has `list.len()` elements, which is what `data` needs. INVARIANT: The
            // elements cover `data`.
            unsafe {
                let len = list.len() as u32;
                bindings::virtio_helper_sg_init_table(list.as_mut_ptr(), len);
                bindings::virtio_helper_sg_set(
                    list.as_mut_ptr(),
                    len,
                    data.as_mut_ptr().cast(),
                    data.len(),
                );
            }
        }

        Ok(KBox::new(
            Self {
                readable,
                writable,
                entries: Entries(entries),
                readable_entries,
                writable_entries,
                context,
                awaited: false,
                links: Links::new(),
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    pub(super) fn context(&self) -> &C {
        &self.context
    }

    /// What the owner wants to know again.
    pub(crate) fn context_mut(&mut self) -> &mut C {
        &mut self.context
    }

    /// The device is to notify when it returns the request; otherwise that is noticed sooner or
    /// later.
    pub(crate) fn set_awaited(&mut self) {
        self.awaited = true;
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// The bytes for the device.
    pub(crate) fn readable_mut(&mut self) -> &mut [u8] {
        &mut self.readable
    }

    /// Lengths of the bytes for the device and of the space for its answer.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        (self.readable.len(), self.writable.len())
    }

    /// The two scatterlists: pointer and number of elements of what the device reads, then of what
    /// it writes.
    pub(super) fn lists(&mut self) -> [(*mut bindings::scatterlist, usize); 2] {
        let (first, second) = self.entries.0.split_at_mut(self.readable_entries);
        [
            (first.as_mut_ptr(), self.readable_entries),
            (second.as_mut_ptr(), self.writable_entries),
        ]
    }
}

/// Calls `each` with start and length of every run of guest-physical memory that `memory` consists
/// of.
///
/// # Errors
///
/// Those of `each`.
pub(crate) fn physical_runs(
    memory: &KVVec<u8>,
    mut each: impl FnMut(u64, u32) -> Result,
) -> Result {
    let mut rest = memory.as_slice();
    while !rest.is_empty() {
        // SAFETY: The address lies in memory of `kvmalloc`.
        let start = unsafe { bindings::virtio_helper_phys(rest.as_ptr().cast()) };
        // The next page may be anywhere.
        let to_page_end = PAGE_SIZE - start as usize % PAGE_SIZE;
        let (run, after) = rest.split_at(to_page_end.min(rest.len()));
        each(start, run.len() as u32)?;
        rest = after;
    }
    Ok(())
}

/// Copies memory that a device may be writing to, from byte `start` on: each byte is read once.
/// What `memory` does not have is not copied.
pub(crate) fn copy_from_device(memory: &KVVec<u8>, start: usize, to: &mut [u8]) {
    const WORD: usize = size_of::<u64>();
    let len = memory.len().saturating_sub(start).min(to.len());
    // SAFETY: Within the memory, or its end.
    let from = unsafe { memory.as_ptr().add(start.min(memory.len())) };
    let words = match from.align_offset(WORD) {
        0 => len / WORD,
        _ => 0,
    };
    let (whole, rest) = to.split_at_mut(words * WORD);
    for (at, word) in whole.chunks_exact_mut(WORD).enumerate() {
        // SAFETY: Within the memory, and aligned.
        let value = unsafe { from.cast::<u64>().add(at).read_volatile() };
        word.copy_from_slice(&value.to_ne_bytes());
    }
    for (at, byte) in (words * WORD..len).zip(rest) {
        // SAFETY: Within the memory.
        *byte = unsafe { from.add(at).read_volatile() };
    }
}

/// A request that the device is done with.
pub(crate) struct Completed<C> {
    request: KBox<Request<C>>,
    written: usize,
}

impl<C> Completed<C> {
    pub(super) fn new(request: KBox<Request<C>>, written: usize) -> Self {
        Self { request, written }
    }

    /// Copies the start of what the device wrote to `to`. Returns how many bytes.
    ///
    /// The device can still change what it wrote, but not the copy: nothing is to be copied twice
    /// and believed to be the same.
    ///
    /// # Errors
    ///
    /// `EIO` if the device claims to have written more than there was space for.
    pub(crate) fn copy(&self, to: &mut [u8]) -> Result<usize> {
        let from = &self.request.writable;
        if self.written > from.len() {
            return Err(EIO);
        }
        let len = self.written.min(to.len());
        copy_from_device(from, 0, to.get_mut(..len).unwrap_or_default());
        Ok(len)
    }

    /// A copy of the structure at the start of what the device wrote.
    ///
    /// # Errors
    ///
    /// `EIO` if it is shorter, or as [`Self::copy`].
    pub(crate) fn read<T: FromBytes + IntoBytes>(&self) -> Result<T> {
        let mut value = T::new_zeroed();
        self.fill(&mut value)?;
        Ok(value)
    }

    /// As [`Self::read`], for what is large.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(crate) fn fill<T: FromBytes + IntoBytes>(&self, value: &mut T) -> Result {
        let to = value.as_mut_bytes();
        let len = to.len();
        if self.copy(to)? < len {
            return Err(EIO);
        }
        Ok(())
    }

    /// What the owner wanted to know again.
    pub(crate) fn context_mut(&mut self) -> &mut C {
        self.request.context_mut()
    }

    /// The request, to be used again.
    pub(crate) fn into_request(self) -> KBox<Request<C>> {
        self.request
    }
}
