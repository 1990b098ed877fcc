// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! REQBUFS, CREATE_BUFS, REMOVE_BUFS.

use std::ops::Range;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{
    Buffer, CreateBuffers, FIELD_NONE, Format, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Plane,
    RemoveBuffers, RequestBuffers, VIDEO_MAX_PLANES, is_multiplanar,
};
use v4l2r::bindings::{
    V4L2_BUF_CAP_SUPPORTS_DMABUF, V4L2_BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS,
    V4L2_BUF_CAP_SUPPORTS_REQUESTS, V4L2_BUF_CAP_SUPPORTS_USERPTR,
};

use super::queue::{Queue, Slot};
use super::{Queues, sizes};
use crate::device::api::Result;
use crate::memory::{MemoryCharge, probe_udmabuf};
use crate::v4l2::node::entry;

/// What to ask the host device for, in this order, if the guest wants `memory`. `arena` says that
/// we can make buffers that are mapped already.
fn candidates(memory: u32, arena: bool) -> Result<&'static [u32]> {
    match memory {
        MEMORY_MMAP if arena => Ok(&[MEMORY_USERPTR, MEMORY_MMAP]),
        MEMORY_MMAP => Ok(&[MEMORY_MMAP]),
        MEMORY_USERPTR if probe_udmabuf() => Ok(&[MEMORY_USERPTR, MEMORY_DMABUF]),
        MEMORY_USERPTR => Ok(&[MEMORY_USERPTR]),
        MEMORY_DMABUF => Ok(&[MEMORY_DMABUF, MEMORY_USERPTR]),
        _ => Err(Errno::EINVAL),
    }
}

/// What guests can have of a host device with `capabilities`. It imports memory that we make,
/// and has no cache hints.
fn capabilities(capabilities: u32, arena: bool) -> u32 {
    let mut answer = capabilities & !V4L2_BUF_CAP_SUPPORTS_REQUESTS;
    if arena && capabilities & V4L2_BUF_CAP_SUPPORTS_USERPTR != 0 {
        answer &= !V4L2_BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS;
    }
    if capabilities & V4L2_BUF_CAP_SUPPORTS_DMABUF != 0 && probe_udmabuf() {
        answer |= V4L2_BUF_CAP_SUPPORTS_USERPTR;
    }
    answer
}

/// Where the guest maps a plane of a buffer that we made: in no other queue of the session. The
/// host device's own are lower.
fn offset(buf_type: u32, index: u32, plane: usize) -> u32 {
    1 << 31 | buf_type << 26 | index << 15 | (plane as u32) << 12
}

/// Calls `attempt` with each of the candidates until one is not refused.
fn first<T>(candidates: &[u32], mut attempt: impl FnMut(u32) -> Result<T>) -> Result<T> {
    let mut result = Err(Errno::EINVAL);
    for memory in candidates {
        result = attempt(*memory);
        if !matches!(result, Err(Errno::EINVAL)) {
            break;
        }
    }
    result
}

impl Queues {
    /// `VIDIOC_REQBUFS`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for memory that the host device does not take; `ENOMEM` if its buffers would exceed
    /// the limit; `ENOBUFS` if there are as many as there may be; the host device's.
    pub fn reqbufs(&mut self, request: &mut RequestBuffers) -> Result {
        let candidates = candidates(request.memory, self.vm.has_arena())?;
        request.count = sizes::bounded(request.count, 0)?;
        // Nothing of the old buffers comes behind the answer.
        let shared = Arc::clone(&self.shared);
        let _turn = shared.turn();
        let made = first(candidates, |host| self.request(request, host))?;
        *request = RequestBuffers {
            memory: request.memory,
            capabilities: capabilities(made.capabilities, self.vm.has_arena()),
            ..made
        };
        Ok(())
    }

    /// REQBUFS, of the host device for `host` memory. Returns what it said.
    fn request(&self, request: &RequestBuffers, host: u32) -> Result<RequestBuffers> {
        let mut made = *request;
        made.memory = host;
        let mut charge = MemoryCharge::default();
        if request.memory == MEMORY_MMAP && made.count > 0 {
            let mut format = Format {
                type_: request.type_,
                ..Format::default()
            };
            self.shared.node.call(entry(ioctl::G_FMT)?, &mut format)?;
            let bytes = sizes::of_buffer(&format);
            let reserved = sizes::reserve(self.vm.ledger(), made.count, bytes).or_else(|_| {
                // The old ones go first, so that the new ones fit into the limit.
                self.free(request.type_)?;
                sizes::reserve(self.vm.ledger(), made.count, bytes)
            });
            (made.count, charge) = reserved?;
        }
        self.shared.count();
        let node = &self.shared.node;
        node.call(entry(ioctl::REQBUFS)?, &mut made)?;
        self.shared.events.purge(request.type_);
        let mut queue = Queue::new(request.type_, (request.memory, host), &self.vm);
        let mut described = Ok(());
        if request.count > 0 {
            described = self
                .describe(&queue, 0..made.count, charge, false)
                .map(|slots| queue.insert_all(slots))
                .and_then(|()| self.check(&mut queue, 0));
        }
        let old = self.shared.queues().insert(request.type_, queue);
        // Out of the lock: mappings go.
        drop(old);
        if let Err(errno) = described {
            self.free(request.type_)?;
            return Err(errno);
        }
        Ok(made)
    }

    /// Has the host device free all buffers of a queue, and forgets them.
    fn free(&self, buf_type: u32) -> Result {
        let host = self.shared.queues().get(&buf_type).map(|queue| queue.host);
        self.undo(buf_type, host.ok_or(Errno::ENOMEM)?)?;
        self.shared.events.purge(buf_type);
        let old = self.shared.queues().remove(&buf_type);
        // Out of the lock: mappings go.
        drop(old);
        Ok(())
    }

    /// Has the host device free all buffers of a queue that have `host` memory.
    fn undo(&self, buf_type: u32, host: u32) -> Result {
        let mut none = RequestBuffers {
            type_: buf_type,
            memory: host,
            ..RequestBuffers::default()
        };
        self.shared.count();
        self.shared.node.call(entry(ioctl::REQBUFS)?, &mut none)
    }

    /// Whether the guest can have MMAP buffers in this way; of new ones, `index` is the first.
    /// `EINVAL` if not: the host device is asked for others.
    fn check(&self, queue: &mut Queue, index: u32) -> Result {
        if queue.is_ours() {
            self.check_made(queue, index)
        } else if queue.is_mapped() {
            self.check_export(queue.buf_type, index)
        } else {
            Ok(())
        }
    }

    /// The guest sees the host device's MMAP buffers because it exports them. One that cannot is
    /// asked to import memory.
    fn check_export(&self, buf_type: u32, index: u32) -> Result {
        self.shared.count();
        let exported = self.shared.node.export(buf_type, index, 0);
        exported.map(drop).map_err(|errno| {
            tracing::warn!("the host device does not export its buffers: {errno}");
            Errno::EINVAL
        })
    }

    /// A device that takes memory by its address may still want it to be in one piece: only one
    /// that prepares a buffer with ours gets all of them from us.
    fn check_made(&self, queue: &mut Queue, index: u32) -> Result {
        let (buf_type, host) = (queue.buf_type, queue.host);
        let slot = queue.slot(index)?;
        let mut buffer = Buffer {
            index,
            type_: buf_type,
            memory: host,
            field: FIELD_NONE,
            ..Buffer::default()
        };
        let mut planes = [Plane::default(); VIDEO_MAX_PLANES];
        slot.fill(&mut buffer, &mut planes);
        buffer.bytesused = buffer.length;
        for plane in &mut planes {
            plane.bytesused = plane.length;
        }
        let planes = if is_multiplanar(buf_type) {
            planes.get_mut(..slot.planes.len()).ok_or(Errno::EINVAL)?
        } else {
            &mut []
        };
        let memory = slot.made()?;
        let sources = super::sources(host, &memory)?;
        let node = &self.shared.node;
        let prepare = entry(ioctl::PREPARE_BUF)?;
        self.shared.count();
        let prepared = node.buffer(prepare, &mut buffer, planes, &sources);
        if let Err(errno) = prepared {
            tracing::debug!("the host device gets its own buffers, it does not take ours: {errno}");
            return Err(Errno::EINVAL);
        }
        // As if nobody had prepared it: what it carries is for the guest to say.
        self.shared.count();
        node.call(entry(ioctl::STREAMOFF)?, &mut { buf_type })
    }

    /// Asks the host device what new buffers are like. `charge` is what was taken for them before;
    /// if `made` says that they cannot be undone, they may exceed the limit.
    fn describe(
        &self,
        queue: &Queue,
        indices: Range<u32>,
        mut charge: MemoryCharge,
        made: bool,
    ) -> Result<Vec<(u32, Slot)>> {
        if queue.is_ours() {
            // They are charged by themselves.
            charge = MemoryCharge::default();
        }
        let mut slots = Vec::new();
        for index in indices {
            let mut buffer = Buffer {
                index,
                type_: queue.buf_type,
                memory: queue.host,
                ..Buffer::default()
            };
            let mut planes = [Plane::default(); VIDEO_MAX_PLANES];
            let of_buffer = if is_multiplanar(queue.buf_type) {
                &mut planes[..]
            } else {
                &mut []
            };
            self.call(ioctl::QUERYBUF, &mut buffer, of_buffer)?;
            let mut slot = Slot::new(queue.memory, &buffer, &planes);
            if queue.is_ours() {
                for (number, plane) in slot.planes.iter_mut().enumerate() {
                    plane.offset = offset(queue.buf_type, index, number);
                    plane.buffer = Some(self.vm.frame(plane.length as usize)?);
                }
            } else if queue.is_mapped() {
                for plane in &mut slot.planes {
                    let bytes = sizes::pages(plane.length);
                    let mut part = charge.split(bytes);
                    if part.bytes() < bytes {
                        // More than its format says.
                        drop(part);
                        let ledger = self.vm.ledger();
                        part = if made {
                            ledger.force(bytes)
                        } else {
                            ledger.charge(bytes)?
                        };
                    }
                    plane.charge = Arc::new(part);
                }
            }
            slots.push((index, slot));
        }
        Ok(slots)
    }

    /// `VIDIOC_CREATE_BUFS`.
    ///
    /// # Errors
    ///
    /// As [`reqbufs`](Self::reqbufs); `EINVAL` if there are buffers with other memory.
    pub fn create_bufs(&mut self, create: &mut CreateBuffers) -> Result {
        let buf_type = create.format.type_;
        let (existing, places) = match self.shared.queues().get(&buf_type) {
            Some(queue) if queue.streaming || queue.slots.iter().any(Option::is_some) => {
                (Some((queue.memory, queue.host)), queue.slots.len() as u32)
            }
            _ => (None, 0),
        };
        create.count = sizes::bounded(create.count, places)?;
        let wanted = candidates(create.memory, self.vm.has_arena())?;
        let one;
        let candidates = match existing {
            Some((memory, host)) => {
                if (memory == MEMORY_MMAP) != (create.memory == MEMORY_MMAP) {
                    return Err(Errno::EINVAL);
                }
                one = [host];
                &one
            }
            None => wanted,
        };
        let made = first(candidates, |host| {
            self.create(create, host, existing.is_none())
        })?;
        *create = CreateBuffers {
            memory: create.memory,
            capabilities: capabilities(made.capabilities, self.vm.has_arena()),
            // 0 of kernels that do not say (before 6.8).
            max_num_buffers: made.max_num_buffers.min(sizes::MAX_BUFFERS),
            ..made
        };
        Ok(())
    }

    /// CREATE_BUFS, of the host device for `host` memory, which is the queue's `first`. Returns
    /// what it said.
    fn create(&self, create: &CreateBuffers, host: u32, first: bool) -> Result<CreateBuffers> {
        let buf_type = create.format.type_;
        let mut made = *create;
        made.memory = host;
        let mut charge = MemoryCharge::default();
        if create.memory == MEMORY_MMAP && made.count > 0 {
            let bytes = sizes::of_buffer(&create.format);
            (made.count, charge) = sizes::reserve(self.vm.ledger(), made.count, bytes)?;
        }
        self.shared.count();
        let node = &self.shared.node;
        node.call(entry(ioctl::CREATE_BUFS)?, &mut made)?;
        if create.count == 0 {
            return Ok(made);
        }
        let end = made.index.saturating_add(made.count);
        let mut queue = Queue::new(buf_type, (create.memory, host), &self.vm);
        let mut slots = self.describe(&queue, made.index..end, charge, true)?;
        if first {
            queue.insert_all(std::mem::take(&mut slots));
            if let Err(errno) = self.check(&mut queue, made.index) {
                self.undo(buf_type, host)?;
                return Err(errno);
            }
        }
        let mut queues = self.shared.queues();
        if first {
            queue.streaming = queues.get(&buf_type).is_some_and(|old| old.streaming);
            queues.insert(buf_type, queue);
        } else if let Some(queue) = queues.get_mut(&buf_type) {
            queue.insert_all(slots);
        }
        Ok(made)
    }

    /// `VIDIOC_REMOVE_BUFS`.
    ///
    /// # Errors
    ///
    /// The host device's.
    pub fn remove_bufs(&mut self, remove: &mut RemoveBuffers) -> Result {
        self.shared.count();
        let node = &self.shared.node;
        node.call(entry(ioctl::REMOVE_BUFS)?, remove)?;
        let indices = remove.index..remove.index.saturating_add(remove.count);
        let mut old = Vec::new();
        if let Some(queue) = self.shared.queues().get_mut(&remove.type_) {
            queue.imports.forget(indices.clone());
            let slots = queue.slots.iter_mut().enumerate();
            for (_, slot) in slots.filter(|(index, _)| indices.contains(&(*index as u32))) {
                old.extend(slot.take());
            }
        }
        // Out of the lock: mappings go.
        drop(old);
        Ok(())
    }
}
