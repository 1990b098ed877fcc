// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A stateful video encoder: V4L2 memory-to-memory, multi-planar, on GStreamer.
//!
//! Three layers. The V4L2 state machine ([`session`], [`mod@core`], [`queue`], [`mod@format`], [`controls`], [`drain`])
//! knows what clients may do and see; the [`pipeline`] runs an encoder element; the [`catalogue`] is the table of
//! codecs, elements and properties. Each session has its own of everything, and a thread of its own
//! ([`worker`]) while both of its queues stream.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::wire::config::{Config, DeviceType};

use crate::device::open::Open;
use crate::device::{Device, Result};
use crate::events::Events;
use crate::memory::Vm;

pub mod catalogue;
pub mod colorimetry;
pub mod controls;
pub mod core;
pub mod drain;
pub mod format;
mod lent;
mod level;
pub mod params;
pub mod pipeline;
pub mod pixel;
pub mod queue;
mod resolve;
pub mod session;
pub mod settings;
mod signals;
mod stats;
mod stride;
mod subscriptions;
pub mod uapi;
pub mod worker;

pub use settings::Settings;

/// The encoder device.
#[derive(Debug)]
pub struct Encoder {
    settings: Arc<Settings>,
    chosen: Arc<[catalogue::Chosen]>,
    open: Arc<Mutex<usize>>,
}

impl Encoder {
    /// Finds the host's encoders.
    ///
    /// # Errors
    ///
    /// GStreamer does not start, or an element is missing: the message says what to install.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        gst::init().context("GStreamer does not start")?;
        let chosen = catalogue::choose(&settings)?;
        for chosen in &chosen {
            tracing::info!("{} by {}", chosen.codec.name(), chosen.factory.name());
        }
        Ok(Self {
            settings: Arc::new(settings),
            chosen: chosen.into(),
            open: Arc::default(),
        })
    }
}

impl Device for Encoder {
    fn config(&self) -> Config {
        Config {
            device_caps: uapi::V4L2_CAP_VIDEO_M2M_MPLANE | uapi::V4L2_CAP_STREAMING,
            device_type: DeviceType::Video as u32,
            card: uapi::text(&self.settings.card),
        }
    }

    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn super::Session>> {
        let open = Open::new(&self.open, self.settings.max_sessions)?;
        Ok(Box::new(session::Session::new(
            id,
            Arc::clone(&self.chosen),
            Arc::clone(&self.settings),
            (events, vm),
            open,
        )?))
    }
}
