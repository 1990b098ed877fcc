// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Buffers and streams of one session.
//!
//! The host device has the queues, and refuses what makes no sense. What is ours: memory, and the
//! way of what is done to the guest.
//!
//! | the guest's queue | the host device's | memory of a plane |
//! |---|---|---|
//! | MMAP | USERPTR, if it has that | a part of the VM's arena, which is mapped into the region |
//! | MMAP | else MMAP | exported by the host device, mapped when the guest maps it |
//! | USERPTR, DMABUF | USERPTR, if it has that | a mapping of the guest's pages, or of the object |
//! | USERPTR, DMABUF | else DMABUF | a udmabuf of the guest's pages, or the object |

use std::collections::HashSet;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    Buffer, EventSubscription, ExportBuffer, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Plane,
    is_multiplanar,
};
use v4l2r::bindings::{V4L2_BUF_FLAG_REQUEST_FD, V4L2_EVENT_ALL, V4L2_EVENT_CTRL};

use self::round::{Ready, Shared};
use self::watch::Watch;
use crate::device::api::{BufferArgs, Result, WireMemory};
use crate::events::Events;
use crate::memory::{HostBuffer, ImportCache, PlaneMemory, Vm};
use crate::v4l2::node::{Node, Source, entry, plain_id};

mod allocate;
mod queue;
mod round;
mod sizes;
mod watch;

/// Most events of one open file. The host's kernel takes any ID with EOS and SOURCE_CHANGE, keeps a
/// list of them, and goes through it with each event.
const MAX_SUBSCRIPTIONS: usize = 1024;

/// A buffer that is to be handed to the host device.
struct Submitted {
    /// The memory type of the host device's queue.
    host: u32,
    /// Number of its planes.
    planes: usize,
    /// Its memory, if that is known.
    memory: Option<Vec<PlaneMemory>>,
    /// Where it is imported to, if it is not.
    imports: Arc<ImportCache>,
    /// As many pieces as the queue keeps.
    capacity: usize,
}

impl Submitted {
    /// The memory of each plane; none if the host device has it.
    fn import(
        self,
        wire: WireMemory,
        buffer: &Buffer,
        planes: &[Plane],
    ) -> Result<Vec<PlaneMemory>> {
        match (self.host, self.memory) {
            (MEMORY_MMAP, _) => Ok(Vec::new()),
            (_, Some(memory)) => Ok(memory),
            (_, None) => {
                let lengths: Vec<u32> = if is_multiplanar(buffer.type_) {
                    planes.iter().map(|plane| plane.length).collect()
                } else {
                    vec![buffer.length]
                };
                wire.import(&self.imports, buffer.index, &lengths, self.capacity)
            }
        }
    }
}

/// Queues of one open file of the node.
#[derive(Debug)]
pub struct Queues {
    /// Before the memory that is in `shared`: it may be that the thread gives a buffer back.
    watch: Option<Watch>,
    shared: Arc<Shared>,
    vm: Vm,
    /// Type and ID of each.
    subscribed: HashSet<(u32, u32)>,
}

impl Queues {
    /// Queues without buffers of `node`, which was just opened.
    pub fn new(node: Arc<Node>, events: Events, vm: Vm) -> Self {
        Self {
            watch: None,
            shared: Shared::new(node, events),
            vm,
            subscribed: HashSet::new(),
        }
    }

    /// Puts what the node has ready on the session's `Events`.
    pub fn pump(&mut self) {
        if self.watch.is_some() {
            // Whoever calls has an answer of his own.
            let _ = self.shared.round(Ready::ALL);
        }
    }

    /// The session is lost.
    pub fn lost(&self, errno: Errno) {
        self.shared.lost(errno);
    }

    /// The thread that waits for the node.
    fn watch(&mut self) -> Result<&mut Watch> {
        if self.watch.is_none() {
            self.watch = Some(Watch::new(&self.shared)?);
        }
        self.watch.as_mut().ok_or(Errno::EAGAIN)
    }

    /// Makes a call about a buffer.
    fn call(&self, code: u32, buffer: &mut Buffer, planes: &mut [Plane]) -> Result {
        self.shared.count();
        self.shared.node.buffer(entry(code)?, buffer, planes, &[])
    }

    /// `VIDIOC_QUERYBUF`.
    ///
    /// # Errors
    ///
    /// The host device's.
    pub fn querybuf(&mut self, args: BufferArgs<'_>) -> Result {
        self.call(ioctl::QUERYBUF, args.buffer, args.planes)?;
        self.translate(args.buffer, args.planes);
        Ok(())
    }

    fn translate(&self, buffer: &mut Buffer, planes: &mut [Plane]) {
        if let Some(queue) = self.shared.queues().get_mut(&buffer.type_) {
            queue.translate(buffer, planes);
        }
    }

    /// `VIDIOC_PREPARE_BUF`.
    ///
    /// # Errors
    ///
    /// As [`qbuf`](Self::qbuf).
    pub fn prepare_buf(&mut self, args: BufferArgs<'_>) -> Result {
        if args.buffer.flags & V4L2_BUF_FLAG_REQUEST_FD != 0 {
            return Err(Errno::EINVAL);
        }
        self.submit(ioctl::PREPARE_BUF, args)
    }

    /// `VIDIOC_QBUF`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such buffer, it is queued, or its memory is not what it should be; those of the
    /// memory layer and of the host device; `EBADR` for requests.
    pub fn qbuf(&mut self, args: BufferArgs<'_>) -> Result {
        if args.buffer.flags & V4L2_BUF_FLAG_REQUEST_FD != 0 {
            return Err(Errno::EBADR);
        }
        self.submit(ioctl::QBUF, args)
    }

    /// QBUF or PREPARE_BUF.
    fn submit(&mut self, code: u32, args: BufferArgs<'_>) -> Result {
        let (buf_type, index) = (args.buffer.type_, args.buffer.index);
        let submitted = self.try_submit(code, args);
        let imports = self
            .shared
            .with(buf_type, |queue| Ok(Arc::clone(&queue.imports)));
        match imports {
            Ok(imports) => imports.queued(index, submitted),
            Err(_) => submitted,
        }
    }

    fn try_submit(&self, code: u32, args: BufferArgs<'_>) -> Result {
        let BufferArgs {
            buffer,
            planes,
            memory: wire,
        } = args;
        let (buf_type, index, memory) = (buffer.type_, buffer.index, buffer.memory);
        let slot = self.submitted(buffer, planes)?;
        let host = slot.host;
        let planes = if is_multiplanar(buf_type) {
            planes.get_mut(..slot.planes).ok_or(Errno::EINVAL)?
        } else {
            &mut []
        };
        let is_object = matches!(wire, WireMemory::Objects(_));
        let imported = slot.import(wire, buffer, planes)?;
        let sources = sources(host, &imported)?;
        // From here on the thread may have it back at any time.
        let before = self.shared.with(buf_type, |queue| {
            let slot = queue.slot(index)?;
            let before = (slot.memory, slot.prepared);
            slot.memory = memory;
            slot.queued = code == ioctl::QBUF;
            slot.prepared = true;
            slot.import(imported.clone());
            Ok(before)
        })?;
        buffer.memory = host;
        self.shared.count();
        let result = self
            .shared
            .node
            .buffer(entry(code)?, buffer, planes, &sources);
        self.shared.with(buf_type, |queue| {
            let slot = queue.slot(index)?;
            if result.is_ok() {
                slot.taken();
            } else {
                slot.queued = false;
                (slot.memory, slot.prepared) = before;
            }
            Ok(())
        })?;
        self.translate(buffer, planes);
        result.map_err(|errno| match errno {
            // Memory that the CPU can map is not always memory that the host device takes: the
            // guest has other ways.
            Errno::EFAULT if is_object => Errno::EINVAL,
            errno => errno,
        })
    }

    /// What is known of a buffer that QBUF or PREPARE_BUF names. Its lengths are filled in if its
    /// memory is ours.
    fn submitted(&self, buffer: &mut Buffer, planes: &mut [Plane]) -> Result<Submitted> {
        let (index, memory) = (buffer.index, buffer.memory);
        self.shared.with(buffer.type_, |queue| {
            let (count, host) = (queue.slots.len(), queue.host);
            let (mapped, ours) = (queue.is_mapped(), queue.is_ours());
            let imports = Arc::clone(&queue.imports);
            let slot = queue.slot(index)?;
            if slot.queued || !known(memory) || mapped != (memory == MEMORY_MMAP) {
                return Err(Errno::EINVAL);
            }
            let memory = if ours {
                slot.fill(buffer, planes);
                Some(slot.made()?)
            } else {
                slot.prepared
                    .then(|| slot.imported.front().cloned())
                    .flatten()
            };
            let planes = slot.planes.len();
            Ok(Submitted {
                host,
                planes,
                memory,
                imports,
                capacity: 2 * count * planes,
            })
        })
    }

    /// The plane of an MMAP buffer, which the host device exports when it is first asked for, if it
    /// is not ours.
    fn mapped(&self, buf_type: u32, index: u32, plane: u32) -> Result<Arc<HostBuffer>> {
        let (buffer, length, charge) = self.shared.with(buf_type, |queue| {
            let plane = queue.mapped_plane(index, plane)?;
            let charge = Arc::clone(&plane.charge);
            Ok((plane.buffer.clone(), plane.length, charge))
        })?;
        if let Some(buffer) = buffer {
            return Ok(buffer);
        }
        self.shared.count();
        let dmabuf = self.shared.node.export(buf_type, index, plane)?;
        let buffer =
            HostBuffer::exported(dmabuf, length as usize, charge).inspect_err(|errno| {
                tracing::warn!("a buffer of the host device cannot be mapped: {errno}");
            })?;
        self.shared.with(buf_type, |queue| {
            queue.mapped_plane(index, plane)?.buffer = Some(Arc::clone(&buffer));
            Ok(())
        })?;
        Ok(buffer)
    }

    /// `VIDIOC_EXPBUF`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such buffer or plane, no MMAP buffer, or unknown flags; the host device's.
    pub fn expbuf(&mut self, export: &mut ExportBuffer, uuid: &mut Uuid) -> Result {
        const FLAGS: u32 = (nix::libc::O_CLOEXEC | nix::libc::O_ACCMODE).cast_unsigned();
        if export.flags & !FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        let buffer = self.mapped(export.type_, export.index, export.plane)?;
        *uuid = self.vm.export(&buffer)?;
        export.reserved = [0; 11];
        Ok(())
    }

    /// The buffer behind `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none; the host device's.
    pub fn mmap(&mut self, offset: u32) -> Result<Arc<HostBuffer>> {
        let (buf_type, (index, plane)) = self
            .shared
            .queues()
            .iter()
            .find_map(|(buf_type, queue)| Some((*buf_type, queue.at(offset)?)))
            .ok_or(Errno::EINVAL)?;
        self.mapped(buf_type, index, plane)
    }

    /// `VIDIOC_STREAMON`.
    ///
    /// # Errors
    ///
    /// The host device's.
    pub fn streamon(&mut self, mut buf_type: u32) -> Result {
        let named = buf_type;
        let set = |shared: &Shared, streaming| {
            let mut queues = shared.queues();
            let queue = queues.get_mut(&named)?;
            Some(std::mem::replace(&mut queue.streaming, streaming))
        };
        self.watch()?;
        // Before the call: what is done right after it is not to be missed.
        let before = set(&self.shared, true);
        self.shared.count();
        let started = self
            .shared
            .node
            .call(entry(ioctl::STREAMON)?, &mut buf_type);
        if started.is_err() {
            set(&self.shared, before.unwrap_or_default());
            self.pump();
            return started;
        }
        self.watch()?.data(true)?;
        self.pump();
        Ok(())
    }

    /// `VIDIOC_STREAMOFF`.
    ///
    /// # Errors
    ///
    /// The host device's.
    pub fn streamoff(&mut self, mut buf_type: u32) -> Result {
        {
            let _turn = self.shared.turn();
            self.shared.count();
            let node = &self.shared.node;
            node.call(entry(ioctl::STREAMOFF)?, &mut buf_type)?;
            if let Some(queue) = self.shared.queues().get_mut(&buf_type) {
                queue.cancel();
            }
            self.shared.events.purge(buf_type);
        }
        if !self.shared.streams()
            && let Some(watch) = &mut self.watch
        {
            watch.data(false)?;
        }
        self.pump();
        Ok(())
    }

    /// `VIDIOC_SUBSCRIBE_EVENT`.
    ///
    /// # Errors
    ///
    /// The host device's. `EINVAL` for a control's ID with other bits than those of IDs, `ENOMEM`
    /// for more than `MAX_SUBSCRIPTIONS`.
    pub fn subscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        if subscription.type_ == V4L2_EVENT_CTRL {
            plain_id(subscription.id)?;
        }
        let this = (subscription.type_, subscription.id);
        if !self.subscribed.contains(&this) && self.subscribed.len() >= MAX_SUBSCRIPTIONS {
            return Err(Errno::ENOMEM);
        }
        self.watch()?;
        let ioctl = entry(ioctl::SUBSCRIBE_EVENT)?;
        self.shared.node.call(ioctl, &mut subscription.clone())?;
        self.subscribed.insert(this);
        self.pump();
        Ok(())
    }

    /// `VIDIOC_UNSUBSCRIBE_EVENT`.
    ///
    /// # Errors
    ///
    /// The host device's.
    pub fn unsubscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        let ioctl = entry(ioctl::UNSUBSCRIBE_EVENT)?;
        self.shared.node.call(ioctl, &mut subscription.clone())?;
        if subscription.type_ == V4L2_EVENT_ALL {
            self.subscribed.clear();
        } else {
            self.subscribed
                .remove(&(subscription.type_, subscription.id));
        }
        Ok(())
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.watch = None;
        // The host device lets go of imported memory before that goes.
        let streaming: Vec<u32> = {
            let queues = self.shared.queues();
            let streaming = queues.values().filter(|queue| queue.streaming);
            streaming.map(|queue| queue.buf_type).collect()
        };
        for mut buf_type in streaming {
            if let Ok(ioctl) = entry(ioctl::STREAMOFF) {
                let _ = self.shared.node.call(ioctl, &mut buf_type);
            }
        }
    }
}

/// Whether buffers can have such memory, `V4L2_MEMORY_*`.
fn known(memory: u32) -> bool {
    matches!(memory, MEMORY_MMAP | MEMORY_USERPTR | MEMORY_DMABUF)
}

/// Where the host device finds `memory`.
fn sources(host: u32, memory: &[PlaneMemory]) -> Result<Vec<Source<'_>>> {
    let source = |memory| match host {
        MEMORY_DMABUF => {
            let dmabuf = PlaneMemory::dmabuf(memory);
            dmabuf.map(Source::Dmabuf).ok_or(Errno::EINVAL)
        }
        _ => Ok(Source::Mapped(memory)),
    };
    memory.iter().map(source).collect()
}
