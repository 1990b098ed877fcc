// SPDX-License-Identifier: GPL-2.0

//! The driver of Media Devices.
//!
//! It knows V4L2's ioctls by the table that it shares with the host ([`crate::wire::ioctl`]) and
//! makes no assumption about what the device does with them. What it does by itself is what user
//! space expects of any V4L2 driver and a round trip to the host cannot give: queueing buffers,
//! waiting for buffers and events, poll, and mapping buffers.
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
//! | `session` | an open file: its locks, who waits, what comes for it from the device |
//! | `queue` | the rules of videobuf2; knows no device, no session and no kernel |
//! | `memory` | imports memory for the device, and maps the device's |
//! | `channel` | commands, answers, events, and whether the device lives |
//! | `device` | the table of sessions, to which the channel gives what comes from the device |
//!
//! No file imports one that imports it, directly or not. QBUF goes down once: parse, check, import,
//! build, post.
//!
//! Where a plane is has three answers, and each has one owner: what the client calls it, and what
//! the device calls it, are in `queue::Slot`; its pages are in `memory::ImportTable`.
//!
//! # Notifications
//!
//! A frame makes no round trip that somebody waits for: QBUF is posted, and its answer raises no
//! interrupt. The device is notified of posted buffers
//!
//! - with the next command that somebody waits for;
//! - when it knows of no other buffer of the queue, or, once the program has dequeued all that are
//!   done, of no more than it does not know of;
//! - when the program is about to wait, in DQBUF, DQEVENT or poll, or finds nothing there;
//! - at once while somebody sleeps there.
//!
//! So whatever the device may be waiting for, it knows of before everybody sleeps: it may hold
//! buffers back as long as it likes.
//!
//! # Locks
//!
//! From the outermost to the innermost:
//!
//! 1. the list of mappings ([`memory::DeviceMemory`]), a mutex;
//! 2. a session's gate ([`session::Session::gate`]): held by a sleeping task while one ioctl that
//!    changes buffers or streaming is under way, so that the driver's view of them changes in the
//!    order in which the host's does;
//! 3. the event queue's lock: held while events are delivered;
//! 4. the table of sessions ([`device::Sessions`]);
//! 5. a session's buffers ([`queue::Streams`]), and beside it the V4L2 core's lock of the node's
//!    file handles;
//! 6. the lock of a waiting call ([`channel`]) and the command queue's, which are leaves.
//!
//! Who waits for a buffer or an event looks at the session and at the device under 5, and is on the
//! list of those to be woken before it lets go of it. Whoever changes anything of that passes
//! through 5 before it wakes them ([`session::Session::notify`]), so no wake-up is lost. Nobody
//! waits in the V4L2 core, which knows of no device that goes: DQEVENT gets there with an event
//! that nobody else can take.
//!
//! 3 to 6 are spinlocks with interrupts off. DQBUF sleeps without the gate. The lock of a dma_fence
//! is outside of 3: a fence's callback posts what waited for it. The table of imported memory
//! ([`memory::ImportTable`]) is a mutex inside of 2. The lock of the device's memory
//! ([`media::revocable`]) is a leaf mutex; 1, the table of imported memory and this one are taken
//! below a process's `mmap_lock`.

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
    /// Takes the device away from everybody, and unmaps what of its memory is mapped.
    fn end(&self) {
        let alive = self.device.0.remove();
        let registration = self.node.lock().take();
        drop(registration);
        let watchdog = self.watchdog.lock().take();
        drop(watchdog);
        self.device.0.memory().end_mappings(alive);
    }
}

/// The device, of which nothing runs any more when this has been dropped: it has been reset by
/// then, and the driver's code may be gone after it.
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
