// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One open file of the guest: an open file of the host's node.

use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::ioctl::{self, Attached, Ioctl};
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    Control, CreateBuffers, EncoderCmd, EventSubscription, ExportBuffer, FmtDesc, Format,
    FrmIvalEnum, FrmSizeEnum, QueryCtrl, QueryExtCtrl, QueryMenu, RemoveBuffers, RequestBuffers,
    Selection, StreamParm,
};
use zerocopy::{FromBytes, IntoBytes};

use super::queues::Queues;
use crate::device::{BufferArgs, Result};
use crate::events::Events;
use crate::memory::{HostBuffer, Vm};
use crate::v4l2::Node;

/// Session of a [`Proxy`](super::Proxy).
pub struct Session {
    node: Arc<Node>,
    queues: Queues,
}

impl Session {
    /// A session on `node`, just opened for it.
    ///
    /// # Errors
    ///
    /// The system refuses what the session needs (threads, files).
    pub fn new(id: u32, node: Arc<Node>, events: Events, vm: Vm) -> Result<Self> {
        let runtime = vm.runtime().cloned().ok_or(Errno::EIO)?;
        tracing::debug!(session = id, "{}", node.identity().card);
        Ok(Self {
            queues: Queues::new(Arc::clone(&node), events, vm, runtime)?,
            node,
        })
    }

    /// Makes the call on the host's node. Events that it causes there are with the guest before its answer.
    fn pass<T: FromBytes + IntoBytes>(&mut self, code: u32, payload: &mut T) -> Result {
        self.pass_bytes(
            ioctl::lookup(code).ok_or(Errno::ENOTTY)?,
            payload.as_mut_bytes(),
        )
    }

    /// As [`pass`](Self::pass).
    fn pass_bytes(&mut self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result {
        let result = self.node.call_bytes(ioctl, payload);
        self.queues.pump();
        result
    }
}

macro_rules! pass {
    ($($name:ident: $code:ident($payload:ty),)*) => {
        $(fn $name(&mut self, payload: &mut $payload) -> Result {
            self.pass(ioctl::$code, payload)
        })*
    };
}

impl crate::device::Session for Session {
    pass! {
        enum_fmt: ENUM_FMT(FmtDesc),
        g_fmt: G_FMT(Format),
        s_fmt: S_FMT(Format),
        try_fmt: TRY_FMT(Format),
        enum_framesizes: ENUM_FRAMESIZES(FrmSizeEnum),
        enum_frameintervals: ENUM_FRAMEINTERVALS(FrmIvalEnum),
        g_parm: G_PARM(StreamParm),
        s_parm: S_PARM(StreamParm),
        g_selection: G_SELECTION(Selection),
        s_selection: S_SELECTION(Selection),
        encoder_cmd: ENCODER_CMD(EncoderCmd),
        try_encoder_cmd: TRY_ENCODER_CMD(EncoderCmd),
        queryctrl: QUERYCTRL(QueryCtrl),
        query_ext_ctrl: QUERY_EXT_CTRL(QueryExtCtrl),
        querymenu: QUERYMENU(QueryMenu),
        g_ctrl: G_CTRL(Control),
        s_ctrl: S_CTRL(Control),
    }

    fn reqbufs(&mut self, request: &mut RequestBuffers) -> Result {
        self.queues.reqbufs(request)
    }

    fn create_bufs(&mut self, create: &mut CreateBuffers) -> Result {
        self.queues.create_bufs(create)
    }

    fn remove_bufs(&mut self, remove: &mut RemoveBuffers) -> Result {
        self.queues.remove_bufs(remove)
    }

    fn querybuf(&mut self, args: BufferArgs<'_>) -> Result {
        self.queues.querybuf(args)
    }

    fn prepare_buf(&mut self, args: BufferArgs<'_>) -> Result {
        self.queues.prepare_buf(args)
    }

    fn qbuf(&mut self, args: BufferArgs<'_>) -> Result {
        self.queues.qbuf(args)
    }

    fn expbuf(&mut self, export: &mut ExportBuffer, uuid: &mut Uuid) -> Result {
        self.queues.expbuf(export, uuid)
    }

    fn streamon(&mut self, buf_type: u32) -> Result {
        self.queues.streamon(buf_type)
    }

    fn streamoff(&mut self, buf_type: u32) -> Result {
        self.queues.streamoff(buf_type)
    }

    fn subscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        self.queues.subscribe_event(subscription)
    }

    fn unsubscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        self.queues.unsubscribe_event(subscription)
    }

    fn other(&mut self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result {
        match ioctl.code {
            // Memory and registers of the host.
            ioctl::S_FBUF
            | ioctl::OVERLAY
            | ioctl::DBG_S_REGISTER
            | ioctl::DBG_G_REGISTER
            | ioctl::DBG_G_CHIP_INFO => Err(Errno::EPERM),
            _ if ioctl.attached == Attached::Nothing => self.pass_bytes(ioctl, payload),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn mmap(&mut self, offset: u32) -> Result<Arc<HostBuffer>> {
        self.queues.mmap(offset)
    }
}
