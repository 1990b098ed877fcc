// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What we know of one queue of the host device: who has which buffer, and in which memory.

use std::collections::VecDeque;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::v4l2::{Buffer, MEMORY_DMABUF, MEMORY_MMAP, Plane, is_multiplanar, is_output};
use v4l2r::bindings::{V4L2_BUF_FLAG_IN_REQUEST, V4L2_BUF_FLAG_MAPPED, V4L2_BUF_FLAG_REQUEST_FD};

use crate::memory::{Access, HostBuffer, ImportAs, ImportCache, MemoryCharge, PlaneMemory, Vm};

/// Pieces of memory that a buffer keeps whose QBUF failed: the kernel may have pinned some of them.
const TRIED: usize = 4;

/// A plane of a buffer.
#[derive(Debug)]
pub struct SlotPlane {
    /// Length in bytes that the host device gave it, or wants at least.
    pub length: u32,
    /// Its `mem_offset`.
    pub offset: u32,
    /// For memory of the host device.
    pub charge: Arc<MemoryCharge>,
    /// What the guest maps: ours; or the host device's, once it was mapped or exported.
    pub buffer: Option<Arc<HostBuffer>>,
}

/// A buffer.
#[derive(Debug)]
pub struct Slot {
    /// The host device has it.
    pub queued: bool,
    /// PREPARE_BUF has settled what it is to carry.
    pub prepared: bool,
    /// `V4L2_MEMORY_*` that the guest last queued it with.
    pub memory: u32,
    /// Planes.
    pub planes: Vec<SlotPlane>,
    /// What it was queued with, the last first. The kernel keeps the pages of the last that it
    /// took, and knows them by address and length: as long as they are mapped, nothing else is
    /// there.
    pub imported: VecDeque<Vec<PlaneMemory>>,
}

impl Slot {
    /// A buffer as QUERYBUF describes it.
    pub fn new(memory: u32, buffer: &Buffer, planes: &[Plane]) -> Self {
        let plane = |length, offset: u64| SlotPlane {
            length,
            // `mem_offset` has 32 bits.
            offset: offset as u32,
            charge: Arc::default(),
            buffer: None,
        };
        let planes = if is_multiplanar(buffer.type_) {
            let planes = planes.iter().take(buffer.length as usize);
            planes.map(|p| plane(p.length, p.m)).collect()
        } else {
            vec![plane(buffer.length, buffer.m)]
        };
        Self {
            queued: false,
            prepared: false,
            memory,
            planes,
            imported: VecDeque::new(),
        }
    }

    /// It is about to be queued with this memory.
    pub fn import(&mut self, memory: Vec<PlaneMemory>) {
        self.imported.truncate(TRIED - 1);
        self.imported.push_front(memory);
    }

    /// The kernel has taken the memory, and let go of what it had before.
    pub fn taken(&mut self) {
        self.imported.truncate(1);
    }

    /// The memory that we made for it. `EINVAL` if that is the host device's, or imported.
    pub fn made(&self) -> Result<Vec<PlaneMemory>, Errno> {
        let made = |plane: &SlotPlane| plane.buffer.clone().map(PlaneMemory::Own);
        let all: Option<_> = self.planes.iter().map(made).collect();
        all.ok_or(Errno::EINVAL)
    }

    /// Fills in the planes of this buffer, which clients leave empty when they queue an MMAP
    /// buffer.
    pub fn fill(&self, buffer: &mut Buffer, planes: &mut [Plane]) {
        if is_multiplanar(buffer.type_) {
            for (plane, own) in planes.iter_mut().zip(&self.planes) {
                plane.length = own.length;
                plane.m = own.offset.into();
            }
        } else if let Some(own) = self.planes.first() {
            buffer.length = own.length;
            buffer.m = own.offset.into();
        }
    }

    /// The guest has it again.
    pub fn give_back(&mut self) {
        self.queued = false;
        self.prepared = false;
    }
}

/// Buffers of one type.
#[derive(Debug)]
pub struct Queue {
    /// `V4L2_BUF_TYPE_*`.
    pub buf_type: u32,
    /// `V4L2_MEMORY_*` that the guest asked for. All but MMAP are the same: memory of the guest,
    /// imported.
    pub memory: u32,
    /// `V4L2_MEMORY_*` that the host device was asked for.
    pub host: u32,
    /// Between STREAMON and STREAMOFF.
    pub streaming: bool,
    /// By index; `None` where a buffer was removed or never made.
    pub slots: Vec<Option<Slot>>,
    /// What the queue imports.
    pub imports: Arc<ImportCache>,
}

impl Queue {
    /// A queue without buffers, for which the guest wants `memory` and the host device has `host`.
    pub fn new(buf_type: u32, (memory, host): (u32, u32), vm: &Vm) -> Self {
        let access = if is_output(buf_type) {
            Access::Read
        } else {
            Access::ReadWrite
        };
        let form = if host == MEMORY_DMABUF {
            ImportAs::Dmabuf
        } else {
            ImportAs::Mapped
        };
        Self {
            buf_type,
            memory,
            host,
            streaming: false,
            slots: Vec::new(),
            imports: Arc::new(ImportCache::new(vm, access, form)),
        }
    }

    /// A buffer. `EINVAL` if there is none.
    pub fn slot(&mut self, index: u32) -> Result<&mut Slot, Errno> {
        self.slots
            .get_mut(index as usize)
            .and_then(Option::as_mut)
            .ok_or(Errno::EINVAL)
    }

    /// Whether the guest maps its buffers.
    pub fn is_mapped(&self) -> bool {
        self.memory == MEMORY_MMAP
    }

    /// Whether we make the memory of its buffers.
    pub fn is_ours(&self) -> bool {
        self.is_mapped() && self.host != MEMORY_MMAP
    }

    /// A plane of a buffer that the guest maps. `EINVAL` if there is none.
    pub fn mapped_plane(&mut self, index: u32, plane: u32) -> Result<&mut SlotPlane, Errno> {
        if !self.is_mapped() {
            return Err(Errno::EINVAL);
        }
        let planes = &mut self.slot(index)?.planes;
        planes.get_mut(plane as usize).ok_or(Errno::EINVAL)
    }

    /// Puts new buffers in their places.
    pub fn insert_all(&mut self, slots: Vec<(u32, Slot)>) {
        for (index, slot) in slots {
            let index = index as usize;
            if self.slots.len() <= index {
                self.slots.resize_with(index + 1, || None);
            }
            if let Some(place) = self.slots.get_mut(index) {
                *place = Some(slot);
            }
        }
    }

    /// STREAMOFF: the guest has all buffers.
    pub fn cancel(&mut self) {
        self.streaming = false;
        for slot in self.slots.iter_mut().flatten() {
            slot.give_back();
        }
    }

    /// Makes what the host says of a buffer what the guest is to see.
    pub fn translate(&mut self, buffer: &mut Buffer, planes: &mut [Plane]) -> Option<&mut Slot> {
        let default = self.memory;
        let ours = self.is_ours();
        let slot = self.slot(buffer.index).ok();
        buffer.memory = slot.as_ref().map_or(default, |slot| slot.memory);
        if ours && let Some(slot) = &slot {
            slot.fill(buffer, planes);
        }
        hide(buffer);
        slot
    }

    /// Index and plane of the MMAP buffer at `offset`.
    pub fn at(&self, offset: u32) -> Option<(u32, u32)> {
        if !self.is_mapped() {
            return None;
        }
        let slots = self.slots.iter().enumerate();
        slots
            .filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
            .find_map(|(index, slot)| {
                let plane = slot
                    .planes
                    .iter()
                    .position(|plane| plane.offset == offset)?;
                Some((index as u32, plane as u32))
            })
    }
}

/// Flags that say nothing to a guest: of mappings in this process, and of requests.
fn hide(buffer: &mut Buffer) {
    buffer.flags &= !(V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_IN_REQUEST | V4L2_BUF_FLAG_REQUEST_FD);
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::v4l2::MEMORY_USERPTR;

    fn slot(offset: u64) -> Slot {
        let buffer = Buffer {
            type_: 1,
            length: 4096,
            m: offset,
            ..Buffer::default()
        };
        Slot::new(MEMORY_MMAP, &buffer, &[])
    }

    #[test]
    fn buffers_by_index_and_offset() {
        let mut queue = Queue::new(1, (MEMORY_MMAP, MEMORY_MMAP), &Vm::without_guest());
        queue.insert_all(vec![(2, slot(0x2000)), (0, slot(0))]);
        assert_eq!(queue.at(0x2000), Some((2, 0)));
        assert_eq!(queue.at(0x1000), None);
        assert!(queue.slot(1).is_err() && queue.slot(3).is_err());
        queue.slot(0).unwrap().queued = true;
        queue.cancel();
        assert!(!queue.slot(0).unwrap().queued);
    }

    #[test]
    fn buffers_of_ours_are_where_we_say() {
        let mut queue = Queue::new(9, (MEMORY_MMAP, MEMORY_USERPTR), &Vm::without_guest());
        assert!(queue.is_ours() && queue.is_mapped());
        let mut made = slot(0x8000_0000);
        assert!(made.made().is_err());
        made.planes[0].buffer = Some(HostBuffer::new(4096).unwrap());
        assert_eq!(made.made().unwrap().len(), 1);
        queue.insert_all(vec![(0, made)]);
        let mut buffer = Buffer {
            type_: 9,
            memory: MEMORY_USERPTR,
            ..Buffer::default()
        };
        let mut planes = [Plane::default(); 2];
        assert!(queue.translate(&mut buffer, &mut planes).is_some());
        assert_eq!((buffer.memory, buffer.m), (MEMORY_MMAP, 0));
        assert_eq!((planes[0].length, planes[0].m), (4096, 0x8000_0000));
        assert_eq!((planes[1].length, planes[1].m), (0, 0));
        assert_eq!(queue.at(0x8000_0000), Some((0, 0)));
    }

    #[test]
    fn imported_buffers_have_no_offset_and_the_memory_that_the_guest_named() {
        let pair = (MEMORY_USERPTR, MEMORY_DMABUF);
        let mut queue = Queue::new(1, pair, &Vm::without_guest());
        queue.insert_all(vec![(0, slot(0))]);
        assert_eq!(queue.at(0), None);
        let mut buffer = Buffer {
            memory: MEMORY_DMABUF,
            flags: V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_REQUEST_FD | 4,
            ..Buffer::default()
        };
        queue.slot(0).unwrap().memory = MEMORY_USERPTR;
        assert!(queue.translate(&mut buffer, &mut []).is_some());
        assert_eq!((buffer.memory, buffer.flags), (MEMORY_USERPTR, 4));
        buffer.index = 1;
        assert!(queue.translate(&mut buffer, &mut []).is_none());
    }

    #[test]
    fn memory_of_a_failed_call_is_kept_for_a_while() {
        let mut slot = slot(0);
        for _ in 0..10 {
            slot.import(Vec::new());
        }
        assert_eq!(slot.imported.len(), TRIED);
        slot.taken();
        assert_eq!(slot.imported.len(), 1);
    }

    #[test]
    fn directions() {
        // Capture: video, vbi, sliced vbi, video multi-planar, sdr, meta.
        assert!(
            [1, 4, 6, 9, 11, 13]
                .iter()
                .all(|buf_type| !is_output(*buf_type))
        );
        assert!(
            [2, 5, 7, 10, 12, 14]
                .iter()
                .all(|buf_type| is_output(*buf_type))
        );
    }
}
