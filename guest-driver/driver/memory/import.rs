// SPDX-License-Identifier: GPL-2.0

//! Memory of a session's buffers that is not the device's, imported for as long as the device may
//! use it.
//!
//! | memory of the client's buffers | what QBUF names to the device |
//! |---|---|
//! | MMAP, and the device has no memory that can be mapped | pages of the driver's own |
//! | USERPTR | the process's pages, pinned |
//! | DMABUF | its pages; its UUID, if it is of a virtio device and this one takes objects |
//!
//! The memory of a buffer stays pinned or attached until the buffer is queued with other memory, so
//! a client that uses the same memory again costs nothing. Memory that was replaced stays imported
//! until the device has [forgotten](crate::driver::queue::Span) it, which is checked when the
//! buffer is queued again.
//!
//! Only processes change the table, so nothing is unpinned in an interrupt. Nothing is unpinned
//! while the device may use it either: a buffer that is with the device is not queued again,
//! REQBUFS and REMOVE_BUFS are answered before their buffers go, and the memory of a closed session
//! goes when its CLOSE has been answered.

use super::device::DeviceMemory;
use super::fence::{FenceState, Watches};
use super::plane::{ImportedBuffer, Importer, NamedMemory, Pinned, Unpinned};
use crate::driver::queue::{ImportRequest, Imported, Layout, Purpose, TYPES};
use crate::media::pages::OwnPages;
use crate::wire::v4l2::{Buffer, Plane, MEMORY_DMABUF, MEMORY_MMAP};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// The memory of all buffers of a session.
#[pin_data]
pub(in crate::driver) struct ImportTable {
    /// Not held while something is pinned or attached: `mmap(2)` takes it below the process's
    /// `mmap_lock`.
    #[pin]
    entries: Mutex<KVec<KVVec<Option<Entry>>>>,
}

/// The memory of one buffer.
#[derive(Default)]
struct Entry {
    /// Memory of the driver's own, a plane each.
    own: KVec<Arc<OwnPages>>,
    /// What it was queued with last.
    imported: Option<ImportedBuffer>,
    /// What it was queued with before, and the device may remember.
    replaced: KVec<ImportedBuffer>,
    /// The fences of `imported`.
    watches: Watches,
}

/// The result of [`ImportTable::import`].
pub(in crate::driver) enum Outcome {
    /// What is imported; `None` if the memory is the device's.
    Ready(Option<Import>),
    /// This is to be pinned first, without the session's gate.
    Pin(Unpinned),
}

/// What QBUF or PREPARE_BUF says of a buffer's memory.
pub(in crate::driver) struct Import {
    imported: Imported,
    entries: Arc<KVVec<u8>>,
    reply_tail: usize,
    /// The device has not seen the object yet.
    trial: bool,
    fence: Option<Arc<FenceState>>,
}

impl Import {
    /// What the buffer is to know of it.
    pub(in crate::driver) fn imported(&self) -> &Imported {
        &self.imported
    }

    /// What goes behind the planes: SG entries or UUIDs.
    pub(in crate::driver) fn entries(&self) -> &[u8] {
        &self.entries
    }

    /// How many bytes the answer has behind the planes.
    pub(in crate::driver) fn reply_tail(&self) -> usize {
        self.reply_tail
    }

    /// Whether the device may refuse the memory for what it is: then the command must be waited
    /// for. See [`ImportTable::accepted`] and [`ImportTable::refused`].
    pub(in crate::driver) fn is_trial(&self) -> bool {
        self.trial
    }

    /// What must be over before the device may have the buffer, if anything is under way.
    pub(in crate::driver) fn fence(&self) -> Option<Arc<FenceState>> {
        self.fence.clone()
    }
}

impl ImportTable {
    /// Nothing is imported.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::driver) fn new() -> Result<impl PinInit<Self>> {
        let mut entries = KVec::with_capacity(TYPES, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..TYPES {
            entries.push(KVVec::new(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(pin_init!(Self {
            entries <- new_mutex!(entries),
        }))
    }

    /// Calls `action` with the buffers of that type. It must not pin or attach anything.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such type; those of `action`.
    fn with<R>(
        &self,
        buf_type: u32,
        action: impl FnOnce(&mut KVVec<Option<Entry>>) -> Result<R>,
    ) -> Result<R> {
        let mut entries = self.entries.lock();
        action(entries.get_mut(buf_type as usize).ok_or(EINVAL)?)
    }

    /// As [`Self::with`], with a buffer that exists.
    fn with_entry<R>(
        &self,
        buf_type: u32,
        index: u32,
        action: impl FnOnce(&mut Entry) -> Result<R>,
    ) -> Result<R> {
        self.with(buf_type, |entries| {
            let entry = entries.get_mut(index as usize).and_then(Option::as_mut);
            action(entry.ok_or(EINVAL)?)
        })
    }

    fn with_buffer<R>(
        &self,
        buffer: &Buffer,
        action: impl FnOnce(&mut Entry) -> Result<R>,
    ) -> Result<R> {
        self.with_entry(buffer.type_, buffer.index, action)
    }

    /// Imports the memory that QBUF or PREPARE_BUF names. The buffer is neither with the device nor
    /// waits to be dequeued, and the session's gate is held. `pinned` is what the last call asked
    /// for, if it did.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: less memory than the format needs, more than the dmabuf has, no dmabuf.
    /// - `E2BIG`: in too many pieces for the command queue.
    /// - `ENOMEM`; those of a dmabuf's exporter.
    #[inline(never)] // Its frame is large, and must not be there while memory is pinned.
    pub(in crate::driver) fn import(
        &self,
        device: &DeviceMemory,
        session: u32,
        buffer: &Buffer,
        planes: &[Plane],
        request: &ImportRequest,
        pinned: Option<Pinned>,
    ) -> Result<Outcome> {
        let rules = &request.rules;
        if rules.wire_memory == MEMORY_MMAP {
            return Ok(Outcome::Ready(None));
        }
        let imported = if request.purpose == Purpose::QueuePrepared {
            self.with_buffer(buffer, |entry| entry.imported.take().ok_or(EINVAL))?
        } else {
            let named = NamedMemory::new(buffer, planes, &request.layout)?;
            let importer = Importer {
                device,
                output: rules.output,
                layout: &request.layout,
                objects: rules.objects,
            };
            match rules.memory {
                MEMORY_MMAP => self.import_own(&importer, buffer)?,
                MEMORY_DMABUF => self.import_dmabufs(&importer, buffer, &named)?,
                _ => {
                    let same = self.with_buffer(buffer, |entry| {
                        Ok(entry.imported.take_if(|old| old.is_named(&named)))
                    })?;
                    match (same, pinned) {
                        (Some(same), _) => same,
                        (None, Some(pinned)) if pinned.is_named(&named) => {
                            importer.user(&named, pinned)?
                        }
                        _ => return Ok(Outcome::Pin(importer.unpinned(named)?)),
                    }
                }
            }
        };
        let import = self.store(device, session, buffer, imported, request)?;
        Ok(Outcome::Ready(Some(import)))
    }

    /// Dmabufs.
    fn import_dmabufs(
        &self,
        importer: &Importer<'_>,
        buffer: &Buffer,
        named: &NamedMemory,
    ) -> Result<ImportedBuffer> {
        let mut old = self.with_buffer(buffer, |entry| Ok(entry.imported.take()))?;
        let made = importer.dmabuf(&mut old, named);
        // If it is not used again, or nothing can be made, it is the buffer's still.
        self.with_buffer(buffer, |entry| {
            entry.imported = old;
            Ok(())
        })?;
        made
    }

    /// Pages of the driver's own.
    fn import_own(&self, importer: &Importer<'_>, buffer: &Buffer) -> Result<ImportedBuffer> {
        let (old, own) = self.with_buffer(buffer, |entry| {
            let old = entry.imported.take();
            let mut own = KVec::new();
            // Not for each frame: what was imported before has them.
            if old.is_none() {
                for pages in entry.own.iter() {
                    own.push(pages.clone(), GFP_KERNEL_ACCOUNT)?;
                }
            }
            Ok((old, own))
        })?;
        importer.own(old, own)
    }

    /// Notes what a buffer is queued with.
    fn store(
        &self,
        device: &DeviceMemory,
        session: u32,
        buffer: &Buffer,
        mut imported: ImportedBuffer,
        request: &ImportRequest,
    ) -> Result<Import> {
        let mut replaced = self.with_buffer(buffer, |entry| {
            if entry.imported.is_some() {
                entry.replaced.reserve(1, GFP_KERNEL_ACCOUNT)?;
            }
            let mut replaced = core::mem::take(&mut entry.replaced);
            if let Some(old) = entry.imported.take() {
                // There is capacity for one more.
                let _ = replaced.push_within_capacity(old);
            }
            Ok(replaced)
        })?;
        // Out of the lock.
        replaced.retain(|imported| imported.is_remembered(request.fate));
        let mut import = Import {
            imported: Imported {
                wire_memory: imported.wire_memory(),
                lengths: imported.lengths(),
            },
            entries: imported.entries().clone(),
            reply_tail: imported.reply_tail(),
            trial: imported.trial,
            fence: None,
        };
        let watches = if request.purpose == Purpose::Prepare {
            Ok(Watches::none())
        } else {
            Watches::new(device.channel(), session, &imported, request.rules.output)
        };
        if watches.is_ok() {
            imported.span.extend(request.number);
        }
        let old = self.with_buffer(buffer, |entry| {
            (entry.imported, entry.replaced) = (Some(imported), replaced);
            let watches = watches?;
            import.fence = watches.state();
            Ok(core::mem::replace(&mut entry.watches, watches))
        })?;
        // Out of the lock.
        drop(old);
        Ok(import)
    }

    /// The device has taken the objects that the buffer was queued with: they are no trial any
    /// more.
    pub(in crate::driver) fn accepted(&self, buffer: &Buffer) {
        let _ = self.with_buffer(buffer, |entry| {
            if let Some(imported) = &mut entry.imported {
                imported.trial = false;
            }
            Ok(())
        });
    }

    /// The device has refused the objects that the buffer was to be queued with: their pages
    /// instead.
    ///
    /// # Errors
    ///
    /// Those of a dmabuf's exporter; as [`Self::import`].
    pub(in crate::driver) fn refused(
        &self,
        device: &DeviceMemory,
        session: u32,
        buffer: &Buffer,
        request: &ImportRequest,
    ) -> Result<Import> {
        let imported = self.with_buffer(buffer, |entry| entry.imported.take().ok_or(EINVAL))?;
        let importer = Importer {
            device,
            output: request.rules.output,
            layout: &request.layout,
            objects: false,
        };
        let pages = importer.pages_of(imported)?;
        let mut import = self.store(device, session, buffer, pages, request)?;
        import.trial = false;
        Ok(import)
    }

    /// The driver's own pages of a plane: `None` if it is the device's.
    pub(in crate::driver) fn own_pages(
        &self,
        buf_type: u32,
        index: u32,
        plane: usize,
    ) -> Option<Arc<OwnPages>> {
        let pages = self.with_entry(buf_type, index, |entry| Ok(entry.own.get(plane).cloned()));
        pages.ok().flatten()
    }

    /// There are new buffers from index `first` on, whose memory is not the device's. If `own` they
    /// get pages of the driver's.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also for more than half of all memory.
    pub(in crate::driver) fn add<'a>(
        &self,
        buf_type: u32,
        first: u32,
        layouts: impl Iterator<Item = &'a Layout> + Clone,
        own: bool,
    ) -> Result {
        // Sizes are the device's word.
        let total: u64 = layouts.clone().map(Layout::bytes).sum();
        if own && total > OwnPages::limit() {
            return Err(ENOMEM);
        }
        let mut new = KVVec::with_capacity(layouts.clone().count(), GFP_KERNEL_ACCOUNT)?;
        for layout in layouts {
            let mut entry = Entry::default();
            let lengths = layout.lengths.iter().take(layout.planes);
            for length in lengths.take_while(|_| own) {
                let pages = Arc::new(OwnPages::new(*length as usize)?, GFP_KERNEL_ACCOUNT)?;
                entry.own.push(pages, GFP_KERNEL_ACCOUNT)?;
            }
            new.push(Some(entry), GFP_KERNEL_ACCOUNT)?;
        }
        self.with(buf_type, |entries| {
            let end = first as usize + new.len();
            while entries.len() < end {
                entries.push(None, GFP_KERNEL_ACCOUNT)?;
            }
            let places = entries.iter_mut().skip(first as usize);
            for (place, entry) in places.zip(new) {
                *place = entry;
            }
            Ok(())
        })
    }

    /// REQBUFS has succeeded: nothing is imported for buffers of that type.
    pub(in crate::driver) fn clear(&self, buf_type: u32) {
        let old = self.with(buf_type, |entries| Ok(core::mem::take(entries)));
        // Out of the lock.
        drop(old);
    }

    /// The device has been reset: gives all back before the device that dmabufs are attached to
    /// goes. No buffer is queued meanwhile. May sleep.
    pub(in crate::driver) fn end(&self) {
        for buf_type in 0..TYPES {
            self.clear(buf_type as u32);
        }
    }

    /// REMOVE_BUFS has succeeded.
    pub(in crate::driver) fn remove(&self, buf_type: u32, first: u32, count: u32) {
        for index in first..first.saturating_add(count) {
            let old = self.with(buf_type, |entries| {
                let entry = entries.get_mut(index as usize).ok_or(EINVAL)?;
                Ok(entry.take())
            });
            if old.is_err() {
                break;
            }
            // Out of the lock.
            drop(old);
        }
    }
}
