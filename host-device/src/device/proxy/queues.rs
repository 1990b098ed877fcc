// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Buffers and streams of one session.

use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    CreateBuffers, EventSubscription, ExportBuffer, RemoveBuffers, RequestBuffers,
};
use tokio::runtime::Handle;

use crate::device::{BufferArgs, Result};
use crate::events::Events;
use crate::memory::{HostBuffer, Vm};
use crate::v4l2::Node;

/// Queues of one open file of the node.
#[derive(Debug)]
pub struct Queues {
    node: Arc<Node>,
}

impl Queues {
    /// Queues without buffers of `node`, which was just opened.
    ///
    /// # Errors
    ///
    /// The system refuses what they need.
    pub fn new(node: Arc<Node>, _events: Events, _vm: Vm, _runtime: Handle) -> Result<Self> {
        Ok(Self { node })
    }

    /// Puts what the node has ready on the session's `Events`.
    pub fn pump(&mut self) {}

    /// `VIDIOC_REQBUFS`.
    pub fn reqbufs(&mut self, _request: &mut RequestBuffers) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_CREATE_BUFS`.
    pub fn create_bufs(&mut self, _create: &mut CreateBuffers) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_REMOVE_BUFS`.
    pub fn remove_bufs(&mut self, _remove: &mut RemoveBuffers) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_QUERYBUF`.
    pub fn querybuf(&mut self, _args: BufferArgs<'_>) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_PREPARE_BUF`.
    pub fn prepare_buf(&mut self, _args: BufferArgs<'_>) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_QBUF`.
    pub fn qbuf(&mut self, _args: BufferArgs<'_>) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_EXPBUF`.
    pub fn expbuf(&mut self, _export: &mut ExportBuffer, _uuid: &mut Uuid) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_STREAMON`.
    pub fn streamon(&mut self, _buf_type: u32) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_STREAMOFF`.
    pub fn streamoff(&mut self, mut buf_type: u32) -> Result {
        let ioctl = ioctl::lookup(ioctl::STREAMOFF).ok_or(Errno::ENOTTY)?;
        self.node.call(ioctl, &mut buf_type)
    }

    /// `VIDIOC_SUBSCRIBE_EVENT`.
    pub fn subscribe_event(&mut self, _subscription: &EventSubscription) -> Result {
        Err(Errno::ENOTTY)
    }

    /// `VIDIOC_UNSUBSCRIBE_EVENT`.
    pub fn unsubscribe_event(&mut self, _subscription: &EventSubscription) -> Result {
        Err(Errno::ENOTTY)
    }

    /// The buffer behind `offset`.
    pub fn mmap(&mut self, _offset: u32) -> Result<Arc<HostBuffer>> {
        Err(Errno::EINVAL)
    }
}
