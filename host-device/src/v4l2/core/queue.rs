// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A buffer queue as videobuf2 has it: allocation, states, and what each ioctl answers.
//!
//! There is no list of done buffers: a buffer that is done is sent to the guest as an event, and is
//! dequeued from then on. So a slot is dequeued (and perhaps prepared), queued, or active in the
//! device.

use std::collections::VecDeque;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::v4l2::{
    Buffer, CreateBuffers, ExportBuffer, Plane, RemoveBuffers, RequestBuffers, VIDEO_MAX_PLANES,
};

use super::uapi::*;
use crate::device::api::BufferArgs;
use crate::memory::{Fence, HostBuffer, PlaneMemory, Readiness, Vm};

mod slot;
pub use slot::{COPIED_FLAGS, Payload, Slot, SlotPlane, State};

/// Buffers that a queue may have: `VIDEO_MAX_FRAME`.
pub const MAX_BUFFERS: u32 = 32;

/// What every queue can do.
const CAPABILITIES: u32 = V4L2_BUF_CAP_SUPPORTS_MMAP
    | V4L2_BUF_CAP_SUPPORTS_USERPTR
    | V4L2_BUF_CAP_SUPPORTS_DMABUF
    | V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS
    | V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS;

/// A queue of a memory-to-memory session. With each queued buffer the device keeps a `T` of its
/// own, as drivers embed `struct vb2_v4l2_buffer` in a larger structure.
#[derive(Debug)]
pub struct Queue<T> {
    /// `V4L2_BUF_TYPE_*`.
    pub type_: u32,
    /// `V4L2_MEMORY_*` of its buffers, while there are any. If it is not MMAP, clients may use
    /// USERPTR and DMABUF with any buffer.
    memory: u32,
    vm: Vm,
    /// Least number of buffers that VIDIOC_REQBUFS makes.
    min_buffers: u32,
    /// By index; `None` where a buffer was removed or never made.
    slots: Vec<Option<Slot<T>>>,
    /// Indices of queued buffers, oldest first.
    queued: VecDeque<u32>,
    /// Between STREAMON and STREAMOFF.
    pub streaming: bool,
    /// Sequence number of the next buffer that is done.
    sequence: u32,
    /// MMAP buffers are longer than frames. They are no dmabufs, which would pin all their pages.
    pub oversized: bool,
    /// Counts STREAMOFFs: a buffer that the device returns after one is no longer active.
    pub epoch: u64,
    /// `mem_offset` of the next plane; no two planes of a session ever have the same.
    next_offset: u32,
}

/// Offsets of the OUTPUT queue start here, those of CAPTURE at 0.
const OUTPUT_OFFSETS: u32 = 1 << 31;
/// Distance of offsets: `mmap()` takes whole pages.
const OFFSET_STEP: u32 = 4096;

fn check_type(buf_type: u32, asked: u32) -> Result<(), Errno> {
    if asked == buf_type {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

impl<T: Default> Queue<T> {
    /// A queue of type `V4L2_BUF_TYPE_*` of a session of `vm`, without buffers. VIDIOC_REQBUFS
    /// makes at least `min_buffers`.
    pub fn new(type_: u32, min_buffers: u32, vm: &Vm) -> Self {
        Self {
            type_,
            memory: MEMORY_MMAP,
            vm: vm.clone(),
            min_buffers,
            slots: Vec::new(),
            queued: VecDeque::new(),
            streaming: false,
            sequence: 0,
            oversized: false,
            epoch: 0,
            next_offset: if type_ == OUTPUT { OUTPUT_OFFSETS } else { 0 },
        }
    }

    /// Whether data flows from client to device.
    pub fn is_output(&self) -> bool {
        self.type_ == OUTPUT
    }

    /// Number of buffers.
    pub fn count(&self) -> u32 {
        self.slots.iter().flatten().count() as u32
    }

    /// Bytes that the first plane of every buffer has at least. `default` if there are no buffers.
    pub fn min_length(&self, default: u32) -> u32 {
        let planes = self.slots.iter().flatten();
        let first = planes.filter_map(|slot| slot.planes.first());
        first.map(|plane| plane.min_length).min().unwrap_or(default)
    }

    /// Number of buffers that are queued and not active in the device.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    fn slot(&self, index: u32) -> Result<&Slot<T>, Errno> {
        self.slots
            .get(index as usize)
            .and_then(Option::as_ref)
            .ok_or(Errno::EINVAL)
    }

    fn slot_mut(&mut self, index: u32) -> Result<&mut Slot<T>, Errno> {
        self.slots
            .get_mut(index as usize)
            .and_then(Option::as_mut)
            .ok_or(Errno::EINVAL)
    }

    /// VIDIOC_REQBUFS, for buffers of these `sizes`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for memory that is not supported, `EBUSY` while streaming, `ENOMEM`.
    pub fn reqbufs(&mut self, request: &mut RequestBuffers, sizes: &[u32]) -> Result<(), Errno> {
        request.flags = 0;
        request.reserved = [0; 3];
        request.capabilities = CAPABILITIES;
        if !is_supported(request.memory) {
            return Err(Errno::EINVAL);
        }
        if self.streaming {
            return Err(Errno::EBUSY);
        }
        self.cancel();
        // Mappings of the guest keep the memory of these buffers alive: orphaned buffers.
        self.slots.clear();
        self.memory = request.memory;
        if request.count == 0 {
            return Ok(());
        }
        let count = request.count.clamp(self.min_buffers, MAX_BUFFERS);
        for index in 0..count {
            match self.allocate(sizes) {
                Ok(slot) => self.slots.push(Some(slot)),
                Err(errno) if index == 0 => return Err(errno),
                // V4L2 allows to make fewer than the client asked for.
                Err(_) => break,
            }
        }
        request.count = self.count();
        Ok(())
    }

    /// VIDIOC_CREATE_BUFS. `sizes` are the bytes that each plane must have at least.
    ///
    /// # Errors
    ///
    /// `EINVAL` for memory that is not supported, and for planes that are too small, too few or too
    /// many; `ENOBUFS` when there are [`MAX_BUFFERS`]; `ENOMEM`.
    pub fn create_bufs(&mut self, create: &mut CreateBuffers, sizes: &[u32]) -> Result<(), Errno> {
        create.reserved = [0; 5];
        create.flags = 0;
        create.index = self.count();
        create.capabilities = CAPABILITIES | V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS;
        create.max_num_buffers = MAX_BUFFERS;
        check_type(self.type_, create.format.type_)?;
        if !is_supported(create.memory) || (self.count() > 0 && create.memory != self.memory) {
            return Err(Errno::EINVAL);
        }
        if create.count == 0 {
            return Ok(());
        }
        let pix = create.format.pix_mp();
        let asked: Vec<u32> = pix
            .plane_fmt
            .iter()
            .take(usize::from(pix.num_planes))
            .map(|plane| plane.sizeimage)
            .collect();
        if asked.len() != sizes.len() || asked.iter().zip(sizes).any(|(asked, min)| asked < min) {
            return Err(Errno::EINVAL);
        }
        if self.count() >= MAX_BUFFERS {
            return Err(Errno::ENOBUFS);
        }
        self.memory = create.memory;
        let count = create.count.min(MAX_BUFFERS - self.count());
        let (first, free) = self.gap(count as usize);
        let mut made = Vec::new();
        for _ in 0..free {
            match self.allocate(&asked) {
                Ok(slot) => made.push(Some(slot)),
                Err(errno) if made.is_empty() => return Err(errno),
                Err(_) => break,
            }
        }
        create.index = first as u32;
        create.count = made.len() as u32;
        self.slots
            .resize_with(self.slots.len().max(first + made.len()), || None);
        for (slot, new) in self.slots.iter_mut().skip(first).zip(made) {
            *slot = new;
        }
        Ok(())
    }

    /// The indices of `count` new buffers: the first free run that is long enough, else the
    /// longest. Returns its start, and how many fit into it.
    fn gap(&self, count: usize) -> (usize, usize) {
        let free = |index: usize| !matches!(self.slots.get(index), Some(Some(_)));
        let mut best = (self.slots.len(), 0);
        let mut start = 0;
        for index in 0..=MAX_BUFFERS as usize {
            if index < MAX_BUFFERS as usize && free(index) {
                if index + 1 - start >= count {
                    return (start, count);
                }
            } else {
                if index - start > best.1 {
                    best = (start, index - start);
                }
                start = index + 1;
            }
        }
        best
    }

    /// VIDIOC_REMOVE_BUFS.
    ///
    /// # Errors
    ///
    /// `EINVAL` if one of them does not exist, `EBUSY` if one is queued.
    pub fn remove_bufs(&mut self, remove: &mut RemoveBuffers) -> Result<(), Errno> {
        remove.reserved = [0; 13];
        if remove.count == 0 {
            return Ok(());
        }
        let end = remove
            .index
            .checked_add(remove.count)
            .filter(|end| *end <= MAX_BUFFERS)
            .ok_or(Errno::EINVAL)?;
        for index in remove.index..end {
            if !matches!(self.slot(index)?.state, State::Dequeued | State::Prepared) {
                return Err(Errno::EBUSY);
            }
        }
        for slot in self
            .slots
            .iter_mut()
            .take(end as usize)
            .skip(remove.index as usize)
        {
            *slot = None;
        }
        Ok(())
    }

    fn allocate(&mut self, sizes: &[u32]) -> Result<Slot<T>, Errno> {
        let mut planes = Vec::with_capacity(sizes.len());
        for size in sizes {
            if self.memory != MEMORY_MMAP {
                planes.push(SlotPlane::imported(*size));
                continue;
            }
            let size = *size as usize;
            let memory = if self.is_output() && !self.oversized {
                self.vm.frame(size)
            } else {
                self.vm.buffer(size)
            }?;
            let offset = self.next_offset;
            // Offsets are not used again: after 2^19 planes a client must open the node anew.
            let next = offset.checked_add(OFFSET_STEP).ok_or(Errno::ENOMEM)?;
            if (next ^ offset) & OUTPUT_OFFSETS != 0 {
                return Err(Errno::ENOMEM);
            }
            self.next_offset = next;
            planes.push(SlotPlane::own(memory, offset));
        }
        Ok(Slot::new(planes, self.memory))
    }

    /// The memory behind a `mem_offset`.
    pub fn memory(&self, offset: u32) -> Option<Arc<HostBuffer>> {
        self.slots
            .iter()
            .flatten()
            .flat_map(|slot| &slot.planes)
            .find_map(|plane| match &plane.memory {
                Some(PlaneMemory::Own(memory)) if plane.offset == offset => Some(memory),
                _ => None,
            })
            .cloned()
    }

    /// VIDIOC_EXPBUF: the memory of a plane.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such buffer or plane, no MMAP buffer, or unknown flags.
    pub fn export(&self, export: &ExportBuffer) -> Result<Arc<HostBuffer>, Errno> {
        const FLAGS: u32 = (nix::libc::O_CLOEXEC | nix::libc::O_ACCMODE).cast_unsigned();
        check_type(self.type_, export.type_)?;
        let plane = self.slot(export.index)?.planes.get(export.plane as usize);
        match plane.and_then(|plane| plane.memory.as_ref()) {
            Some(PlaneMemory::Own(memory)) if export.flags & !FLAGS == 0 => Ok(Arc::clone(memory)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// VIDIOC_QUERYBUF.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such buffer, or too few planes in the array.
    pub fn querybuf(&self, args: BufferArgs<'_>) -> Result<(), Errno> {
        check_type(self.type_, args.buffer.type_)?;
        let slot = self.slot(args.buffer.index)?;
        check_planes(slot, args.planes)?;
        self.fill(slot, args.buffer, args.planes);
        Ok(())
    }

    /// The checks that QBUF and PREPARE_BUF share. Returns the lengths of the planes whose memory
    /// this call must import. There are none for an MMAP buffer, nor for one that was prepared,
    /// whose memory PREPARE_BUF has imported.
    ///
    /// # Errors
    ///
    /// As [`prepare_buf`](Self::prepare_buf).
    pub fn imports(&self, args: &BufferArgs<'_>, sizes: &[u32]) -> Result<Vec<u32>, Errno> {
        let buffer = &*args.buffer;
        check_type(self.type_, buffer.type_)?;
        let slot = self.slot(buffer.index)?;
        let own = self.memory == MEMORY_MMAP;
        if !is_supported(buffer.memory) || own != (buffer.memory == MEMORY_MMAP) {
            return Err(Errno::EINVAL);
        }
        check_planes(slot, args.planes)?;
        match slot.state {
            State::Prepared => return Ok(Vec::new()),
            State::Dequeued => {}
            State::Queued | State::Active => return Err(Errno::EINVAL),
        }
        let lengths = slot.lengths(buffer.memory, args.planes)?;
        slot.payload(self.is_output(), buffer, args.planes, (&lengths, sizes))?;
        Ok(if own { Vec::new() } else { lengths })
    }

    /// Notes the payload of a buffer and its `imported` memory, unless it was prepared already.
    fn prepare(
        &mut self,
        args: &BufferArgs<'_>,
        imported: Vec<PlaneMemory>,
        sizes: &[u32],
    ) -> Result<(), Errno> {
        let wanted = self.imports(args, sizes)?;
        if wanted.len() != imported.len() {
            return Err(Errno::EINVAL);
        }
        let (buffer, output) = (&*args.buffer, self.is_output());
        let slot = self.slot_mut(buffer.index)?;
        if slot.state == State::Prepared {
            return Ok(());
        }
        let lengths = slot.lengths(buffer.memory, args.planes)?;
        slot.payload = slot.payload(output, buffer, args.planes, (&lengths, sizes))?;
        slot.memory = buffer.memory;
        for ((plane, memory), length) in slot.planes.iter_mut().zip(imported).zip(lengths) {
            plane.memory = Some(memory);
            plane.length = length;
        }
        Ok(())
    }

    /// VIDIOC_PREPARE_BUF. `imported` is the memory that [`imports`](Self::imports) asked for,
    /// `sizes` are the bytes that a frame takes in each plane.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such buffer, wrong memory, already prepared or queued, or its payload makes no
    /// sense.
    pub fn prepare_buf(
        &mut self,
        args: BufferArgs<'_>,
        imported: Vec<PlaneMemory>,
        sizes: &[u32],
    ) -> Result<(), Errno> {
        if args.buffer.flags & V4L2_BUF_FLAG_REQUEST_FD != 0 {
            return Err(Errno::EINVAL);
        }
        if self.slot(args.buffer.index)?.state == State::Prepared {
            return Err(Errno::EINVAL);
        }
        self.prepare(&args, imported, sizes)?;
        let slot = self.slot_mut(args.buffer.index)?;
        slot.state = State::Prepared;
        let slot = self.slot(args.buffer.index)?;
        self.fill(slot, args.buffer, args.planes);
        Ok(())
    }

    /// VIDIOC_QBUF. `fence` is what the device must wait for before it uses the `imported` memory,
    /// `private` the device's own data of the buffer.
    ///
    /// # Errors
    ///
    /// As [`prepare_buf`](Self::prepare_buf), except that a prepared buffer is fine; `EBADR` for
    /// requests, which are not supported.
    pub fn qbuf(
        &mut self,
        args: BufferArgs<'_>,
        (imported, fence): (Vec<PlaneMemory>, Option<Fence>),
        sizes: &[u32],
        private: T,
    ) -> Result<(), Errno> {
        check_type(self.type_, args.buffer.type_)?;
        self.slot(args.buffer.index)?;
        if args.buffer.flags & V4L2_BUF_FLAG_REQUEST_FD != 0 {
            return Err(Errno::EBADR);
        }
        self.prepare(&args, imported, sizes)?;
        let (index, output) = (args.buffer.index, self.is_output());
        let slot = self.slot_mut(index)?;
        if output {
            slot.payload.stamp(args.buffer);
        }
        slot.payload.private = private;
        slot.fence = fence;
        slot.state = State::Queued;
        self.queued.push_back(index);
        let slot = self.slot(index)?;
        self.fill(slot, args.buffer, args.planes);
        Ok(())
    }

    /// The memory that was imported for a buffer when the client prepared it.
    pub fn prepared(&self, index: u32) -> Vec<PlaneMemory> {
        match self.slot(index) {
            Ok(slot) if slot.state == State::Prepared && self.memory != MEMORY_MMAP => {
                let planes = slot.planes.iter();
                planes.filter_map(|plane| plane.memory.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the oldest queued buffer can be used, if there is one. Buffers keep their order, so
    /// those behind it wait for it.
    pub fn readiness(&self) -> Option<Readiness> {
        let slot = self.slot(*self.queued.front()?).ok()?;
        Some(
            slot.fence
                .as_ref()
                .map_or(Readiness::Ready, Fence::readiness),
        )
    }

    /// Makes the oldest queued buffer active.
    pub fn take(&mut self) -> Option<(u32, &mut Slot<T>)> {
        let index = self.queued.pop_front()?;
        let slot = self.slots.get_mut(index as usize)?.as_mut()?;
        slot.state = State::Active;
        Some((index, slot))
    }

    /// Gives an active buffer back to the client. Returns what DQBUF answers, after `edit` has set
    /// what the device did: the planes' `bytesused`, the buffer's flags and so on.
    pub fn done(
        &mut self,
        index: u32,
        edit: impl FnOnce(&mut Buffer, &mut [Plane]),
    ) -> Option<(Buffer, Vec<Plane>)> {
        let sequence = self.sequence;
        let slot = self.slot_mut(index).ok()?;
        if slot.state != State::Active {
            return None;
        }
        slot.give_back();
        let slot = self.slot(index).ok()?;
        let mut buffer = Buffer {
            index,
            ..Default::default()
        };
        let mut planes = vec![Plane::default(); slot.planes.len()];
        self.fill(slot, &mut buffer, &mut planes);
        slot.payload.restore(&mut buffer, &mut planes);
        buffer.sequence = sequence;
        edit(&mut buffer, &mut planes);
        self.sequence = sequence.wrapping_add(1);
        Some((buffer, planes))
    }

    /// VIDIOC_STREAMON.
    ///
    /// # Errors
    ///
    /// `EINVAL` without buffers.
    pub fn streamon(&mut self) -> Result<(), Errno> {
        if self.count() == 0 {
            return Err(Errno::EINVAL);
        }
        if !self.streaming {
            self.streaming = true;
            self.sequence = 0;
        }
        Ok(())
    }

    /// VIDIOC_STREAMOFF: every buffer belongs to the client again.
    pub fn cancel(&mut self) {
        self.streaming = false;
        self.queued.clear();
        self.epoch += 1;
        for slot in self.slots.iter_mut().flatten() {
            slot.give_back();
            slot.payload = Payload::default();
        }
    }

    /// Describes a buffer as QUERYBUF, QBUF and DQBUF do.
    fn fill(&self, slot: &Slot<T>, buffer: &mut Buffer, planes: &mut [Plane]) {
        let queued = matches!(slot.state, State::Queued | State::Active);
        *buffer = Buffer {
            index: buffer.index,
            type_: self.type_,
            flags: V4L2_BUF_FLAG_TIMESTAMP_COPY
                | match slot.state {
                    State::Dequeued => 0,
                    State::Prepared => V4L2_BUF_FLAG_PREPARED,
                    State::Queued | State::Active => V4L2_BUF_FLAG_QUEUED,
                },
            field: slot.payload.field,
            memory: slot.memory,
            length: slot.planes.len() as u32,
            ..Default::default()
        };
        if self.is_output() && queued {
            slot.payload.restore_stamp(buffer);
        }
        for (at, (plane, own)) in planes.iter_mut().zip(&slot.planes).enumerate() {
            let (bytesused, data_offset) = match slot.state {
                State::Dequeued => (0, 0),
                _ => slot.payload.planes.get(at).copied().unwrap_or((0, 0)),
            };
            *plane = Plane {
                bytesused,
                length: own.length,
                m: own.offset.into(),
                data_offset,
                ..Default::default()
            };
        }
    }
}

/// Whether buffers can have this `V4L2_MEMORY_*`.
fn is_supported(memory: u32) -> bool {
    matches!(memory, MEMORY_MMAP | MEMORY_USERPTR | MEMORY_DMABUF)
}

/// Checks that the array has an element for every plane, as `__verify_planes_array()` does.
fn check_planes<T>(slot: &Slot<T>, planes: &[Plane]) -> Result<(), Errno> {
    if (slot.planes.len()..=VIDEO_MAX_PLANES).contains(&planes.len()) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

#[cfg(test)]
mod tests;
