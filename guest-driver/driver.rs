// SPDX-License-Identifier: GPL-2.0

//! The driver of Media Devices.
//!
//! It knows V4L2's ioctls by the table that it shares with the host ([`crate::wire::ioctl`]) and makes no assumption
//! about what the device does with them. What it does by itself is what user space expects of any V4L2 driver and a
//! round trip to the host cannot give: queueing buffers, waiting for buffers and events, poll, and mapping buffers.
//!
//! # Notifications
//!
//! A frame makes no round trip that somebody waits for: QBUF is posted, and its answer raises no interrupt. The device
//! is told of posted buffers
//!
//! - with the next command that somebody waits for;
//! - when it knows of no other buffer of the queue, or, once the program has taken all that are done, of no more than
//!   it does not know of;
//! - when the program is about to wait, in DQBUF, DQEVENT or poll, or finds nothing there;
//! - at once while somebody sleeps there.
//!
//! So whatever the device may be waiting for, it knows of before everybody sleeps: it may hold buffers back as long as
//! it likes.
//!
//! # Locks
//!
//! From the outermost to the innermost:
//!
//! 1. the list of mappings ([`memory::Mappings`]);
//! 2. a session's [`Gate`](session::Gate): held (by a sleeping task) while one ioctl that changes buffers or
//!    streaming is under way, so that the driver's view of them changes in the order in which the host's does;
//! 3. the event queue's lock: held while events are delivered;
//! 4. the table of sessions ([`device::MediaDevice`]);
//! 5. a session's buffers ([`buffers::Streams`]), and beside it the V4L2 core's lock of the node's file handles;
//! 6. the lock of a waiting call ([`command`]) and the command queue's, which are leaves.
//!
//! Who waits for a buffer or an event looks at the session and at the device under 5, and is on the list of those to be
//! woken before it lets go of it. Whoever changes anything of that passes through 5 before it wakes them
//! ([`session::Session::notify`]), so no wake-up is lost. Nobody waits in the V4L2 core, which knows of no device that
//! goes: DQEVENT gets there with an event that nobody else can take.
//!
//! 3 to 6 are spinlocks with interrupts off. DQBUF sleeps without the gate. The lock of a dma_fence is outside of 3: a
//! fence's callback posts what waited for it. The tables of [`lend`] are a mutex inside of 2. The lock of the device's memory
//! ([`media::revocable`]) is a leaf; 1, the tables of [`lend`] and this one are taken below a process's `mmap_lock`.

#![deny(unsafe_code)]

use crate::media::{self, Direction, Node};
use crate::virtio::{self, DeviceId, IdArray};
use crate::wire;
use crate::wire::config::Config;
use kernel::device::{Bound, Core};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

mod buffers;
mod clock;
mod command;
mod controls;
mod device;
mod event;
mod ioctl;
mod lend;
mod memory;
mod qbuf;
mod queueing;
mod session;
mod stats;
mod watchdog;

use device::MediaDevice;
use session::SessionNode;
use watchdog::Watchdog;

/// Virtio ID that stock QEMU can give the device; reserved for a video encoder that was never specified.
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
    watchdog: Mutex<Option<watchdog::Running>>,
}

impl Data {
    /// Takes the device away from everybody, and gives back to it what it has lent.
    fn end(&self) {
        let alive = self.device.0.remove();
        let registration = self.node.lock().take();
        drop(registration);
        let watchdog = self.watchdog.lock().take();
        drop(watchdog);
        self.device.0.end_mappings(alive);
    }
}

/// The device, of which nothing runs any more when this has been dropped: it has been reset by then, and the driver's
/// code may be gone after it.
struct Flushed(Arc<MediaDevice>);

impl Drop for Flushed {
    fn drop(&mut self) {
        self.0.end_lending();
        self.0.end_discards();
    }
}

impl virtio::Driver for VirtioV4l2 {
    type Data = Data;
    type Handler = MediaDevice;

    const ID_TABLE: &'static dyn virtio::IdTable = &DEVICES;

    const FEATURES: &'static [u32] = &[wire::config::VIRTIO_V4L2_F_PINNED_WHILE_CACHED];

    fn probe(dev: &virtio::Device<Core<'_>>, id: u32) -> Result<impl PinInit<Self::Data, Error>> {
        let allow_id30: u8 = parameter(crate::module_parameters::allow_id30.value());
        if id != wire::VIRTIO_ID_MEDIA && allow_id30 == 0 {
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
        let node = node(&config)?;
        let device = MediaDevice::new(bound, &config)?;
        dev.find_queues(device.clone())?;
        dev.ready();
        device.fill_event_queue()?;

        let memory = device.memory().clone();
        let registration = media::Registration::new(bound.as_ref(), &node, memory, device.clone())?;
        dev_info!(dev, "{} is {}\n", device.card(), registration.name());
        let watchdog = Watchdog::start(&device)?;
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
        data.device.0.restore()
    }

    fn shutdown(_dev: &virtio::Device<Core<'_>>, data: Pin<&Self::Data>) {
        data.end();
    }
}

/// The value of a module parameter, which 7.2 gives by reference and 7.3 by value.
fn parameter<T: Copy>(value: impl core::borrow::Borrow<T>) -> T {
    *value.borrow()
}

/// Capabilities that are not the host's to promise: the driver has no `read(2)` and `write(2)`, by which RDS blocks
/// travel, and the node is no part of a media controller's graph.
const NOT_OURS: u32 = cap::READWRITE
    | cap::RDS_CAPTURE
    | cap::RDS_OUTPUT
    | cap::IO_MC
    | cap::DEVICE_CAPS
    | cap::EXT_PIX_FORMAT;

/// `V4L2_CAP_*`.
mod cap {
    pub(super) const VIDEO_CAPTURE: u32 = 0x0000_0001;
    pub(super) const VIDEO_OUTPUT: u32 = 0x0000_0002;
    pub(super) const VIDEO_OVERLAY: u32 = 0x0000_0004;
    pub(super) const VBI_CAPTURE: u32 = 0x0000_0010;
    pub(super) const VBI_OUTPUT: u32 = 0x0000_0020;
    pub(super) const SLICED_VBI_CAPTURE: u32 = 0x0000_0040;
    pub(super) const SLICED_VBI_OUTPUT: u32 = 0x0000_0080;
    pub(super) const RDS_CAPTURE: u32 = 0x0000_0100;
    pub(super) const VIDEO_OUTPUT_OVERLAY: u32 = 0x0000_0200;
    pub(super) const HW_FREQ_SEEK: u32 = 0x0000_0400;
    pub(super) const RDS_OUTPUT: u32 = 0x0000_0800;
    pub(super) const VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
    pub(super) const VIDEO_OUTPUT_MPLANE: u32 = 0x0000_2000;
    pub(super) const VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
    pub(super) const VIDEO_M2M: u32 = 0x0000_8000;
    pub(super) const MODULATOR: u32 = 0x0008_0000;
    pub(super) const SDR_CAPTURE: u32 = 0x0010_0000;
    pub(super) const EXT_PIX_FORMAT: u32 = 0x0020_0000;
    pub(super) const SDR_OUTPUT: u32 = 0x0040_0000;
    pub(super) const META_CAPTURE: u32 = 0x0080_0000;
    pub(super) const READWRITE: u32 = 0x0100_0000;
    pub(super) const STREAMING: u32 = 0x0400_0000;
    pub(super) const META_OUTPUT: u32 = 0x0800_0000;
    pub(super) const IO_MC: u32 = 0x2000_0000;
    pub(super) const DEVICE_CAPS: u32 = 0x8000_0000;

    pub(super) const ANY_M2M: u32 = VIDEO_M2M | VIDEO_M2M_MPLANE;
    pub(super) const ANY_CAPTURE: u32 = VIDEO_CAPTURE
        | VIDEO_CAPTURE_MPLANE
        | VIDEO_OVERLAY
        | VBI_CAPTURE
        | SLICED_VBI_CAPTURE
        | SDR_CAPTURE
        | META_CAPTURE;
    pub(super) const ANY_OUTPUT: u32 = VIDEO_OUTPUT
        | VIDEO_OUTPUT_MPLANE
        | VIDEO_OUTPUT_OVERLAY
        | VBI_OUTPUT
        | SLICED_VBI_OUTPUT
        | SDR_OUTPUT
        | META_OUTPUT
        | MODULATOR;
}

/// What node the device's configuration asks for.
///
/// # Errors
///
/// `EINVAL`: no kind of node that the kernel has, or no capabilities.
fn node(config: &Config) -> Result<Node> {
    use wire::config::DeviceType;

    let kind = match DeviceType::try_from(config.device_type) {
        Ok(DeviceType::Subdev) | Err(_) => {
            pr_err!(
                "the device says it is a node of type {}\n",
                config.device_type
            );
            return Err(EINVAL);
        }
        Ok(kind) => kind as u32,
    };
    let device_caps = config.device_caps & !NOT_OURS;
    if device_caps == 0 {
        pr_err!("the device has no capabilities\n");
        return Err(EINVAL);
    }
    Ok(Node {
        name: config.card,
        kind,
        direction: direction(device_caps),
        device_caps,
    })
}

/// Which way a node of these capabilities carries frames. What has none receives: a radio.
fn direction(device_caps: u32) -> Direction {
    let captures = device_caps & cap::ANY_CAPTURE != 0;
    let outputs = device_caps & cap::ANY_OUTPUT != 0;
    match (captures, outputs) {
        _ if device_caps & cap::ANY_M2M != 0 => Direction::M2m,
        (true, true) => Direction::M2m,
        (false, true) => Direction::Tx,
        _ => Direction::Rx,
    }
}
