// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A stateful memory-to-memory codec: what clients may do and see, whatever codes the frames.
//!
//! On [`v4l2::core`](mod@crate::v4l2::core). `session` answers ioctls, `core` has the state and
//! decides what is to be done next, `worker` is the thread that does it while both queues stream.
//! A [`CodecBackend`] makes what codes frames; nothing here knows which library that is.

use std::sync::{Arc, Mutex};

use protocol::wire::config::{Config, DeviceType};

use crate::device::api::{Device, Result, Session};
use crate::device::sessions::OpenSession;
use crate::events::Events;
use crate::memory::Vm;
use crate::v4l2::core::uapi::{V4L2_CAP_STREAMING, V4L2_CAP_VIDEO_M2M_MPLANE, text};

mod backend;
mod core;
mod drain;
mod format;
mod imports;
mod offer;
mod session;
mod shared;
mod signals;
mod stats;
mod worker;

pub use backend::{
    Change, Codec, CodecBackend, CodedFrame, Frame, FramePlane, FrameSink, PushError, Setup,
};
pub use format::CodedKind;
pub use offer::Offer;

/// A codec device.
#[derive(Debug)]
pub struct CodecDevice {
    offer: Arc<Offer>,
    open: Arc<Mutex<usize>>,
}

impl CodecDevice {
    /// The device that offers this.
    pub fn new(offer: Offer) -> Self {
        Self {
            offer: Arc::new(offer),
            open: Arc::default(),
        }
    }
}

impl Device for CodecDevice {
    fn config(&self) -> Config {
        Config {
            device_caps: V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING,
            device_type: DeviceType::Video as u32,
            card: text(&self.offer.card),
        }
    }

    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn Session>> {
        let open = OpenSession::new(&self.open, self.offer.max_sessions)?;
        let span = (self.offer.span)(id);
        let offer = Arc::clone(&self.offer);
        let session = session::Session::new(offer, (events, vm), (span, open))?;
        Ok(Box::new(session))
    }
}
