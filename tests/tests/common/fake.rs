// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A device that writes down every call and answers as the test says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use protocol::wire::config::Config;
use protocol::wire::ioctl::{self, Ioctl};
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::{
    Control, CreateBuffers, EncoderCmd, EventSubscription, ExportBuffer, FmtDesc, Format,
    FrmIvalEnum, FrmSizeEnum, QueryCtrl, QueryExtCtrl, QueryMenu, RemoveBuffers, RequestBuffers,
    Selection, StreamParm,
};
use virtio_v4l2d::device::{
    BufferArgs, ControlArgs, ControlOp, Device, Result, Session, WireMemory,
};
use virtio_v4l2d::events::Events;
use virtio_v4l2d::memory::{HostBuffer, Vm};
use zerocopy::{FromBytes, IntoBytes};

/// One call of a session's method, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The session.
    pub session: u32,
    /// The ioctl's number.
    pub code: u32,
    /// The payload; the answer changes it.
    pub payload: Vec<u8>,
    /// Planes, controls, or EXPBUF's UUID; the answer changes it.
    pub array: Vec<u8>,
    /// Memory of a buffer.
    pub memory: WireMemory,
    /// Memory of controls.
    pub payloads: Vec<Vec<SgEntry>>,
}

type Answer = Arc<dyn Fn(&mut Call, &Events) -> Result + Send + Sync>;

#[derive(Default)]
struct State {
    config: Option<Config>,
    calls: Vec<Call>,
    open: HashMap<u32, Events>,
    refuse_open: Option<Errno>,
    closed: Vec<u32>,
    buffers: HashMap<u32, Arc<HostBuffer>>,
    answer: Option<Answer>,
    may_wait: bool,
    busy: bool,
    slow: bool,
}

/// The device; clones are the same one.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on calls are answered by `answer`, from any thread. Without one they succeed and
    /// change nothing.
    pub fn answer(&self, answer: impl Fn(&mut Call, &Events) -> Result + Send + Sync + 'static) {
        self.state().answer = Some(Arc::new(answer));
    }

    /// Answers all calls with `errno`.
    pub fn refuse(&self, errno: Errno) {
        self.answer(move |_, _| Err(errno));
    }

    /// Refuses to open sessions, or not.
    pub fn refuse_open(&self, errno: Option<Errno>) {
        self.state().refuse_open = errno;
    }

    /// Calls may wait for hardware, or not.
    pub fn set_may_wait(&self, may_wait: bool) {
        self.state().may_wait = may_wait;
    }

    /// A call is being made that others may have to wait for, or none is.
    pub fn set_busy(&self, busy: bool) {
        self.state().busy = busy;
    }

    /// QBUF has much memory to map, or not.
    pub fn set_slow(&self, slow: bool) {
        self.state().slow = slow;
    }

    /// What the configuration space says.
    pub fn set_config(&self, config: Config) {
        self.state().config = Some(config);
    }

    /// The buffer at `offset`, for MMAP in any session.
    pub fn set_buffer(&self, offset: u32, buffer: Option<Arc<HostBuffer>>) {
        let mut state = self.state();
        match buffer {
            Some(buffer) => state.buffers.insert(offset, buffer),
            None => state.buffers.remove(&offset),
        };
    }

    /// Takes the calls made since the last time.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// The way back to the guest of an open session.
    pub fn events(&self, session: u32) -> Events {
        self.state().open.get(&session).unwrap().clone()
    }

    /// Sessions that are open, in no order.
    pub fn open_sessions(&self) -> Vec<u32> {
        self.state().open.keys().copied().collect()
    }

    /// Sessions that were closed, in order.
    pub fn closed(&self) -> Vec<u32> {
        self.state().closed.clone()
    }
}

impl Device for Fake {
    fn config(&self) -> Config {
        self.state().config.unwrap_or(Config {
            device_caps: 0,
            device_type: 0,
            card: [0; 32],
        })
    }

    fn open(&self, id: u32, events: Events, _: Vm) -> Result<Box<dyn Session>> {
        let mut state = self.state();
        if let Some(errno) = state.refuse_open {
            return Err(errno);
        }
        state.open.insert(id, events.clone());
        Ok(Box::new(FakeSession {
            id,
            events,
            device: self.clone(),
        }))
    }

    fn may_wait(&self) -> bool {
        self.state().may_wait
    }

    fn is_busy(&self) -> bool {
        self.state().busy
    }
}

struct FakeSession {
    id: u32,
    events: Events,
    device: Fake,
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        let mut state = self.device.state();
        state.open.remove(&self.id);
        state.closed.push(self.id);
    }
}

impl FakeSession {
    fn make(&self, mut call: Call) -> (Call, Result) {
        let answer = {
            let mut state = self.device.state();
            state.calls.push(call.clone());
            state.answer.clone()
        };
        // Not under the lock: an answer may block, and other sessions go on.
        let result = answer.map_or(Ok(()), |answer| answer(&mut call, &self.events));
        (call, result)
    }

    fn simple(&self, code: u32, payload: &mut [u8]) -> Result {
        let (call, result) = self.make(Call {
            session: self.id,
            code,
            payload: payload.to_vec(),
            array: Vec::new(),
            memory: WireMemory::Nothing,
            payloads: Vec::new(),
        });
        payload.copy_from_slice(&call.payload);
        result
    }

    fn buffer(&self, code: u32, args: BufferArgs<'_>) -> Result {
        let (call, result) = self.make(Call {
            session: self.id,
            code,
            payload: args.buffer.as_bytes().to_vec(),
            array: args.planes.as_bytes().to_vec(),
            memory: args.memory,
            payloads: Vec::new(),
        });
        args.buffer.as_mut_bytes().copy_from_slice(&call.payload);
        args.planes.as_mut_bytes().copy_from_slice(&call.array);
        result
    }
}

macro_rules! simple {
    ($($name:ident($ty:ty) = $code:ident;)*) => {
        $(fn $name(&mut self, value: &mut $ty) -> Result {
            self.simple(ioctl::$code, value.as_mut_bytes())
        })*
    };
}

impl Session for FakeSession {
    simple! {
        enum_fmt(FmtDesc) = ENUM_FMT;
        g_fmt(Format) = G_FMT;
        s_fmt(Format) = S_FMT;
        try_fmt(Format) = TRY_FMT;
        enum_framesizes(FrmSizeEnum) = ENUM_FRAMESIZES;
        enum_frameintervals(FrmIvalEnum) = ENUM_FRAMEINTERVALS;
        g_parm(StreamParm) = G_PARM;
        s_parm(StreamParm) = S_PARM;
        g_selection(Selection) = G_SELECTION;
        s_selection(Selection) = S_SELECTION;
        reqbufs(RequestBuffers) = REQBUFS;
        create_bufs(CreateBuffers) = CREATE_BUFS;
        remove_bufs(RemoveBuffers) = REMOVE_BUFS;
        encoder_cmd(EncoderCmd) = ENCODER_CMD;
        try_encoder_cmd(EncoderCmd) = TRY_ENCODER_CMD;
        queryctrl(QueryCtrl) = QUERYCTRL;
        query_ext_ctrl(QueryExtCtrl) = QUERY_EXT_CTRL;
        querymenu(QueryMenu) = QUERYMENU;
        g_ctrl(Control) = G_CTRL;
        s_ctrl(Control) = S_CTRL;
    }

    fn streamon(&mut self, buf_type: u32) -> Result {
        self.simple(ioctl::STREAMON, &mut buf_type.to_le_bytes())
    }

    fn streamoff(&mut self, buf_type: u32) -> Result {
        self.simple(ioctl::STREAMOFF, &mut buf_type.to_le_bytes())
    }

    fn subscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        let mut value = *subscription;
        self.simple(ioctl::SUBSCRIBE_EVENT, value.as_mut_bytes())
    }

    fn unsubscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        let mut value = *subscription;
        self.simple(ioctl::UNSUBSCRIBE_EVENT, value.as_mut_bytes())
    }

    fn querybuf(&mut self, args: BufferArgs<'_>) -> Result {
        self.buffer(ioctl::QUERYBUF, args)
    }

    fn prepare_buf(&mut self, args: BufferArgs<'_>) -> Result {
        self.buffer(ioctl::PREPARE_BUF, args)
    }

    fn qbuf(&mut self, args: BufferArgs<'_>) -> Result {
        self.buffer(ioctl::QBUF, args)
    }

    fn is_quick(&mut self, _: &BufferArgs<'_>) -> bool {
        !self.device.state().slow
    }

    fn expbuf(&mut self, export: &mut ExportBuffer, uuid: &mut Uuid) -> Result {
        let (call, result) = self.make(Call {
            session: self.id,
            code: ioctl::EXPBUF,
            payload: export.as_bytes().to_vec(),
            array: uuid.0.to_vec(),
            memory: WireMemory::Nothing,
            payloads: Vec::new(),
        });
        export.as_mut_bytes().copy_from_slice(&call.payload);
        *uuid = Uuid::read_from_bytes(&call.array).unwrap();
        result
    }

    fn ext_ctrls(&mut self, op: ControlOp, args: ControlArgs<'_>) -> Result {
        let code = match op {
            ControlOp::Get => ioctl::G_EXT_CTRLS,
            ControlOp::Set => ioctl::S_EXT_CTRLS,
            ControlOp::Try => ioctl::TRY_EXT_CTRLS,
        };
        let (call, result) = self.make(Call {
            session: self.id,
            code,
            payload: args.header.as_bytes().to_vec(),
            array: args.controls.as_bytes().to_vec(),
            memory: WireMemory::Nothing,
            payloads: args.payloads,
        });
        args.header.as_mut_bytes().copy_from_slice(&call.payload);
        args.controls.as_mut_bytes().copy_from_slice(&call.array);
        result
    }

    fn other(&mut self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result {
        self.simple(ioctl.code, payload)
    }

    fn mmap(&mut self, offset: u32) -> Result<Arc<HostBuffer>> {
        let buffer = self.device.state().buffers.get(&offset).cloned();
        buffer.ok_or(Errno::EINVAL)
    }
}
