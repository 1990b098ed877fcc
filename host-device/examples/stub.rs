// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Serves a device that encodes nothing, to try a driver or a VMM: `cargo run --example stub -- SOCKET`.
//!
//! It has the two queues of a codec. Each OUTPUT buffer comes back at once; when a CAPTURE buffer is queued too, it
//! comes back with as many bytes, all equal to the index of the OUTPUT buffer.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::config::{Config, DeviceType};
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE, Buffer, EncoderCmd, Event,
    EventSubscription, FmtDesc, Format, MEMORY_MMAP, Plane, RequestBuffers,
};
use virtio_v4l2d::config::Limits;
use virtio_v4l2d::device::{BufferArgs, Device, Result, Session};
use virtio_v4l2d::events::Events;
use virtio_v4l2d::memory::HostBuffer;
use virtio_v4l2d::{Endpoint, Stop, serve, startup};

const BUFFER: usize = 640 * 360 * 3 / 2;
const FLAG_QUEUED: u32 = 2;
const FLAG_LAST: u32 = 0x0010_0000;
const CAP_VIDEO_M2M_MPLANE: u32 = 0x4000;
const CAP_STREAMING: u32 = 0x0400_0000;

struct Stub;

impl Device for Stub {
    fn config(&self) -> Config {
        let mut card = [0; 32];
        card[..4].copy_from_slice(b"stub");
        Config {
            device_caps: CAP_VIDEO_M2M_MPLANE | CAP_STREAMING,
            device_type: DeviceType::Video as u32,
            card,
        }
    }

    fn open(&self, _id: u32, events: Events) -> Result<Box<dyn Session>> {
        let queue = |type_| Queue {
            type_,
            buffers: Vec::new(),
            queued: VecDeque::new(),
            sequence: 0,
            on: false,
        };
        Ok(Box::new(Open {
            events,
            queues: [
                queue(BUF_TYPE_VIDEO_OUTPUT_MPLANE),
                queue(BUF_TYPE_VIDEO_CAPTURE_MPLANE),
            ],
        }))
    }
}

struct Queue {
    type_: u32,
    buffers: Vec<Arc<HostBuffer>>,
    queued: VecDeque<Buffer>,
    sequence: u32,
    on: bool,
}

struct Open {
    events: Events,
    queues: [Queue; 2],
}

impl Open {
    fn queue(&mut self, type_: u32) -> Result<&mut Queue> {
        let queue = self.queues.iter_mut().find(|queue| queue.type_ == type_);
        queue.ok_or(Errno::EINVAL)
    }

    fn give_back(events: &Events, queue: &mut Queue, mut buffer: Buffer, used: u32) {
        buffer.flags &= !FLAG_QUEUED;
        buffer.sequence = queue.sequence;
        buffer.length = 1;
        queue.sequence += 1;
        let plane = Plane {
            bytesused: used,
            length: BUFFER as u32,
            m: offset(queue.type_, buffer.index),
            ..Plane::default()
        };
        events.dqbuf(buffer, &[plane]);
    }

    fn run(&mut self) {
        let [output, capture] = &mut self.queues;
        while output.on && capture.on {
            let (Some(raw), Some(mut coded)) = (
                output.queued.front().copied(),
                capture.queued.front().copied(),
            ) else {
                return;
            };
            output.queued.pop_front();
            capture.queued.pop_front();
            let data = [raw.index as u8; 1000];
            let _ = capture.buffers[coded.index as usize].write_at(0, &data);
            coded.timestamp = raw.timestamp;
            Self::give_back(&self.events, output, raw, BUFFER as u32);
            Self::give_back(&self.events, capture, coded, 1000);
        }
    }
}

fn offset(type_: u32, index: u32) -> u64 {
    u64::from(type_ << 20 | index << 12)
}

impl Session for Open {
    fn enum_fmt(&mut self, desc: &mut FmtDesc) -> Result {
        self.queue(desc.type_)?;
        if desc.index > 0 {
            return Err(Errno::EINVAL);
        }
        desc.pixelformat = if desc.type_ == BUF_TYPE_VIDEO_OUTPUT_MPLANE {
            u32::from_le_bytes(*b"NV12")
        } else {
            u32::from_le_bytes(*b"H264")
        };
        Ok(())
    }

    fn g_fmt(&mut self, format: &mut Format) -> Result {
        self.queue(format.type_)?;
        let mut pix = format.pix_mp();
        (pix.width, pix.height, pix.field, pix.num_planes) = (640, 360, 1, 1);
        pix.plane_fmt[0].sizeimage = BUFFER as u32;
        pix.pixelformat = if format.type_ == BUF_TYPE_VIDEO_OUTPUT_MPLANE {
            pix.plane_fmt[0].bytesperline = 640;
            u32::from_le_bytes(*b"NV12")
        } else {
            u32::from_le_bytes(*b"H264")
        };
        format.set_pix_mp(&pix);
        Ok(())
    }

    fn s_fmt(&mut self, format: &mut Format) -> Result {
        self.g_fmt(format)
    }

    fn try_fmt(&mut self, format: &mut Format) -> Result {
        self.g_fmt(format)
    }

    fn reqbufs(&mut self, request: &mut RequestBuffers) -> Result {
        let queue = self.queue(request.type_)?;
        if request.memory != MEMORY_MMAP {
            return Err(Errno::EINVAL);
        }
        queue.queued.clear();
        request.count = request.count.min(32);
        request.capabilities = 1;
        queue.buffers = (0..request.count)
            .map(|_| HostBuffer::new(BUFFER))
            .collect::<Result<_>>()?;
        Ok(())
    }

    fn querybuf(&mut self, args: BufferArgs<'_>) -> Result {
        let queue = self.queue(args.buffer.type_)?;
        if args.buffer.index as usize >= queue.buffers.len() {
            return Err(Errno::EINVAL);
        }
        let plane = args.planes.first_mut().ok_or(Errno::EINVAL)?;
        args.buffer.memory = MEMORY_MMAP;
        args.buffer.length = 1;
        plane.length = BUFFER as u32;
        plane.m = offset(args.buffer.type_, args.buffer.index);
        Ok(())
    }

    fn qbuf(&mut self, args: BufferArgs<'_>) -> Result {
        let queue = self.queue(args.buffer.type_)?;
        if args.buffer.index as usize >= queue.buffers.len() {
            return Err(Errno::EINVAL);
        }
        args.buffer.flags |= FLAG_QUEUED;
        queue.queued.push_back(*args.buffer);
        self.run();
        Ok(())
    }

    fn streamon(&mut self, buf_type: u32) -> Result {
        self.queue(buf_type)?.on = true;
        self.run();
        Ok(())
    }

    fn streamoff(&mut self, buf_type: u32) -> Result {
        let queue = self.queue(buf_type)?;
        queue.on = false;
        queue.sequence = 0;
        queue.queued.clear();
        self.events.purge(buf_type);
        Ok(())
    }

    fn encoder_cmd(&mut self, cmd: &mut EncoderCmd) -> Result {
        cmd.flags = 0;
        let capture = &mut self.queues[1];
        if cmd.cmd == 1
            && let Some(mut buffer) = capture.queued.pop_front()
        {
            self.events.event(Event {
                type_: 2,
                ..Event::default()
            });
            buffer.flags |= FLAG_LAST;
            Self::give_back(&self.events, capture, buffer, 0);
        }
        Ok(())
    }

    fn subscribe_event(&mut self, subscription: &EventSubscription) -> Result {
        if subscription.type_ == 2 {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn unsubscribe_event(&mut self, _subscription: &EventSubscription) -> Result {
        Ok(())
    }

    fn mmap(&mut self, at: u32) -> Result<Arc<HostBuffer>> {
        let (type_, index) = (at >> 20, at >> 12 & 0xff);
        let queue = self.queue(type_)?;
        queue
            .buffers
            .get(index as usize)
            .cloned()
            .ok_or(Errno::EINVAL)
    }
}

fn main() -> anyhow::Result<()> {
    startup::log(None)?;
    let path = std::env::args_os().nth(1);
    let path = path.ok_or_else(|| anyhow::anyhow!("usage: stub SOCKET"))?;
    let endpoint = Endpoint::bind(Path::new(&path))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let device: Arc<dyn Device> = Arc::new(Stub);
    serve(
        endpoint,
        &device,
        Limits::default(),
        runtime.handle(),
        &Stop::new()?,
    )
}
