// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A stateful video encoder: V4L2 memory-to-memory, multi-planar, on GStreamer.
//!
//! Three layers. The V4L2 state machine (`session`, `core`, `format`, `controls`, `drain`, on
//! [`v4l2::core`](mod@crate::v4l2::core)) knows what clients may do and see. The `pipeline` runs an
//! encoder element. The [`catalogue`] is the table of codecs, elements and properties. Each session
//! has its own of all of it, and a thread (`worker`) while both of its queues stream.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::wire::config::{Config, DeviceType};

use crate::config::DeviceSpec;
use crate::device::api::{Device, Result, Session};
use crate::device::sessions::OpenSession;
use crate::events::Events;
use crate::memory::Vm;
use crate::v4l2::core::uapi::{V4L2_CAP_STREAMING, V4L2_CAP_VIDEO_M2M_MPLANE, text};

pub mod catalogue;
mod controls;
mod core;
mod drain;
mod format;
mod imports;
mod level;
mod params;
mod pipeline;
mod resolve;
mod session;
mod settings;
mod signals;
mod stats;
mod worker;

pub use settings::Settings;

/// The encoder device.
#[derive(Debug)]
pub struct Encoder {
    settings: Arc<Settings>,
    selected: Arc<[catalogue::SelectedElement]>,
    open: Arc<Mutex<usize>>,
}

impl Encoder {
    /// The encoder device that `spec` describes.
    ///
    /// # Errors
    ///
    /// There is no such setting or codec; as [`new`](Self::new).
    pub fn from_spec(spec: &DeviceSpec) -> anyhow::Result<Self> {
        let mut settings = Settings::default();
        for (key, value) in &spec.settings {
            settings.set(key, value)?;
        }
        for (codec, element) in &spec.elements {
            settings.element(codec, element)?;
        }
        Self::new(settings)
    }

    /// Finds the host's encoders.
    ///
    /// # Errors
    ///
    /// GStreamer does not start, or an element is missing: the message says what to install.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        gst::init().context("GStreamer does not start")?;
        let selected = catalogue::choose(&settings)?;
        for selected in &selected {
            tracing::info!("{} by {}", selected.codec.name(), selected.factory.name());
        }
        Ok(Self {
            settings: Arc::new(settings),
            selected: selected.into(),
            open: Arc::default(),
        })
    }
}

impl Device for Encoder {
    fn config(&self) -> Config {
        Config {
            device_caps: V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING,
            device_type: DeviceType::Video as u32,
            card: text(&self.settings.card),
        }
    }

    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn Session>> {
        let open = OpenSession::new(&self.open, self.settings.max_sessions)?;
        Ok(Box::new(session::Session::new(
            id,
            Arc::clone(&self.selected),
            Arc::clone(&self.settings),
            (events, vm),
            open,
        )?))
    }
}
