// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A stateful video encoder: V4L2 memory-to-memory, multi-planar, on GStreamer.
//!
//! A [`codec`](mod@crate::device::codec) device whose backend runs encoder elements. The
//! [`catalogue`] is the table of codecs, elements and properties; `resolve` makes of controls,
//! formats and settings what an element is to do; a `pipeline` runs one.

use anyhow::Context as _;
use gstreamer as gst;
use gstreamer::prelude::*;
use protocol::wire::config::Config;

use crate::config::DeviceSpec;
use crate::device::api::{Device, Result, Session};
use crate::device::codec::{CodecBackend, CodecDevice, CodedKind, Offer};
use crate::events::Events;
use crate::memory::Vm;

mod backend;
pub mod catalogue;
mod controls;
mod level;
mod params;
mod pipeline;
mod resolve;
mod select;
mod settings;

use catalogue::Row;
pub use settings::Settings;

/// The encoder device.
#[derive(Debug)]
pub struct Encoder(CodecDevice);

impl Encoder {
    /// The encoder device that `spec` describes.
    ///
    /// # Errors
    ///
    /// There is no such setting or codec; as [`new`](Self::new).
    pub fn from_spec(spec: &DeviceSpec) -> anyhow::Result<Self> {
        Self::new(Settings::of(spec)?)
    }

    /// Finds the host's encoders.
    ///
    /// # Errors
    ///
    /// GStreamer does not start, or an element is missing: the message says what to install.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        gst::init().context("GStreamer does not start")?;
        let selected = select::choose(&settings)?;
        for selected in &selected {
            tracing::info!("{} by {}", selected.row.name, selected.factory.name());
        }
        let codecs = selected.iter().map(|selected| selected.row).collect();
        let backend = backend::GstBackend::new(settings.clone(), selected);
        Ok(Self::with(settings, codecs, Box::new(backend)))
    }

    /// A device that offers all codecs, whose frames `backend` codes in the place of elements.
    pub fn on(settings: Settings, backend: Box<dyn CodecBackend>) -> Self {
        let codecs = catalogue::ROWS.iter().collect();
        Self::with(settings, codecs, backend)
    }

    /// A device that offers these `codecs`, whose frames `backend` codes.
    fn with(settings: Settings, codecs: Vec<&'static Row>, backend: Box<dyn CodecBackend>) -> Self {
        let kind = |row: &&Row| CodedKind {
            fourcc: row.fourcc,
            description: row.description,
            filler: row.filler,
        };
        Self(CodecDevice::new(Offer {
            coded: codecs.iter().map(kind).collect(),
            controls: controls::controls(&codecs),
            card: settings.card,
            max_sessions: settings.max_sessions,
            raw: settings.formats,
            span: |id| tracing::info_span!("encoder", session = id),
            thread: "encode",
            backend,
        }))
    }
}

impl Device for Encoder {
    fn config(&self) -> Config {
        self.0.config()
    }

    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn Session>> {
        self.0.open(id, events, vm)
    }
}
