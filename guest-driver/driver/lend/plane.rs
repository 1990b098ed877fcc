// SPDX-License-Identifier: GPL-2.0

//! The memory that one buffer is queued with.

use super::fate::{Fate, Span};
use super::{Layout, Loan, Named};
use crate::driver::buffers::offset;
use crate::driver::session::Session;
use crate::media::dmabuf::{Attachment, DmaBuf};
use crate::media::pages::{OwnPages, PinnedPages, Runs};
use crate::wire::sg::{SgEntry, Uuid};
use crate::wire::v4l2::{Buffer, MEMORY_DMABUF, MEMORY_USERPTR, VIDEO_MAX_PLANES};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use zerocopy::IntoBytes;

/// Descriptors of a command apart from its SG entries: its other bytes, and the answer.
const OTHER_DESCRIPTORS: usize = 4;

/// Longest part of one entry, in bytes: whole pages.
const MAX_ENTRY: u64 = u32::MAX as u64 + 1 - PAGE_SIZE as u64;

/// How the device is told of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `VIRTIO_MEDIA_SHARED_PAGES`: SG entries.
    Pages,
    /// `VIRTIO_MEDIA_OBJECT`: UUIDs.
    Objects,
}

impl Form {
    /// `memory` of the buffer.
    pub(super) fn wire(self) -> u32 {
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
    /// Of another device; attached if its pages are lent and not its UUID.
    DmaBuf(DmaBuf, Option<Attachment>),
}

/// What a buffer is queued with.
pub(super) struct Lent {
    /// As the client named it, with lengths where it left them out.
    pub(super) named: Named,
    /// The device has yet to say whether it takes the objects.
    pub(super) trial: bool,
    /// The commands that told the device of it.
    pub(super) span: Span,
    form: Form,
    entries: Arc<KVVec<u8>>,
    planes: KVec<Memory>,
}

impl Lent {
    /// What the device is to be told.
    pub(super) fn loan(&self) -> Loan {
        Loan {
            form: self.form,
            planes: self.planes.len(),
            named: self.named,
            entries: self.entries.clone(),
            trial: self.trial,
            fence: None,
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

    /// Whether it is the memory of a process that is named so. (The same addresses say little: programs free memory and
    /// get it back with other pages.)
    pub(super) fn is_named(&self, named: &Named) -> bool {
        let mut planes = self.planes.iter();
        let stale = planes.any(|plane| matches!(plane, Memory::User(pages) if pages.are_stale()));
        self.named == *named && !stale
    }

    /// Whether it is these dmabufs. (The number of a file descriptor says nothing.)
    fn is_of(&self, dmabufs: &[DmaBuf], lengths: &[u32]) -> bool {
        self.named.lengths == *lengths && self.dmabufs().eq(dmabufs.iter())
    }
}

/// Memory of the calling process that is to be pinned.
pub(in crate::driver) struct Unpinned {
    named: Named,
    planes: usize,
    writable: bool,
}

/// The same when it is.
pub(in crate::driver) struct Pinned {
    named: Named,
    planes: KVec<PinnedPages>,
}

impl Unpinned {
    /// Pins it. This takes as long as the process's memory takes, for ever even: no lock is held, nor the session's gate.
    ///
    /// # Errors
    ///
    /// As [`PinnedPages::new`].
    #[inline(never)] // Page faults need much of the stack.
    pub(in crate::driver) fn pin(self, session: &Session) -> Result<Pinned> {
        let mut planes = KVec::with_capacity(self.planes, GFP_KERNEL_ACCOUNT)?;
        let both = self.named.m.iter().zip(self.named.lengths);
        for (addr, length) in both.take(self.planes) {
            let pages = PinnedPages::new(*addr as usize, length as usize, self.writable)?;
            planes.push(pages, GFP_KERNEL_ACCOUNT)?;
            session.device().stats().pins.fetch_add(1, Relaxed);
        }
        Ok(Pinned {
            named: self.named,
            planes,
        })
    }
}

impl Pinned {
    /// Whether it is the memory that is named so.
    pub(super) fn is_named(&self, named: &Named) -> bool {
        self.named == *named
    }
}

/// Makes memory fit to be lent.
pub(super) struct Maker<'a> {
    pub(super) session: &'a Session,
    /// The device only reads.
    pub(super) output: bool,
    pub(super) layout: &'a Layout,
    /// The device takes objects.
    pub(super) objects: bool,
}

impl Maker<'_> {
    /// Pages of a process.
    pub(super) fn user(&self, pinned: Pinned) -> Result<Lent> {
        let mut planes = KVec::with_capacity(self.layout.planes, GFP_KERNEL_ACCOUNT)?;
        for pages in pinned.planes {
            planes.push(Memory::User(pages), GFP_KERNEL_ACCOUNT)?;
        }
        self.pages(pinned.named, planes)
    }

    /// What is to be pinned for [`Self::user`].
    ///
    /// # Errors
    ///
    /// `EINVAL` if a plane is shorter than the format wants it.
    pub(super) fn unpinned(&self, named: Named) -> Result<Unpinned> {
        self.check(&named.lengths)?;
        Ok(Unpinned {
            named,
            planes: self.layout.planes,
            writable: !self.output,
        })
    }

    /// Pages of the driver's own.
    pub(super) fn own(
        &self,
        old: Option<Lent>,
        own: KVec<Arc<OwnPages>>,
        buffer: &Buffer,
    ) -> Result<Lent> {
        if let Some(old) = old {
            return Ok(old);
        }
        let own_planes = own.len();
        let mut planes = KVec::with_capacity(own_planes, GFP_KERNEL_ACCOUNT)?;
        for pages in own {
            planes.push(Memory::Own(pages), GFP_KERNEL_ACCOUNT)?;
        }
        let mut named = Named {
            lengths: self.layout.lengths,
            m: [0; VIDEO_MAX_PLANES],
        };
        for (plane, m) in named.m.iter_mut().enumerate().take(own_planes) {
            *m = offset(buffer.type_, buffer.index, plane)?;
        }
        self.pages(named, planes)
    }

    /// Dmabufs; takes `old` if they are the same.
    pub(super) fn dmabuf(&self, old: &mut Option<Lent>, mut named: Named) -> Result<Lent> {
        let mut dmabufs = KVec::with_capacity(self.layout.planes, GFP_KERNEL_ACCOUNT)?;
        for (plane, (fd, length)) in self.planes(&{ named }).enumerate() {
            let dmabuf = DmaBuf::from_fd(fd as i32).map_err(|_| EINVAL)?;
            let size = u32::try_from(dmabuf.size()).unwrap_or(u32::MAX);
            if length > size {
                return Err(EINVAL);
            }
            if length == 0 {
                named.lengths[plane] = size;
            }
            dmabufs.push(dmabuf, GFP_KERNEL_ACCOUNT)?;
        }
        self.check(&named.lengths)?;
        if let Some(mut old) = old.take_if(|old| old.is_of(&dmabufs, &named.lengths)) {
            old.named = named;
            return Ok(old);
        }
        if self.objects {
            if let Some(lent) = self.as_objects(&named, &mut dmabufs)? {
                return Ok(lent);
            }
        }
        self.attached(named, dmabufs)
    }

    /// The same dmabufs, by their pages.
    pub(super) fn pages_of(&self, lent: Lent) -> Result<Lent> {
        let mut dmabufs = KVec::with_capacity(lent.planes.len(), GFP_KERNEL_ACCOUNT)?;
        for plane in lent.planes {
            if let Memory::DmaBuf(dmabuf, _) = plane {
                dmabufs.push(dmabuf, GFP_KERNEL_ACCOUNT)?;
            }
        }
        self.attached(lent.named, dmabufs)
    }

    /// The dmabufs by their UUIDs, if all of them have one.
    fn as_objects(&self, named: &Named, dmabufs: &mut KVec<DmaBuf>) -> Result<Option<Lent>> {
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
        Ok(Some(Lent {
            named: *named,
            trial: true,
            span: Span::default(),
            form: Form::Objects,
            entries,
            planes,
        }))
    }

    fn attached(&self, named: Named, dmabufs: KVec<DmaBuf>) -> Result<Lent> {
        let mut planes = KVec::with_capacity(dmabufs.len(), GFP_KERNEL_ACCOUNT)?;
        for dmabuf in dmabufs {
            let dev = self.session.device().dma_device().clone();
            let attachment = dmabuf.attach(dev, !self.output)?;
            self.session.device().stats().attaches.fetch_add(1, Relaxed);
            planes.push(Memory::DmaBuf(dmabuf, Some(attachment)), GFP_KERNEL_ACCOUNT)?;
        }
        self.pages(named, planes)
    }

    /// What the client named for each plane, and the length.
    fn planes<'a>(&self, named: &'a Named) -> impl Iterator<Item = (u64, u32)> + 'a {
        let both = named.m.iter().copied().zip(named.lengths);
        both.take(self.layout.planes)
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
    /// As [`MediaDevice::check_lending`](crate::driver::device::MediaDevice::check_lending); `E2BIG`; `ENOMEM`.
    fn pages(&self, named: Named, planes: KVec<Memory>) -> Result<Lent> {
        self.session.device().check_lending()?;
        let mut entries = KVVec::new();
        for (plane, length) in planes.iter().zip(named.lengths) {
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
        Ok(Lent {
            named,
            trial: false,
            span: Span::default(),
            form: Form::Pages,
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
        let size = self.session.device().commands().size();
        if size == 0 || needed <= size {
            return Ok(());
        }
        if crate::virtio::may_log() {
            pr_warn!(
                "a buffer in {} pieces needs {} descriptors, and the command queue has {}: use huge pages or a DMA heap\n",
                bytes / size_of::<SgEntry>(),
                needed,
                size
            );
        }
        Err(E2BIG)
    }
}
