// SPDX-License-Identifier: GPL-2.0

//! The driver of Media Devices.
//!
//! It forwards V4L2's ioctls by the table that it shares with the host ([`crate::wire::ioctl`]),
//! and makes no assumption about what the device does with them. What must not cost a round trip to
//! the host it does by itself: queueing buffers, waiting for buffers and events, poll, and mapping
//! buffers.
//!
//! # Layers
//!
//! ```text
//! node -> ioctl -> session -> queue, memory -> channel -> virtio
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `node` | what the V4L2 core calls |
//! | `ioctl` | one function for each ioctl that is not just forwarded |
//! | `session` | an open file: its locks, waiting, the buffers and events that the device sends |
//! | `queue` | the rules of videobuf2; uses no device, no session and little of the kernel |
//! | `memory` | imports memory for the device, and maps the device's |
//! | `channel` | commands, answers, events, and whether the device lives |
//! | `device` | the table of sessions, to which the channel passes answers and events |
//!
//! No file imports one that imports it, directly or not. QBUF goes down once: parse, check, import,
//! build, post.
//!
//! The addresses of a plane have one owner each: the client's address or file descriptor and the
//! device's `mem_offset` are in `queue::Slot`, the pages are in `memory::ImportTable`.
//!
//! # Notifications
//!
//! Nobody waits for a round trip per frame: QBUF is posted, and its answer raises no interrupt. The
//! device is notified (kicked) of posted buffers
//!
//! - with the next command that somebody waits for;
//! - when it has been notified of no other buffer of the queue; or, once the program has dequeued
//!   all buffers that are done, when at least half of the queue's posted buffers are unnotified;
//! - when the program is about to wait in DQBUF, DQEVENT or poll, or finds nothing there;
//! - at once while somebody sleeps there.
//!
//! So before everybody sleeps the device has been notified of all buffers. It may keep buffers for
//! as long as it likes.
//!
//! # Locks
//!
//! From the outermost to the innermost:
//!
//! 1. the list of mappings ([`memory::DeviceMemory`]), a mutex;
//! 2. a session's gate ([`session::Session::gate`]): a sleeping lock that is held during each ioctl
//!    that changes buffers or streaming, so that the driver's state changes in the same order as
//!    the host's;
//! 3. the event queue's lock: held while events are delivered;
//! 4. the table of sessions ([`device::Sessions`]);
//! 5. a session's buffers ([`queue::Streams`]), and beside it the V4L2 core's lock of the node's
//!    file handles;
//! 6. the lock of a waiting call ([`channel`]) and the command queue's, which are leaves.
//!
//! A task that waits for a buffer or an event checks session and device under 5, and is in the wait
//! queue before it releases 5. Whoever changes either takes 5 before it wakes the queue
//! ([`session::Session::notify`]), so no wake-up is lost. No task waits in the V4L2 core, which
//! would not wake it when the device goes: DQEVENT calls the core only with an event that nobody
//! else can take.
//!
//! 3 to 6 are spinlocks with interrupts off. DQBUF does not hold the gate while it sleeps. The lock
//! of a dma_fence is outside of 3: a fence's callback posts the buffers that were pending on it.
//! The table of imported memory ([`memory::ImportTable`]) is a mutex inside of 2. The lock of the
//! device's memory ([`media::revocable`]) is a leaf mutex. 1, the table of imported memory and the
//! lock of the device's memory are taken below a process's `mmap_lock`.

#![deny(unsafe_code)]

use crate::media;
use crate::virtio::{self, DeviceId, IdArray};
use crate::wire;
use crate::wire::config::Config;
use kernel::device::{Bound, Core};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

mod caps;
mod channel;
mod device;
mod event;
mod ioctl;
mod memory;
mod node;
mod parameters;
mod queue;
mod session;

use channel::{Channel, Running, Watchdog};
use device::MediaDevice;
use session::SessionNode;

/// Virtio ID that stock QEMU can give the device; reserved for a video encoder that was never
/// specified.
const VIRTIO_ID_VIDEO_ENCODER: u32 = 30;

const DEVICES: IdArray<2> = IdArray::new([
    DeviceId::new(wire::VIRTIO_ID_MEDIA),
    DeviceId::new(VIRTIO_ID_VIDEO_ENCODER),
]);

/// The driver, as the bus knows it.
pub(crate) struct VirtioV4l2;

/// A device that is bound.
#[pin_data]
pub(crate) struct Data {
    device: Flushed,
    #[pin]
    node: Mutex<Option<media::Registration<SessionNode>>>,
    #[pin]
    watchdog: Mutex<Option<Running>>,
}

impl Data {
    /// Ends the use of the device, and unmaps its memory.
    fn end(&self) {
        let alive = self.device.0.remove();
        let registration = self.node.lock().take();
        drop(registration);
        let watchdog = self.watchdog.lock().take();
        drop(watchdog);
        self.device.0.memory().end_mappings(alive);
    }
}

/// The device, which has been reset when this is dropped. After that nothing of the driver runs for
/// it any more, as the module may be unloaded next.
struct Flushed(Arc<MediaDevice>);

impl Drop for Flushed {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl virtio::Driver for VirtioV4l2 {
    type Data = Data;
    type Handler = Channel;

    const ID_TABLE: &'static dyn virtio::IdTable = &DEVICES;

    const FEATURES: &'static [u32] = &[wire::config::VIRTIO_V4L2_F_PINNED_WHILE_CACHED];

    fn probe(dev: &virtio::Device<Core<'_>>, id: u32) -> Result<impl PinInit<Self::Data, Error>> {
        if id != wire::VIRTIO_ID_MEDIA && !parameters::allow_id30() {
            return Err(ENODEV);
        }
        let bound: &virtio::Device<Bound> = dev;
        if !bound.has_feature(virtio::F_VERSION_1) {
            dev_err!(
                dev,
                "not a device of VIRTIO 1 (it does not offer VIRTIO_F_VERSION_1)\n"
            );
            return Err(EINVAL);
        }
        let config: Config = bound.config();
        let node = node::node(&config)?;
        let device = MediaDevice::new(bound, &config)?;
        let channel = device.channel().clone();
        dev.find_queues(channel.clone())?;
        dev.ready();
        channel.fill_event_queue()?;

        let memory = device.memory().revocable().clone();
        let registration = media::Registration::new(bound.as_ref(), &node, memory, device.clone())?;
        dev_info!(dev, "{} is {}\n", channel.card(), registration.name());
        let watchdog = Watchdog::start(&channel)?;
        Ok(try_pin_init!(Data {
            device: Flushed(device),
            node <- new_mutex!(Some(registration)),
            watchdog <- new_mutex!(Some(watchdog)),
        }))
    }

    fn unbind(_dev: &virtio::Device<Core<'_>>, data: Pin<&Self::Data>) {
        data.end();
    }

    fn freeze(_dev: &virtio::Device<Core<'_>>, data: Pin<&Self::Data>) -> Result {
        data.device.0.freeze()
    }

    fn restore(dev: &virtio::Device<Core<'_>>, data: Pin<&Self::Data>) -> Result {
        dev.ready();
        data.device.0.channel().restore()
    }

    fn shutdown(_dev: &virtio::Device<Core<'_>>, data: Pin<&Self::Data>) {
        data.end();
    }
}
