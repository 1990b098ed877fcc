// SPDX-License-Identifier: GPL-2.0

//! The memory that one buffer is queued with.

use super::device::DeviceMemory;
use crate::driver::queue::{Fate, Layout, Span};
use crate::media::dmabuf::{Attachment, DmaBuf};
use crate::media::pages::{OwnPages, PinnedPages, Runs};
use crate::wire::sg::{SgEntry, Uuid};
use crate::wire::v4l2::{
    is_multiplanar, Buffer, Plane, MEMORY_DMABUF, MEMORY_USERPTR, VIDEO_MAX_PLANES,
};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use zerocopy::IntoBytes;

/// Descriptors of a command apart from its SG entries: its other bytes, and the answer.
const OTHER_DESCRIPTORS: usize = 4;

/// Longest part of one entry, in bytes: whole pages.
const MAX_ENTRY: u64 = u32::MAX as u64 + 1 - PAGE_SIZE as u64;

/// How QBUF names memory to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WireMemory {
    /// `VIRTIO_MEDIA_SHARED_PAGES`: SG entries.
    Pages,
    /// `VIRTIO_MEDIA_OBJECT`: UUIDs.
    Objects,
}

impl WireMemory {
    /// `memory` of the buffer.
    fn number(self) -> u32 {
        match self {
            Self::Pages => MEMORY_USERPTR,
            Self::Objects => MEMORY_DMABUF,
        }
    }
}

/// The memory of one plane.
enum Memory {
    /// Of a process.
    User(PinnedPages),
    /// Of the driver.
    Own(Arc<OwnPages>),
    /// Of another device; attached if the device gets its pages and not its UUID.
    DmaBuf(DmaBuf, Option<Attachment>),
}

/// The memory that a client names in QBUF: length in bytes, and `m` (address or file descriptor), a
/// plane each.
#[derive(Clone, Copy)]
pub(super) struct NamedMemory {
    planes: usize,
    lengths: [u32; VIDEO_MAX_PLANES],
    m: [u64; VIDEO_MAX_PLANES],
}

impl NamedMemory {
    /// # Errors
    ///
    /// `EINVAL` if there is too short an array for the buffer's planes.
    pub(super) fn new(buffer: &Buffer, planes: &[Plane], layout: &Layout) -> Result<Self> {
        let mut named = Self {
            planes: layout.planes,
            lengths: [0; VIDEO_MAX_PLANES],
            m: [0; VIDEO_MAX_PLANES],
        };
        if !is_multiplanar(buffer.type_) {
            (named.lengths[0], named.m[0]) = (buffer.length, buffer.m);
            return Ok(named);
        }
        let planes = planes.get(..layout.planes).ok_or(EINVAL)?;
        let to = named.lengths.iter_mut().zip(named.m.iter_mut());
        for ((length, m), plane) in to.zip(planes) {
            (*length, *m) = (plane.length, plane.m);
        }
        Ok(named)
    }

    /// Address or file descriptor, and length.
    fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let both = self.m.iter().copied().zip(self.lengths);
        both.take(self.planes)
    }

    /// Whether it names these pages.
    fn is_of<'a>(&self, mut pages: impl Iterator<Item = &'a PinnedPages>) -> bool {
        let same = |(addr, len): (u64, u32)| {
            let pages = pages.next();
            pages.is_some_and(|pages| pages.is_at(addr as usize, len as usize))
        };
        self.iter().all(same) && pages.next().is_none()
    }
}

/// What a buffer is queued with.
pub(super) struct ImportedBuffer {
    /// The device has yet to say whether it takes the objects.
    pub(super) trial: bool,
    /// The commands that named it to the device.
    pub(super) span: Span,
    /// Of the planes, in bytes; where the client left them out, of all the memory.
    lengths: [u32; VIDEO_MAX_PLANES],
    wire: WireMemory,
    entries: Arc<KVVec<u8>>,
    planes: KVec<Memory>,
}

impl ImportedBuffer {
    /// `memory` of the buffer, as the device is to see it.
    pub(super) fn wire_memory(&self) -> u32 {
        self.wire.number()
    }

    /// Lengths of the planes in bytes.
    pub(super) fn lengths(&self) -> [u32; VIDEO_MAX_PLANES] {
        self.lengths
    }

    /// What goes behind the planes: SG entries or UUIDs.
    pub(super) fn entries(&self) -> &Arc<KVVec<u8>> {
        &self.entries
    }

    /// How many bytes the answer has behind the planes.
    pub(super) fn reply_tail(&self) -> usize {
        match self.wire {
            WireMemory::Objects => self.entries.len(),
            WireMemory::Pages => 0,
        }
    }

    /// The dmabufs.
    pub(super) fn dmabufs(&self) -> impl Iterator<Item = &DmaBuf> {
        self.planes.iter().filter_map(|plane| match plane {
            Memory::DmaBuf(dmabuf, _) => Some(dmabuf),
            _ => None,
        })
    }

    /// Whether the device may remember it.
    pub(super) fn is_remembered(&self, fate: Fate) -> bool {
        self.span.is_remembered(fate)
    }

    /// Whether it is the memory of a process that is named so. (The same addresses say little:
    /// programs free memory and get it back with other pages.)
    pub(super) fn is_named(&self, named: &NamedMemory) -> bool {
        let pages = self.planes.iter().filter_map(|plane| match plane {
            Memory::User(pages) => Some(pages),
            _ => None,
        });
        named.is_of(pages.clone()) && !pages.clone().any(PinnedPages::are_stale)
    }

    /// Whether it is these dmabufs. (The number of a file descriptor says nothing.)
    fn is_of(&self, dmabufs: &[DmaBuf], lengths: &[u32]) -> bool {
        self.lengths == *lengths && self.dmabufs().eq(dmabufs.iter())
    }
}

/// Memory of the calling process that is to be pinned.
pub(in crate::driver) struct Unpinned {
    named: NamedMemory,
    writable: bool,
}

/// Memory of the calling process that is pinned.
pub(in crate::driver) struct Pinned(KVec<PinnedPages>);

impl Unpinned {
    /// Pins it. Its pages may have to be read from a file system that never answers, so neither a
    /// lock nor the session's gate may be held.
    ///
    /// # Errors
    ///
    /// As [`PinnedPages::new`].
    #[inline(never)] // Page faults need much of the stack.
    pub(in crate::driver) fn pin(self, device: &DeviceMemory) -> Result<Pinned> {
        let mut planes = KVec::with_capacity(self.named.planes, GFP_KERNEL_ACCOUNT)?;
        for (addr, length) in self.named.iter() {
            let pages = PinnedPages::new(addr as usize, length as usize, self.writable)?;
            planes.push(pages, GFP_KERNEL_ACCOUNT)?;
            device.channel().stats().pins.fetch_add(1, Relaxed);
        }
        Ok(Pinned(planes))
    }
}

impl Pinned {
    /// Whether it is the memory that is named so.
    pub(super) fn is_named(&self, named: &NamedMemory) -> bool {
        named.is_of(self.0.iter())
    }
}

/// Turns memory into what QBUF carries to the device: SG entries or UUIDs.
pub(super) struct Importer<'a> {
    pub(super) device: &'a DeviceMemory,
    /// The device only reads.
    pub(super) output: bool,
    pub(super) layout: &'a Layout,
    /// The device takes objects.
    pub(super) objects: bool,
}

impl Importer<'_> {
    /// Pages of a process.
    pub(super) fn user(&self, named: &NamedMemory, pinned: Pinned) -> Result<ImportedBuffer> {
        let mut planes = KVec::with_capacity(self.layout.planes, GFP_KERNEL_ACCOUNT)?;
        for pages in pinned.0 {
            planes.push(Memory::User(pages), GFP_KERNEL_ACCOUNT)?;
        }
        self.pages(named.lengths, planes)
    }

    /// What is to be pinned for [`Self::user`].
    ///
    /// # Errors
    ///
    /// `EINVAL` if a plane is shorter than the format wants it.
    pub(super) fn unpinned(&self, named: NamedMemory) -> Result<Unpinned> {
        self.check(&named.lengths)?;
        Ok(Unpinned {
            named,
            writable: !self.output,
        })
    }

    /// Pages of the driver's own.
    pub(super) fn own(
        &self,
        old: Option<ImportedBuffer>,
        own: KVec<Arc<OwnPages>>,
    ) -> Result<ImportedBuffer> {
        if let Some(old) = old {
            return Ok(old);
        }
        let mut planes = KVec::with_capacity(own.len(), GFP_KERNEL_ACCOUNT)?;
        for pages in own {
            planes.push(Memory::Own(pages), GFP_KERNEL_ACCOUNT)?;
        }
        self.pages(self.layout.lengths, planes)
    }

    /// Dmabufs; takes `old` if they are the same.
    pub(super) fn dmabuf(
        &self,
        old: &mut Option<ImportedBuffer>,
        named: &NamedMemory,
    ) -> Result<ImportedBuffer> {
        let mut lengths = named.lengths;
        let mut dmabufs = KVec::with_capacity(self.layout.planes, GFP_KERNEL_ACCOUNT)?;
        for ((fd, length), all) in named.iter().zip(&mut lengths) {
            let dmabuf = DmaBuf::from_fd(fd as i32).map_err(|_| EINVAL)?;
            let size = u32::try_from(dmabuf.size()).unwrap_or(u32::MAX);
            if length > size {
                return Err(EINVAL);
            }
            if length == 0 {
                *all = size;
            }
            dmabufs.push(dmabuf, GFP_KERNEL_ACCOUNT)?;
        }
        self.check(&lengths)?;
        if let Some(old) = old.take_if(|old| old.is_of(&dmabufs, &lengths)) {
            return Ok(old);
        }
        if self.objects {
            if let Some(imported) = self.as_objects(&lengths, &mut dmabufs)? {
                return Ok(imported);
            }
        }
        self.attached(lengths, dmabufs)
    }

    /// The same dmabufs, by their pages.
    pub(super) fn pages_of(&self, imported: ImportedBuffer) -> Result<ImportedBuffer> {
        let mut dmabufs = KVec::with_capacity(imported.planes.len(), GFP_KERNEL_ACCOUNT)?;
        for plane in imported.planes {
            if let Memory::DmaBuf(dmabuf, _) = plane {
                dmabufs.push(dmabuf, GFP_KERNEL_ACCOUNT)?;
            }
        }
        self.attached(imported.lengths, dmabufs)
    }

    /// The dmabufs by their UUIDs, if all of them have one.
    fn as_objects(
        &self,
        lengths: &[u32; VIDEO_MAX_PLANES],
        dmabufs: &mut KVec<DmaBuf>,
    ) -> Result<Option<ImportedBuffer>> {
        let mut entries = KVVec::new();
        for dmabuf in dmabufs.iter() {
            let Some(uuid) = dmabuf.uuid() else {
                return Ok(None);
            };
            entries.extend_from_slice(Uuid(uuid).as_bytes(), GFP_KERNEL_ACCOUNT)?;
        }
        let entries = Arc::new(entries, GFP_KERNEL_ACCOUNT)?;
        let mut planes = KVec::with_capacity(dmabufs.len(), GFP_KERNEL_ACCOUNT)?;
        for dmabuf in core::mem::replace(dmabufs, KVec::new()) {
            planes.push(Memory::DmaBuf(dmabuf, None), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Some(ImportedBuffer {
            lengths: *lengths,
            trial: true,
            span: Span::default(),
            wire: WireMemory::Objects,
            entries,
            planes,
        }))
    }

    fn attached(
        &self,
        lengths: [u32; VIDEO_MAX_PLANES],
        dmabufs: KVec<DmaBuf>,
    ) -> Result<ImportedBuffer> {
        let mut planes = KVec::with_capacity(dmabufs.len(), GFP_KERNEL_ACCOUNT)?;
        for dmabuf in dmabufs {
            let dev = self.device.dma_device().clone();
            let attachment = dmabuf.attach(dev, !self.output)?;
            self.device.channel().stats().attaches.fetch_add(1, Relaxed);
            planes.push(Memory::DmaBuf(dmabuf, Some(attachment)), GFP_KERNEL_ACCOUNT)?;
        }
        self.pages(lengths, planes)
    }

    /// # Errors
    ///
    /// `EINVAL` if a plane is shorter than the format wants it.
    fn check(&self, lengths: &[u32]) -> Result {
        let wanted = self.layout.lengths.iter().take(self.layout.planes);
        if lengths.iter().zip(wanted).any(|(have, want)| have < want) {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Memory by its pages.
    ///
    /// # Errors
    ///
    /// As [`DeviceMemory::check_import`]; `E2BIG`; `ENOMEM`.
    fn pages(
        &self,
        lengths: [u32; VIDEO_MAX_PLANES],
        planes: KVec<Memory>,
    ) -> Result<ImportedBuffer> {
        self.device.check_import()?;
        let mut entries = KVVec::new();
        for (plane, length) in planes.iter().zip(lengths) {
            let mut runs = Runs::new();
            let length = length as usize;
            match plane {
                Memory::User(pages) => pages.runs(&mut runs)?,
                Memory::Own(pages) => pages.runs(length, &mut runs)?,
                Memory::DmaBuf(_, Some(attachment)) => attachment.runs(length, &mut runs)?,
                Memory::DmaBuf(_, None) => return Err(EINVAL),
            }
            for run in runs.iter() {
                let mut start = run.start;
                while start < run.end {
                    let len = (run.end - start).min(MAX_ENTRY);
                    let entry = SgEntry::new(start, len as u32);
                    entries.extend_from_slice(entry.as_bytes(), GFP_KERNEL_ACCOUNT)?;
                    start += len;
                }
            }
        }
        self.fits(entries.len())?;
        Ok(ImportedBuffer {
            lengths,
            trial: false,
            span: Span::default(),
            wire: WireMemory::Pages,
            entries: Arc::new(entries, GFP_KERNEL_ACCOUNT)?,
            planes,
        })
    }

    /// Whether the command queue can carry so many bytes of entries.
    ///
    /// # Errors
    ///
    /// `E2BIG`.
    fn fits(&self, bytes: usize) -> Result {
        let needed = bytes.div_ceil(PAGE_SIZE) + OTHER_DESCRIPTORS;
        let size = self.device.channel().commands().size();
        if size == 0 || needed <= size {
            return Ok(());
        }
        if crate::virtio::may_log() {
            pr_warn!(
                "a buffer in {} pieces needs {} descriptors, and the command queue has {}: \
                 use huge pages or a DMA heap\n",
                bytes / size_of::<SgEntry>(),
                needed,
                size
            );
        }
        Err(E2BIG)
    }
}
