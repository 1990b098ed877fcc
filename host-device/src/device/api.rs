// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a device is: the boundary between the transport and the devices that it serves.
//!
//! A [`Device`] makes [`Session`]s; a session answers the ioctls of one open file in the guest.
//! Both are safe Rust and know nothing of vhost-user, rings or descriptor chains: arguments arrive
//! decoded and within the bounds of the protocol, errors are plain [`Errno`]s, and buffers and
//! events go back through the session's [`Events`].
//!
//! # Order
//!
//! The calls of one session never overlap and come in the order in which the guest sent them.
//! Whatever a session puts on its `Events` before a call returns reaches the guest before the
//! call's reply.

use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::config::Config;
use protocol::wire::ioctl::Ioctl;
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::{
    Buffer, Control, CreateBuffers, EncoderCmd, EventSubscription, ExportBuffer, ExtControl,
    ExtControls, FmtDesc, Format, FrmIvalEnum, FrmSizeEnum, Plane, QueryCtrl, QueryExtCtrl,
    QueryMenu, RemoveBuffers, RequestBuffers, Selection, StreamParm,
};

use crate::events::Events;
use crate::memory::{HostBuffer, Vm};

/// A fixed, NUL-terminated field of a structure, as `strscpy()` fills it.
pub fn text<const N: usize>(name: &str) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field
        .iter_mut()
        .take(N.saturating_sub(1))
        .zip(name.as_bytes())
    {
        *to = *from;
    }
    field
}

/// Outcome of a call: the error is what the guest's ioctl fails with.
pub type Result<T = ()> = std::result::Result<T, Errno>;

/// A kind of device, from which any number of sessions can be opened.
pub trait Device: Send + Sync + 'static {
    /// What the configuration space says.
    fn config(&self) -> Config;

    /// Opens a session, as `open(2)` of the node does. `id` names it in logs; `vm` is whose it is.
    ///
    /// # Errors
    ///
    /// Whatever `open(2)` is to fail with, for instance `EMFILE`, `EBUSY`.
    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn Session>>;

    /// Whether any call may wait for hardware. Such calls run on threads where that stops nothing
    /// else, except for QBUF of MMAP buffers.
    fn may_wait(&self) -> bool {
        false
    }

    /// Whether a call is in progress that others may have to wait for. Then QBUF of MMAP buffers
    /// runs on those threads, too.
    fn is_busy(&self) -> bool {
        false
    }
}

/// The memory of a buffer as the guest names it on the wire, one element for each plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireMemory {
    /// Nothing: the buffer is the device's own (`V4L2_MEMORY_MMAP`).
    Nothing,
    /// Guest pages (`V4L2_MEMORY_USERPTR`): entries that cover the plane's `length`, not yet
    /// checked against the guest's memory.
    Pages(Vec<Vec<SgEntry>>),
    /// Virtio objects (`V4L2_MEMORY_DMABUF`).
    Objects(Vec<Uuid>),
}

/// A buffer ioctl's arguments: `struct v4l2_buffer`, its planes and the memory behind them.
#[derive(Debug)]
pub struct BufferArgs<'a> {
    /// The buffer. `m` means nothing for multi-planar types.
    pub buffer: &'a mut Buffer,
    /// Planes: as many as `buffer.length` says for multi-planar types, none otherwise.
    pub planes: &'a mut [Plane],
    /// The guest's memory behind the planes. Always `Nothing` in QUERYBUF.
    pub memory: WireMemory,
}

/// Controls of an extended control ioctl.
#[derive(Debug)]
pub struct ControlArgs<'a> {
    /// The header; `error_idx` travels back even if the call fails.
    pub header: &'a mut ExtControls,
    /// Controls: as many as `header.count` says.
    pub controls: &'a mut [ExtControl],
    /// Guest memory of each control whose `size` is not zero, by index; empty for the others.
    pub payloads: Vec<Vec<SgEntry>>,
}

/// Which of the three extended control ioctls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlOp {
    /// `VIDIOC_G_EXT_CTRLS`.
    Get,
    /// `VIDIOC_S_EXT_CTRLS`.
    Set,
    /// `VIDIOC_TRY_EXT_CTRLS`.
    Try,
}

macro_rules! ioctls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(
            $(#[$doc])*
            #[allow(unused_variables)]
            fn $name(&mut self, $($arg: $ty),*) -> Result {
                Err(Errno::ENOTTY)
            }
        )*
    };
}

/// One open file of the guest. Dropped when it is closed.
///
/// A method that a device does not have answers `ENOTTY`, as V4L2 wants. Arguments are updated in
/// place.
pub trait Session: Send {
    ioctls! {
        /// `VIDIOC_ENUM_FMT`.
        enum_fmt(desc: &mut FmtDesc);
        /// `VIDIOC_G_FMT`.
        g_fmt(format: &mut Format);
        /// `VIDIOC_S_FMT`.
        s_fmt(format: &mut Format);
        /// `VIDIOC_TRY_FMT`.
        try_fmt(format: &mut Format);
        /// `VIDIOC_ENUM_FRAMESIZES`.
        enum_framesizes(size: &mut FrmSizeEnum);
        /// `VIDIOC_ENUM_FRAMEINTERVALS`.
        enum_frameintervals(interval: &mut FrmIvalEnum);
        /// `VIDIOC_G_PARM`.
        g_parm(parm: &mut StreamParm);
        /// `VIDIOC_S_PARM`.
        s_parm(parm: &mut StreamParm);
        /// `VIDIOC_G_SELECTION`.
        g_selection(selection: &mut Selection);
        /// `VIDIOC_S_SELECTION`.
        s_selection(selection: &mut Selection);
        /// `VIDIOC_REQBUFS`.
        reqbufs(request: &mut RequestBuffers);
        /// `VIDIOC_CREATE_BUFS`.
        create_bufs(create: &mut CreateBuffers);
        /// `VIDIOC_REMOVE_BUFS`.
        remove_bufs(remove: &mut RemoveBuffers);
        /// `VIDIOC_QUERYBUF`.
        querybuf(args: BufferArgs<'_>);
        /// `VIDIOC_PREPARE_BUF`.
        prepare_buf(args: BufferArgs<'_>);
        /// `VIDIOC_QBUF`.
        qbuf(args: BufferArgs<'_>);
        /// `VIDIOC_EXPBUF`; `uuid` stands in for the file descriptor.
        expbuf(export: &mut ExportBuffer, uuid: &mut Uuid);
        /// `VIDIOC_STREAMON` of the queue of type `buf_type` (`V4L2_BUF_TYPE_*`).
        streamon(buf_type: u32);
        /// `VIDIOC_STREAMOFF`.
        streamoff(buf_type: u32);
        /// `VIDIOC_ENCODER_CMD`.
        encoder_cmd(cmd: &mut EncoderCmd);
        /// `VIDIOC_TRY_ENCODER_CMD`.
        try_encoder_cmd(cmd: &mut EncoderCmd);
        /// `VIDIOC_SUBSCRIBE_EVENT`.
        subscribe_event(subscription: &EventSubscription);
        /// `VIDIOC_UNSUBSCRIBE_EVENT`.
        unsubscribe_event(subscription: &EventSubscription);
        /// `VIDIOC_QUERYCTRL`, for drivers that do not derive it from QUERY_EXT_CTRL.
        queryctrl(query: &mut QueryCtrl);
        /// `VIDIOC_QUERY_EXT_CTRL`.
        query_ext_ctrl(query: &mut QueryExtCtrl);
        /// `VIDIOC_QUERYMENU`.
        querymenu(menu: &mut QueryMenu);
        /// `VIDIOC_G_CTRL`.
        g_ctrl(control: &mut Control);
        /// `VIDIOC_S_CTRL`.
        s_ctrl(control: &mut Control);
        /// `VIDIOC_{G,S,TRY}_EXT_CTRLS`.
        ext_ctrls(op: ControlOp, args: ControlArgs<'_>);
        /// Any other forwarded ioctl: `payload` is what the driver sent (zeros for `_IOR`) and
        /// takes what goes back.
        other(ioctl: &'static Ioctl, payload: &mut [u8]);
    }

    /// Whether QBUF or PREPARE_BUF with these arguments is short, so that it may be made where
    /// others wait meanwhile. It is not if much memory has to be mapped.
    fn is_quick(&mut self, args: &BufferArgs<'_>) -> bool {
        let _ = args;
        true
    }

    /// The buffer behind `offset`, the `mem_offset` that QUERYBUF answered, for
    /// VIRTIO_MEDIA_CMD_MMAP.
    ///
    /// # Errors
    ///
    /// `EINVAL` if no buffer has that offset.
    fn mmap(&mut self, offset: u32) -> Result<Arc<HostBuffer>>;
}
