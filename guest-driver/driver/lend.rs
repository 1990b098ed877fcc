// SPDX-License-Identifier: GPL-2.0

//! Memory of a session's buffers that is not the device's: lent to it for as long as it may use it.
//!
//! | the client's buffers | what the device is told |
//! |---|---|
//! | MMAP, and the device has no memory that can be mapped | pages of the driver's own |
//! | USERPTR | the process's pages, pinned |
//! | DMABUF | the pages behind it; its UUID, if it is of a virtio device and this one takes objects |
//!
//! What a buffer was queued with stays pinned or attached until it is queued with something else: a client that uses
//! the same memory again costs nothing. What that replaces stays as well until the device has [forgotten](fate) it, which is
//! looked at when the buffer is queued again. The tables are only touched by processes. So nothing is unpinned in an
//! interrupt, and nothing while the device may use it: buffers that are with the device are not queued again, REQBUFS
//! and REMOVE_BUFS are answered before their buffers go, and what a closed session had lent goes when its CLOSE has been
//! answered.

mod export;
mod fate;
mod fence;
mod plane;
mod request;

pub(super) use export::expbuf;
pub(super) use fate::Fate;
pub(super) use fence::{FenceState, Ready};

use super::buffers::Mappable;
use super::session::Session;
use crate::media::pages::OwnPages;
use crate::wire::v4l2::{
    is_multiplanar, is_output, Buffer, Plane, MEMORY_DMABUF, MEMORY_MMAP, VIDEO_MAX_PLANES,
};
use fence::Watches;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use plane::{Form, Lent};
pub(super) use plane::{Pinned, Unpinned};

/// Number of buffer types, the unused 0 included (`enum v4l2_buf_type`).
const TYPES: usize = 15;

/// The memory of all buffers of a session.
#[pin_data]
pub(super) struct Lending {
    /// Not held while something is pinned or attached: `mmap(2)` takes it below the process's `mmap_lock`.
    #[pin]
    queues: Mutex<KVec<Queue>>,
}

/// The buffers of one type.
#[derive(Default)]
struct Queue {
    /// `V4L2_MEMORY_*` as the client asked for it; 0 before it did.
    client: u32,
    /// `V4L2_MEMORY_*` as the device was asked for it.
    device: u32,
    /// The device takes virtio objects.
    objects: bool,
    slots: KVVec<Slot>,
}

/// A buffer.
struct Slot {
    layout: Layout,
    /// Memory of the driver's own, a plane each.
    own: KVec<Arc<OwnPages>>,
    /// What it was queued with last.
    lent: Option<Lent>,
    /// What it was queued with before, and the device may remember.
    replaced: KVec<Lent>,
    /// What other devices have yet to do with that.
    watches: Watches,
}

/// The planes of a buffer, as the format wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// How many there are; 0 if the buffer has been removed.
    pub(super) planes: usize,
    /// Their sizes in bytes.
    pub(super) lengths: [u32; VIDEO_MAX_PLANES],
}

/// The memory that a client names in QBUF: length in bytes, and `m` (address or file descriptor), a plane each.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Named {
    lengths: [u32; VIDEO_MAX_PLANES],
    m: [u64; VIDEO_MAX_PLANES],
}

/// What a buffer's memory is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// QBUF.
    Queue,
    /// QBUF after PREPARE_BUF: what that named counts.
    QueuePrepared,
    /// PREPARE_BUF.
    Prepare,
}

/// A QBUF or PREPARE_BUF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub(super) purpose: Purpose,
    /// Its number.
    pub(super) number: u64,
    /// What has become of those before.
    pub(super) fate: Fate,
}

/// What comes of a buffer's memory: see [`Lending::lend`].
pub(super) enum Lend {
    /// What is lent; `None` if it is the device's.
    Ready(Option<Loan>),
    /// This is to be pinned first, without the session's gate.
    Pin(Unpinned),
}

/// What the device is to be told of a buffer's memory in QBUF and PREPARE_BUF.
pub(super) struct Loan {
    form: Form,
    planes: usize,
    named: Named,
    entries: Arc<KVVec<u8>>,
    /// The device has not seen the object yet.
    trial: bool,
    fence: Option<Arc<FenceState>>,
}

impl Loan {
    /// `memory` of the buffer, as the device is to see it.
    pub(super) fn wire(&self) -> u32 {
        self.form.wire()
    }

    /// Lengths of the planes' memory in bytes.
    pub(super) fn lengths(&self) -> &[u32] {
        self.named.lengths.get(..self.planes).unwrap_or_default()
    }

    /// `m` of the planes: what the client named, or where it maps them.
    pub(super) fn pointers(&self) -> &[u64] {
        self.named.m.get(..self.planes).unwrap_or_default()
    }

    /// What goes behind the planes: SG entries or UUIDs.
    pub(super) fn entries(&self) -> &[u8] {
        &self.entries
    }

    /// How many bytes the answer has behind the planes.
    pub(super) fn reply_tail(&self) -> usize {
        match self.form {
            Form::Objects => self.entries.len(),
            Form::Pages => 0,
        }
    }

    /// Whether the device may refuse the memory for what it is: then the command must be waited for. See
    /// [`Lending::accepted`] and [`Lending::refused`].
    pub(super) fn is_trial(&self) -> bool {
        self.trial
    }

    /// What must be over before the device may have the buffer, if anything is under way.
    pub(super) fn fence(&self) -> Option<Arc<FenceState>> {
        self.fence.clone()
    }
}

impl Lending {
    /// Nothing is lent.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<impl PinInit<Self>> {
        let mut queues = KVec::with_capacity(TYPES, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..TYPES {
            queues.push(Queue::default(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(pin_init!(Self {
            queues <- new_mutex!(queues),
        }))
    }

    /// Calls `action` with the queue of that type. It must not pin or attach anything.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such type; those of `action`.
    fn with<R>(&self, buf_type: u32, action: impl FnOnce(&mut Queue) -> Result<R>) -> Result<R> {
        let mut queues = self.queues.lock();
        action(queues.get_mut(buf_type as usize).ok_or(EINVAL)?)
    }

    /// As [`Self::with`], with a buffer that exists.
    fn with_slot<R>(
        &self,
        buffer: &Buffer,
        action: impl FnOnce(&mut Slot) -> Result<R>,
    ) -> Result<R> {
        self.with(buffer.type_, |queue| action(queue.slot(buffer.index)?))
    }

    /// Takes care of the memory that QBUF or PREPARE_BUF names. The buffer is neither with the device nor waits to be
    /// dequeued, and the session's gate is held. `pinned` is what the last call asked for.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: less memory than the format needs, more than the dmabuf has, no dmabuf.
    /// - `E2BIG`: in too many pieces for the command queue.
    /// - `ENOMEM`; those of a dmabuf's exporter.
    #[inline(never)] // Its frame is large, and must not be there while memory is pinned.
    pub(super) fn lend(
        &self,
        session: &Session,
        buffer: &Buffer,
        planes: &[Plane],
        occasion: &Occasion,
        pinned: Option<Pinned>,
    ) -> Result<Lend> {
        let lent = self.with(buffer.type_, |queue| {
            if queue.device == MEMORY_MMAP {
                return Ok(None);
            }
            let layout = queue.slot(buffer.index)?.layout;
            Ok(Some((queue.client, queue.objects, layout)))
        })?;
        let Some((memory, objects, layout)) = lent else {
            return Ok(Lend::Ready(None));
        };
        if occasion.purpose == Purpose::QueuePrepared {
            let lent = self.with_slot(buffer, |slot| slot.lent.take().ok_or(EINVAL))?;
            return self.ready(session, buffer, lent, occasion);
        }
        let named = Named::new(buffer, planes, &layout)?;
        let maker = plane::Maker {
            session,
            output: is_output(buffer.type_),
            layout: &layout,
            objects,
        };
        let lent = match memory {
            MEMORY_MMAP => self.lend_own(&maker, buffer)?,
            MEMORY_DMABUF => self.lend_dmabufs(&maker, buffer, named)?,
            _ => {
                let same = self.with_slot(buffer, |slot| {
                    Ok(slot.lent.take_if(|lent| lent.is_named(&named)))
                })?;
                match (same, pinned) {
                    (Some(same), _) => same,
                    (None, Some(pinned)) if pinned.is_named(&named) => maker.user(pinned)?,
                    _ => return Ok(Lend::Pin(maker.unpinned(named)?)),
                }
            }
        };
        self.ready(session, buffer, lent, occasion)
    }

    /// Dmabufs.
    fn lend_dmabufs(
        &self,
        maker: &plane::Maker<'_>,
        buffer: &Buffer,
        named: Named,
    ) -> Result<Lent> {
        let mut old = self.with_slot(buffer, |slot| Ok(slot.lent.take()))?;
        let made = maker.dmabuf(&mut old, named);
        // If it is not used again, or nothing can be made, it is the buffer's still.
        self.with_slot(buffer, |slot| {
            slot.lent = old;
            Ok(())
        })?;
        made
    }

    /// Pages of the driver's own.
    fn lend_own(&self, maker: &plane::Maker<'_>, buffer: &Buffer) -> Result<Lent> {
        let (old, own) = self.with_slot(buffer, |slot| {
            let old = slot.lent.take();
            let mut own = KVec::new();
            // Not for each frame: what was lent before has them.
            if old.is_none() {
                for pages in slot.own.iter() {
                    own.push(pages.clone(), GFP_KERNEL_ACCOUNT)?;
                }
            }
            Ok((old, own))
        })?;
        maker.own(old, own, buffer)
    }

    fn ready(
        &self,
        session: &Session,
        buffer: &Buffer,
        lent: Lent,
        occasion: &Occasion,
    ) -> Result<Lend> {
        let loan = self.store(session, buffer, lent, occasion)?;
        Ok(Lend::Ready(Some(loan)))
    }

    /// Notes what a buffer is queued with.
    fn store(
        &self,
        session: &Session,
        buffer: &Buffer,
        mut lent: Lent,
        occasion: &Occasion,
    ) -> Result<Loan> {
        let mut replaced = self.with_slot(buffer, |slot| {
            if slot.lent.is_some() {
                slot.replaced.reserve(1, GFP_KERNEL_ACCOUNT)?;
            }
            let mut replaced = core::mem::take(&mut slot.replaced);
            if let Some(old) = slot.lent.take() {
                // There is room.
                let _ = replaced.push_within_capacity(old);
            }
            Ok(replaced)
        })?;
        // Out of the lock.
        replaced.retain(|lent| lent.is_remembered(occasion.fate));
        let mut loan = lent.loan();
        let watches = if occasion.purpose == Purpose::Prepare {
            Ok(Watches::none())
        } else {
            Watches::new(session, &lent, is_output(buffer.type_))
        };
        if watches.is_ok() {
            lent.span.extend(occasion.number);
        }
        let old = self.with_slot(buffer, |slot| {
            (slot.lent, slot.replaced) = (Some(lent), replaced);
            let watches = watches?;
            loan.fence = watches.state();
            Ok(core::mem::replace(&mut slot.watches, watches))
        })?;
        // Out of the lock.
        drop(old);
        Ok(loan)
    }

    /// The device has taken the objects that the buffer was queued with: they are no trial any more.
    pub(super) fn accepted(&self, buffer: &Buffer) {
        let _ = self.with_slot(buffer, |slot| {
            if let Some(lent) = &mut slot.lent {
                lent.trial = false;
            }
            Ok(())
        });
    }

    /// The device has refused the objects that the buffer was to be queued with: their pages instead.
    ///
    /// # Errors
    ///
    /// Those of a dmabuf's exporter; as [`Self::lend`].
    pub(super) fn refused(
        &self,
        session: &Session,
        buffer: &Buffer,
        occasion: &Occasion,
    ) -> Result<Loan> {
        let (lent, layout) = self.with_slot(buffer, |slot| {
            Ok((slot.lent.take().ok_or(EINVAL)?, slot.layout))
        })?;
        let maker = plane::Maker {
            session,
            output: is_output(buffer.type_),
            layout: &layout,
            objects: false,
        };
        let mut loan = self.store(session, buffer, maker.pages_of(lent)?, occasion)?;
        loan.trial = false;
        Ok(loan)
    }

    /// The driver's own pages of a plane: `None` if it is the device's.
    pub(super) fn own_pages(&self, wanted: &Mappable) -> Option<Arc<OwnPages>> {
        let pages = self.with(wanted.buf_type, |queue| {
            let slot = queue.slot(wanted.index)?;
            Ok(slot.own.get(wanted.plane).cloned())
        });
        pages.ok().flatten()
    }

    /// The device has been reset: gives all back before the device that dmabufs are attached to goes. May sleep.
    pub(super) fn end(&self, session: &Session) {
        // An ioctl may be about to lend something. None waits for the device any more; if a signal is why this one does
        // not wait, that ioctl gives it back itself.
        let passing = session.gate().pass();
        for buf_type in 0..TYPES {
            let old = self.with(buf_type as u32, |queue| Ok(core::mem::take(queue)));
            // Out of the lock.
            drop(old);
        }
        drop(passing);
    }

    /// REMOVE_BUFS has succeeded.
    pub(super) fn removed(&self, buf_type: u32, first: u32, count: u32) {
        for index in first..first.saturating_add(count) {
            let old = self.with(buf_type, |queue| {
                let slot = queue.slot(index)?;
                Ok(core::mem::replace(slot, Slot::new(Layout::default())))
            });
            if old.is_err() {
                break;
            }
            // Out of the lock.
            drop(old);
        }
    }
}

impl Layout {
    /// Size of all planes in bytes.
    fn bytes(&self) -> u64 {
        let lengths = self.lengths.iter().take(self.planes);
        lengths.map(|length| u64::from(*length)).sum()
    }
}

impl Queue {
    fn slot(&mut self, index: u32) -> Result<&mut Slot> {
        let slot = self.slots.get_mut(index as usize).ok_or(EINVAL)?;
        if slot.layout.planes == 0 {
            return Err(EINVAL);
        }
        Ok(slot)
    }
}

impl Slot {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            own: KVec::new(),
            lent: None,
            replaced: KVec::new(),
            watches: Watches::none(),
        }
    }
}

impl Named {
    /// # Errors
    ///
    /// `EINVAL` if there is no room for the buffer's planes.
    fn new(buffer: &Buffer, planes: &[Plane], layout: &Layout) -> Result<Self> {
        let mut named = Self {
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
}
