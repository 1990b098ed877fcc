// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One open file of the guest: an open file of the host's node.

use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::ioctl::{self, Attached, Ioctl};
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    Control, CreateBuffers, Edid, EncoderCmd, EventSubscription, ExportBuffer, FmtDesc, Format,
    FrmIvalEnum, FrmSizeEnum, QueryCtrl, QueryExtCtrl, QueryMenu, RemoveBuffers, RequestBuffers,
    Selection, StreamParm,
};
use v4l2r::bindings::{
    V4L2_CTRL_FLAG_DISABLED, V4L2_CTRL_FLAG_READ_ONLY, V4L2_CTRL_FLAG_WRITE_ONLY,
};
use zerocopy::{FromBytes, IntoBytes};

use super::allow::{Allow, REFUSED};
use super::controls::ext_ctrls;
use super::queues::Queues;
use crate::device::api::{self, BufferArgs, ControlArgs, ControlOp, Result};
use crate::device::sessions::OpenSession;
use crate::events::Events;
use crate::memory::{HostBuffer, Vm};
use crate::v4l2::node::{Node, entry, plain_id};

/// Session of a [`Proxy`](super::Proxy).
pub struct Session {
    node: Arc<Node>,
    allow: Arc<Allow>,
    vm: Vm,
    queues: Queues,
    _open: OpenSession,
}

impl Session {
    /// A session on `node`, just opened for it, that may do what `allow` says.
    pub fn new(
        id: u32,
        node: Arc<Node>,
        allow: Arc<Allow>,
        (events, vm): (Events, Vm),
        open: OpenSession,
    ) -> Self {
        tracing::debug!(session = id, "{}", node.identity().card);
        Self {
            queues: Queues::new(Arc::clone(&node), events, vm.clone()),
            node,
            allow,
            vm,
            _open: open,
        }
    }

    /// What follows a call on the host's node: the guest hears of what it caused, and of a device
    /// that is gone.
    fn after(&mut self, result: Result) -> Result {
        self.queues.pump();
        // Some drivers say so of something else that they do not have.
        if result == Err(Errno::ENODEV) && self.node.is_gone() {
            self.queues.lost(Errno::ENODEV);
        }
        result
    }

    /// Whether the ioctl with this code may be used: one that may not looks as if the device did
    /// not have it.
    fn check(&self, code: u32) -> Result {
        if self.allow.ioctl(code) {
            Ok(())
        } else {
            Err(Errno::ENOTTY)
        }
    }

    /// Makes the call on the host's node. Events that it causes there are with the guest before its
    /// answer.
    fn pass<T: FromBytes + IntoBytes>(&mut self, code: u32, payload: &mut T) -> Result {
        self.pass_bytes(entry(code)?, payload.as_mut_bytes())
    }

    /// As [`pass`](Self::pass).
    fn pass_bytes(&mut self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result {
        self.check(ioctl.code)?;
        let result = if ioctl.code == ioctl::S_HW_FREQ_SEEK {
            self.node.call_blocking(ioctl, payload)
        } else {
            self.node.call_bytes(ioctl, payload)
        };
        self.after(result)
    }

    /// G_EDID, S_EDID: `body` is the payload and the blocks.
    fn edid(&mut self, ioctl: &'static Ioctl, body: &mut [u8]) -> Result {
        self.check(ioctl.code)?;
        let (payload, blocks) = body.split_at_mut_checked(ioctl.size).ok_or(Errno::EINVAL)?;
        let mut edid = Edid::read_from_bytes(payload).map_err(|_| Errno::EINVAL)?;
        let result = self.node.edid(ioctl, &mut edid, blocks);
        edid.write_to(payload).map_err(|_| Errno::EINVAL)?;
        self.after(result)
    }

    /// Flags of control `id` for the guest: one that it may not set is read-only, and one that is
    /// there for nothing else is disabled.
    fn flags(&self, id: u32, flags: u32) -> u32 {
        if self.allow.may_set(id) && self.allow.ioctl(ioctl::S_EXT_CTRLS) {
            flags
        } else if flags & (V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY)
            == V4L2_CTRL_FLAG_WRITE_ONLY
        {
            flags | V4L2_CTRL_FLAG_DISABLED
        } else {
            flags | V4L2_CTRL_FLAG_READ_ONLY
        }
    }
}

macro_rules! pass {
    ($($name:ident: $code:ident($payload:ty),)*) => {
        $(fn $name(&mut self, payload: &mut $payload) -> Result {
            self.pass(ioctl::$code, payload)
        })*
    };
}

impl api::Session for Session {
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
    }

    fn querymenu(&mut self, menu: &mut QueryMenu) -> Result {
        self.check(ioctl::QUERYMENU)?;
        plain_id(menu.id)?;
        self.pass(ioctl::QUERYMENU, menu)
    }

    fn queryctrl(&mut self, query: &mut QueryCtrl) -> Result {
        self.pass(ioctl::QUERYCTRL, query)?;
        query.flags = self.flags(query.id, query.flags);
        Ok(())
    }

    fn query_ext_ctrl(&mut self, query: &mut QueryExtCtrl) -> Result {
        self.pass(ioctl::QUERY_EXT_CTRL, query)?;
        query.flags = self.flags(query.id, query.flags);
        Ok(())
    }

    fn g_ctrl(&mut self, control: &mut Control) -> Result {
        self.check(ioctl::G_CTRL)?;
        plain_id(control.id)?;
        self.pass(ioctl::G_CTRL, control)
    }

    fn s_ctrl(&mut self, control: &mut Control) -> Result {
        self.check(ioctl::S_CTRL)?;
        plain_id(control.id)?;
        if !self.allow.may_set(control.id) {
            return Err(Errno::EACCES);
        }
        self.pass(ioctl::S_CTRL, control)
    }

    fn ext_ctrls(&mut self, op: ControlOp, args: ControlArgs<'_>) -> Result {
        self.check(match op {
            ControlOp::Get => ioctl::G_EXT_CTRLS,
            ControlOp::Set => ioctl::S_EXT_CTRLS,
            ControlOp::Try => ioctl::TRY_EXT_CTRLS,
        })?;
        let result = ext_ctrls(&self.node, &self.vm, &self.allow, op, args);
        self.after(result)
    }

    fn reqbufs(&mut self, request: &mut RequestBuffers) -> Result {
        self.check(ioctl::REQBUFS)?;
        self.queues.reqbufs(request)
    }

    fn create_bufs(&mut self, create: &mut CreateBuffers) -> Result {
        self.check(ioctl::CREATE_BUFS)?;
        self.queues.create_bufs(create)
    }

    fn remove_bufs(&mut self, remove: &mut RemoveBuffers) -> Result {
        self.check(ioctl::REMOVE_BUFS)?;
        self.queues.remove_bufs(remove)
    }

    fn querybuf(&mut self, args: BufferArgs<'_>) -> Result {
        self.check(ioctl::QUERYBUF)?;
        self.queues.querybuf(args)
    }

    fn prepare_buf(&mut self, args: BufferArgs<'_>) -> Result {
        self.check(ioctl::PREPARE_BUF)?;
        self.queues.prepare_buf(args)
    }

    fn qbuf(&mut self, args: BufferArgs<'_>) -> Result {
        self.check(ioctl::QBUF)?;
        self.queues.qbuf(args)
    }

    fn expbuf(&mut self, export: &mut ExportBuffer, uuid: &mut Uuid) -> Result {
        self.check(ioctl::EXPBUF)?;
        self.queues.expbuf(export, uuid)
    }

    fn streamon(&mut self, buf_type: u32) -> Result {
        self.check(ioctl::STREAMON)?;
        self.queues.streamon(buf_type)
    }

    fn streamoff(&mut self, buf_type: u32) -> Result {
        self.check(ioctl::STREAMOFF)?;
        self.queues.streamoff(buf_type)
    }

    fn subscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        self.check(ioctl::SUBSCRIBE_EVENT)?;
        self.queues.subscribe_event(subscription)
    }

    fn unsubscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        self.check(ioctl::UNSUBSCRIBE_EVENT)?;
        self.queues.unsubscribe_event(subscription)
    }

    fn other(&mut self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result {
        match ioctl.attached {
            _ if REFUSED.contains(&ioctl.code) => Err(Errno::EPERM),
            Attached::Nothing => self.pass_bytes(ioctl, payload),
            Attached::Edid => self.edid(ioctl, payload),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn mmap(&mut self, offset: u32) -> Result<Arc<HostBuffer>> {
        self.queues.mmap(offset)
    }
}
