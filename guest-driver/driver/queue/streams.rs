// SPDX-License-Identifier: GPL-2.0

//! All buffers of a session.

use super::buffers::{Advanced, Answered, Post, Queue};
use super::clock::Clock;
use super::fence::Fence;
use super::mapping::{Mappable, User, RESIDUES};
use super::rules::MAX_BUFFERS;
use crate::wire::v4l2::{
    is_output, Buffer, Plane, BUF_TYPE_META_OUTPUT, MEMORY_MMAP, VIDEO_MAX_PLANES,
};
use kernel::page::PAGE_SHIFT;
use kernel::prelude::*;

/// Number of buffer types, the unused 0 included (`enum v4l2_buf_type`).
pub(in crate::driver) const TYPES: usize = BUF_TYPE_META_OUTPUT as usize + 1;

/// All buffers of a session, by type.
pub(in crate::driver) struct Streams<R, F> {
    /// One for each of [`TYPES`]. On the heap: a session is made on the stack.
    queues: KVec<Queue<R, F>>,
}

/// What poll wants to know of all queues of one direction.
#[derive(Clone, Copy, Default)]
pub(in crate::driver) struct Readiness {
    /// A queue is streaming.
    pub(in crate::driver) streaming: bool,
    /// A streaming queue has a buffer that the client has not dequeued.
    pub(in crate::driver) busy: bool,
    /// A buffer can be dequeued.
    pub(in crate::driver) done: bool,
    /// The last buffer was dequeued.
    pub(in crate::driver) last: bool,
}

impl<R, F: Fence> Streams<R, F> {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::driver) fn new() -> Result<Self> {
        let mut queues = KVec::with_capacity(TYPES, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..TYPES {
            queues.push(Queue::default(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self { queues })
    }

    /// The queue of that type.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such type.
    pub(in crate::driver) fn get(&mut self, buf_type: u32) -> Result<&mut Queue<R, F>> {
        match buf_type {
            0 => Err(EINVAL),
            _ => self.queues.get_mut(buf_type as usize).ok_or(EINVAL),
        }
    }

    /// The device has answered a QBUF.
    pub(in crate::driver) fn answered(
        &mut self,
        buf_type: u32,
        index: u32,
        number: u64,
        refused: bool,
        request: R,
    ) -> Answered<R> {
        match self.get(buf_type) {
            Ok(queue) => queue.answered(index, number, refused, request),
            Err(_) => Answered {
                left: Some(request),
                done: false,
            },
        }
    }

    /// See [`Queue::returned`].
    pub(in crate::driver) fn returned(
        &mut self,
        buffer: &Buffer,
        planes: &[Plane; VIDEO_MAX_PLANES],
        clock: &mut Clock,
        now: i64,
        batch: u64,
    ) -> Result<bool> {
        let queue = self.get(buffer.type_)?;
        queue.returned(buffer, planes, clock, now, batch)
    }

    /// STREAMON has succeeded.
    pub(in crate::driver) fn start(&mut self, buf_type: u32) {
        if let Ok(queue) = self.get(buf_type) {
            queue.streaming = true;
            queue.last_dequeued = false;
        }
    }

    /// STREAMOFF has succeeded: all buffers are the client's. Returns a pending STOP, to
    /// be dropped without the lock.
    pub(in crate::driver) fn stop(&mut self, buf_type: u32) -> Option<R> {
        self.get(buf_type).ok().and_then(Queue::give_up)
    }

    /// Posts the pending buffers of all queues that are ready.
    pub(in crate::driver) fn advance(&mut self, post: Post<'_, R>) -> Advanced {
        let mut advanced = Advanced::default();
        for queue in self.queues.iter_mut().filter(|queue| queue.has_pending()) {
            queue.advance(post, &mut advanced);
        }
        advanced
    }

    /// The queue with pending frames for the codec, behind which its STOP is to wait.
    pub(in crate::driver) fn pending_for_stop(&mut self) -> Option<&mut Queue<R, F>> {
        let mut queues = self.queues.iter_mut();
        queues.find(|queue| queue.rules.output && queue.has_pending())
    }

    /// Whether a buffer can be dequeued.
    pub(in crate::driver) fn any_done(&self) -> bool {
        self.queues.iter().any(|queue| queue.done.is_some())
    }

    /// The codec goes on after the last buffer.
    pub(in crate::driver) fn resume(&mut self) {
        for queue in self.queues.iter_mut() {
            queue.last_dequeued = false;
        }
    }

    /// What poll wants to know.
    pub(in crate::driver) fn readiness(&self, output: bool) -> Readiness {
        let mut readiness = Readiness::default();
        for (buf_type, queue) in self.queues.iter().enumerate() {
            if is_output(buf_type as u32) != output || !queue.streaming {
                continue;
            }
            readiness.streaming = true;
            readiness.busy |= queue.outstanding > 0;
            readiness.done |= queue.done.is_some();
            readiness.last |= queue.last_dequeued;
        }
        readiness
    }
}

impl<R, F: Fence> Streams<R, F> {
    /// The plane that a client maps at `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none.
    pub(in crate::driver) fn mappable_at(&mut self, offset: u64) -> Result<Mappable> {
        let pages = offset >> PAGE_SHIFT;
        let index = (pages >> 3) as u32 % MAX_BUFFERS;
        let plane = pages as usize % VIDEO_MAX_PLANES;
        let first = usize::try_from(pages >> 13).map_err(|_| EINVAL)?;
        if first >= RESIDUES {
            return Err(EINVAL);
        }
        let mut types = (first..self.queues.len()).step_by(RESIDUES);
        let found = types.find_map(|buf_type| self.mappable(buf_type as u32, index, plane).ok());
        found.ok_or(EINVAL)
    }

    /// A plane of an MMAP buffer.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none.
    pub(in crate::driver) fn mappable(
        &mut self,
        buf_type: u32,
        index: u32,
        plane: usize,
    ) -> Result<Mappable> {
        let queue = self.get(buf_type)?;
        if queue.rules.memory != MEMORY_MMAP {
            return Err(EINVAL);
        }
        let slot = queue.slot(index)?;
        let (length, at) = slot.plane(plane)?;
        Ok(Mappable {
            buf_type,
            index,
            plane,
            length,
            at,
            user: User::new(&slot.users),
        })
    }
}
