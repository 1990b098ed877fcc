// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A device that lies to the guest's driver: the real encoder, whose answers, errors and events are
//! tampered with.
//!
//! `hostile-device --socket-path PATH`; SEED chooses the lies, LEVEL how many: one call in LEVEL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use protocol::wire::config::Config;
use protocol::wire::ioctl::Ioctl;
use protocol::wire::sg::Uuid;
use protocol::wire::v4l2::{
    Buffer, Control, CreateBuffers, EncoderCmd, Event, EventSubscription, ExportBuffer, FmtDesc,
    Format, FrmIvalEnum, FrmSizeEnum, Plane, QueryCtrl, QueryExtCtrl, QueryMenu, RemoveBuffers,
    RequestBuffers, Selection, StreamParm,
};
use virtio_v4l2d::config::{DeviceSpec, Limits};
use virtio_v4l2d::device::{self, BufferArgs, ControlArgs, ControlOp, Device, Result, Session};
use virtio_v4l2d::events::Events;
use virtio_v4l2d::memory::{HostBuffer, Vm};
use virtio_v4l2d::transport::{Endpoint, Stop, serve};
use zerocopy::{FromZeros, IntoBytes};

/// Numbers at the edge of something.
const WILD: [u32; 16] = [
    0,
    1,
    2,
    8,
    9,
    31,
    32,
    33,
    64,
    255,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    u32::MAX,
];

/// Lies, in an order that the seed decides.
#[derive(Clone)]
struct Lies {
    state: Arc<Mutex<u64>>,
    level: u32,
}

impl Lies {
    fn word(&self) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) as u32
    }

    fn below(&self, end: u32) -> u32 {
        self.word() % end.max(1)
    }

    fn wild(&self) -> u32 {
        match self.below(4) {
            0 => self.word(),
            _ => WILD[self.below(16) as usize],
        }
    }

    fn now(&self) -> bool {
        self.below(self.level) == 0
    }

    /// Puts wild words into `bytes`.
    fn tamper(&self, bytes: &mut [u8]) {
        let words = bytes.len() as u32 / 4;
        for _ in 0..=self.below(4) {
            let at = 4 * self.below(words) as usize;
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&self.wild().to_le_bytes());
            }
        }
    }

    fn errno(&self) -> Errno {
        Errno::from_raw(1 + self.below(133).cast_signed())
    }

    /// Adds lies to the outcome of a call.
    fn about(&self, bytes: &mut [u8], result: Result) -> Result {
        if !self.now() {
            return result;
        }
        match self.below(8) {
            0 => Err(self.errno()),
            1 => Ok(()),
            2 if self.below(20) == 0 => {
                // Longer than the driver waits.
                std::thread::sleep(Duration::from_secs(4));
                result
            }
            _ => {
                self.tamper(bytes);
                result
            }
        }
    }

    fn event(&self, events: &Events, last: &Mutex<Buffer>) {
        let mut planes: [Plane; 8] = FromZeros::new_zeroed();
        let mut buffer = match self.below(3) {
            0 => Buffer::default(),
            _ => *last.lock().unwrap_or_else(PoisonError::into_inner),
        };
        buffer.type_ = if self.below(4) == 0 {
            self.wild()
        } else {
            9 + self.below(2)
        };
        if self.below(2) == 0 {
            buffer.index = self.below(6);
        }
        for plane in &mut planes {
            plane.bytesused = self.wild();
            plane.length = self.wild();
            plane.data_offset = if self.below(2) == 0 { 0 } else { self.wild() };
        }
        match self.below(40) {
            0 if self.below(4) == 0 => events.error(self.errno()),
            1..16 => {
                self.tamper(buffer.as_mut_bytes());
                events.dqbuf(buffer, &planes);
            }
            16..28 => {
                buffer.length = 1 + self.below(9);
                events.dqbuf(buffer, &planes);
            }
            _ => {
                let mut event = Event {
                    type_: self.below(8),
                    ..Event::default()
                };
                self.tamper(event.as_mut_bytes());
                events.event(event);
            }
        }
    }
}

struct Hostile {
    inner: Arc<dyn Device>,
    lies: Lies,
}

impl Device for Hostile {
    fn config(&self) -> Config {
        self.inner.config()
    }

    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn Session>> {
        if self.lies.below(4 * self.lies.level) == 0 {
            return Err(self.lies.errno());
        }
        let inner = self.inner.open(id, events.clone(), vm)?;
        let last = Arc::new(Mutex::new(Buffer::default()));
        let open = Arc::new(AtomicBool::new(true));
        // Events at any time.
        let (lies, seen, alive, out) = (
            self.lies.clone(),
            last.clone(),
            open.clone(),
            events.clone(),
        );
        std::thread::spawn(move || {
            while alive.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(u64::from(lies.below(40_000))));
                for _ in 0..=lies.below(3) {
                    lies.event(&out, &seen);
                }
                // A flood.
                if lies.below(200) == 0 {
                    for _ in 0..2000 {
                        lies.event(&out, &seen);
                    }
                }
            }
        });
        Ok(Box::new(HostileSession {
            inner,
            lies: self.lies.clone(),
            events,
            last,
            open,
        }))
    }
}

struct HostileSession {
    inner: Box<dyn Session>,
    lies: Lies,
    events: Events,
    last: Arc<Mutex<Buffer>>,
    open: Arc<AtomicBool>,
}

impl Drop for HostileSession {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Relaxed);
        // The driver keeps the session's imported memory until CLOSE is answered.
        if self.lies.now() {
            std::thread::sleep(Duration::from_millis(1500));
        }
    }
}

macro_rules! simple {
    ($($name:ident($ty:ty);)*) => {
        $(fn $name(&mut self, value: &mut $ty) -> Result {
            let result = self.inner.$name(value);
            self.lies.about(value.as_mut_bytes(), result)
        })*
    };
}

macro_rules! buffers {
    ($($name:ident;)*) => {
        $(fn $name(&mut self, args: BufferArgs<'_>) -> Result {
            let BufferArgs { buffer, planes, memory } = args;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = *buffer;
            if self.lies.now() {
                // The buffer comes back before it is taken, or as well as it is refused.
                self.events.dqbuf(*buffer, &[Plane::default(); 8]);
            }
            let result = self.inner.$name(BufferArgs {
                buffer: &mut *buffer,
                planes: &mut *planes,
                memory,
            });
            if self.lies.now() {
                self.lies.event(&self.events, &self.last);
            }
            if self.lies.now() {
                self.lies.tamper(planes.as_mut_bytes());
            }
            self.lies.about(buffer.as_mut_bytes(), result)
        })*
    };
}

impl Session for HostileSession {
    simple! {
        enum_fmt(FmtDesc);
        g_fmt(Format);
        s_fmt(Format);
        try_fmt(Format);
        enum_framesizes(FrmSizeEnum);
        enum_frameintervals(FrmIvalEnum);
        g_parm(StreamParm);
        s_parm(StreamParm);
        g_selection(Selection);
        s_selection(Selection);
        reqbufs(RequestBuffers);
        create_bufs(CreateBuffers);
        remove_bufs(RemoveBuffers);
        encoder_cmd(EncoderCmd);
        try_encoder_cmd(EncoderCmd);
        queryctrl(QueryCtrl);
        query_ext_ctrl(QueryExtCtrl);
        querymenu(QueryMenu);
        g_ctrl(Control);
        s_ctrl(Control);
    }

    buffers! {
        querybuf;
        prepare_buf;
        qbuf;
    }

    fn expbuf(&mut self, export: &mut ExportBuffer, uuid: &mut Uuid) -> Result {
        let result = self.inner.expbuf(export, uuid);
        if self.lies.below(2) == 0 {
            self.lies.tamper(&mut uuid.0);
        }
        self.lies.about(export.as_mut_bytes(), result)
    }

    fn streamon(&mut self, buf_type: u32) -> Result {
        let result = self.inner.streamon(buf_type);
        self.lies.about(&mut [], result)
    }

    fn streamoff(&mut self, buf_type: u32) -> Result {
        let result = self.inner.streamoff(buf_type);
        self.lies.about(&mut [], result)
    }

    fn subscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        let result = self.inner.subscribe_event(subscription);
        self.lies.about(&mut [], result)
    }

    fn unsubscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        let result = self.inner.unsubscribe_event(subscription);
        self.lies.about(&mut [], result)
    }

    fn ext_ctrls(&mut self, op: ControlOp, args: ControlArgs<'_>) -> Result {
        let ControlArgs {
            header,
            controls,
            payloads,
        } = args;
        let result = self.inner.ext_ctrls(
            op,
            ControlArgs {
                header: &mut *header,
                controls: &mut *controls,
                payloads,
            },
        );
        if self.lies.now() {
            self.lies.tamper(controls.as_mut_bytes());
        }
        self.lies.about(header.as_mut_bytes(), result)
    }

    fn other(&mut self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result {
        let result = self.inner.other(ioctl, payload);
        self.lies.about(payload, result)
    }

    fn mmap(&mut self, offset: u32) -> Result<Arc<HostBuffer>> {
        match self.lies.below(3 * self.lies.level) {
            0 => Vm::without_guest().buffer(1 + self.lies.below(1 << 22) as usize),
            1 => Err(self.lies.errno()),
            _ => self.inner.mmap(offset),
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let path = std::env::args()
        .skip_while(|arg| arg != "--socket-path")
        .nth(1);
    let path = path.expect("usage: hostile-device --socket-path PATH");
    let seed = number("SEED", 1);
    let lies = Lies {
        state: Arc::new(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)),
        level: number("LEVEL", 12) as u32,
    };
    eprintln!("seed {seed}, a lie in {} calls", lies.level);
    let inner = device::open(&DeviceSpec::default()).expect("an encoder");
    let device: Arc<dyn Device> = Arc::new(Hostile { inner, lies });
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let stop = Stop::new().expect("an eventfd");
    let endpoint = Endpoint::bind(path.as_ref()).expect("a socket");
    let limits = Limits::default();
    serve(
        endpoint,
        &device,
        (limits, &limits.account(1)),
        runtime.handle(),
        &stop,
    )
    .expect("serves");
}
