// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! REQBUFS, CREATE_BUFS, REMOVE_BUFS.

use std::ops::Range;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{
    Buffer, CreateBuffers, Format, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Plane,
    RemoveBuffers, RequestBuffers, VIDEO_MAX_PLANES, is_multiplanar,
};
use v4l2r::bindings::{
    V4L2_BUF_CAP_SUPPORTS_DMABUF, V4L2_BUF_CAP_SUPPORTS_REQUESTS, V4L2_BUF_CAP_SUPPORTS_USERPTR,
};

use super::queue::{Queue, Slot};
use super::{Queues, sizes};
use crate::device::Result;
use crate::memory::{Charge, probe_udmabuf};
use crate::v4l2::entry;

/// What to ask the host device for, in this order, if the guest wants `memory`.
fn candidates(memory: u32) -> Result<&'static [u32]> {
    match memory {
        MEMORY_MMAP => Ok(&[MEMORY_MMAP]),
        MEMORY_USERPTR if probe_udmabuf() => Ok(&[MEMORY_USERPTR, MEMORY_DMABUF]),
        MEMORY_USERPTR => Ok(&[MEMORY_USERPTR]),
        MEMORY_DMABUF => Ok(&[MEMORY_DMABUF, MEMORY_USERPTR]),
        _ => Err(Errno::EINVAL),
    }
}

/// What guests can have of a host device with `capabilities`.
fn capabilities(capabilities: u32) -> u32 {
    let mut answer = capabilities & !V4L2_BUF_CAP_SUPPORTS_REQUESTS;
    if capabilities & V4L2_BUF_CAP_SUPPORTS_DMABUF != 0 && probe_udmabuf() {
        answer |= V4L2_BUF_CAP_SUPPORTS_USERPTR;
    }
    answer
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
    /// `EINVAL` for memory that the host device does not take; `ENOMEM` if its buffers would exceed the limit; `ENOBUFS` if
    /// there are as many as there may be; the host device's.
    pub fn reqbufs(&mut self, request: &mut RequestBuffers) -> Result {
        let candidates = candidates(request.memory)?;
        request.count = sizes::bounded(request.count, 0)?;
        // Nothing of the old buffers comes behind the answer.
        let shared = Arc::clone(&self.shared);
        let _turn = shared.turn();
        let (host, made, charge) = first(candidates, |memory| {
            let mut made = *request;
            made.memory = memory;
            let mut charge = Charge::forced(0);
            if memory == MEMORY_MMAP && made.count > 0 {
                let mut format = Format {
                    type_: request.type_,
                    ..Format::default()
                };
                self.shared.node.call(entry(ioctl::G_FMT)?, &mut format)?;
                let bytes = sizes::of_buffer(&format);
                let reserved = sizes::reserve(made.count, bytes).or_else(|_| {
                    // The old ones make room.
                    self.free(request.type_)?;
                    sizes::reserve(made.count, bytes)
                });
                (made.count, charge) = reserved?;
            }
            self.shared.count();
            let node = &self.shared.node;
            node.call(entry(ioctl::REQBUFS)?, &mut made)?;
            Ok((memory, made, charge))
        })?;
        shared.events.purge(request.type_);
        let mut queue = Queue::new(request.type_, (request.memory, host), &self.vm);
        let mut described = Ok(());
        if request.count > 0 {
            described = self
                .describe(&queue, 0..made.count, charge, false)
                .map(|slots| queue.insert_all(slots))
                .and_then(|()| self.check_export(&queue));
        }
        let old = shared.queues().insert(request.type_, queue);
        // Out of the lock: mappings go.
        drop(old);
        if let Err(errno) = described {
            self.free(request.type_)?;
            return Err(errno);
        }
        *request = RequestBuffers {
            memory: request.memory,
            capabilities: capabilities(made.capabilities),
            ..made
        };
        Ok(())
    }

    /// Has the host device free all buffers of a queue, and forgets them.
    fn free(&self, buf_type: u32) -> Result {
        let host = self.shared.queues().get(&buf_type).map(|queue| queue.host);
        let mut none = RequestBuffers {
            type_: buf_type,
            memory: host.ok_or(Errno::ENOMEM)?,
            ..RequestBuffers::default()
        };
        self.shared.count();
        let node = &self.shared.node;
        node.call(entry(ioctl::REQBUFS)?, &mut none)?;
        self.shared.events.purge(buf_type);
        let old = self.shared.queues().remove(&buf_type);
        // Out of the lock: mappings go.
        drop(old);
        Ok(())
    }

    /// The guest sees MMAP buffers because the host device exports them. One that cannot is asked for lent memory.
    fn check_export(&self, queue: &Queue) -> Result {
        if queue.host != MEMORY_MMAP {
            return Ok(());
        }
        self.shared.count();
        let exported = self.shared.node.export(queue.buf_type, 0, 0);
        exported.map(drop).map_err(|errno| {
            tracing::warn!("the host device does not export its buffers: {errno}");
            Errno::EINVAL
        })
    }

    /// Asks the host device what new buffers are like. `charge` is what was taken for them before; if `made` says that they
    /// cannot be undone, they may exceed the limit.
    fn describe(
        &self,
        queue: &Queue,
        indices: Range<u32>,
        mut charge: Charge,
        made: bool,
    ) -> Result<Vec<(u32, Slot)>> {
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
            if queue.host == MEMORY_MMAP {
                for plane in &mut slot.planes {
                    let bytes = sizes::pages(plane.length);
                    let mut part = charge.split(bytes);
                    if part.bytes() < bytes {
                        // More than its format says.
                        drop(part);
                        part = if made {
                            Charge::forced(bytes)
                        } else {
                            Charge::new(bytes)?
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
            Some(queue) if queue.slots.iter().any(Option::is_some) => {
                (Some((queue.memory, queue.host)), queue.slots.len() as u32)
            }
            _ => (None, 0),
        };
        create.count = sizes::bounded(create.count, places)?;
        let wanted = candidates(create.memory)?;
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
        let (host, made, charge) = first(candidates, |memory| {
            let mut made = *create;
            made.memory = memory;
            let mut charge = Charge::forced(0);
            if memory == MEMORY_MMAP && made.count > 0 {
                let bytes = sizes::of_buffer(&create.format);
                (made.count, charge) = sizes::reserve(made.count, bytes)?;
            }
            self.shared.count();
            let node = &self.shared.node;
            node.call(entry(ioctl::CREATE_BUFS)?, &mut made)?;
            Ok((memory, made, charge))
        })?;
        if create.count > 0 {
            let end = made.index.saturating_add(made.count);
            let mut queue = Queue::new(buf_type, (create.memory, host), &self.vm);
            let slots = self.describe(&queue, made.index..end, charge, true)?;
            let mut queues = self.shared.queues();
            if let Some(old) = queues.get(&buf_type) {
                queue.streaming = old.streaming;
            }
            if existing.is_none() {
                queues.insert(buf_type, queue);
            }
            let queue = queues.get_mut(&buf_type).ok_or(Errno::EINVAL)?;
            queue.insert_all(slots);
        }
        *create = CreateBuffers {
            memory: create.memory,
            capabilities: capabilities(made.capabilities),
            // 0 of kernels that do not say (before 6.8).
            max_num_buffers: made.max_num_buffers.min(sizes::MAX_BUFFERS),
            ..made
        };
        Ok(())
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
            queue.lending.forget(indices.clone());
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
