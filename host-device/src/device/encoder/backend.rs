// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What encodes: elements of GStreamer, each in a [`Pipeline`] that is replaced when it can go on
//! no longer.

use std::sync::Arc;

use nix::errno::Errno;

use super::params::Params;
use super::pipeline::{self, Pipeline};
use super::resolve;
use super::select::SelectedElement;
use super::settings::Settings;
use crate::device::codec::{
    Change, Codec, CodecBackend, Frame, FramePlane, FrameSink, PushError, Setup,
};
use crate::device::gst::frame::wrap;
use crate::memory::probe_udmabuf;
use crate::v4l2::core::uapi::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME;

/// The elements of a device.
pub struct GstBackend {
    settings: Arc<Settings>,
    selected: Vec<SelectedElement>,
}

impl GstBackend {
    /// Encodes with the `selected` elements.
    pub fn new(settings: Settings, selected: Vec<SelectedElement>) -> Self {
        Self {
            settings: Arc::new(settings),
            selected,
        }
    }

    fn selected(&self, setup: &Setup) -> Option<&SelectedElement> {
        let mut selected = self.selected.iter();
        selected.find(|selected| selected.row.fourcc == setup.coded)
    }
}

impl CodecBackend for GstBackend {
    fn memory(&self, setup: &Setup) -> usize {
        let threads = resolve::threads(setup, &self.settings);
        let size = (setup.crop.width, setup.crop.height);
        self.selected(setup)
            .map_or(0, |selected| selected.row.memory(size, threads))
    }

    fn start(&self, setup: &Setup, sink: FrameSink) -> Result<Box<dyn Codec>, Errno> {
        let selected = self.selected(setup).cloned().ok_or(Errno::ENODEV)?;
        let mut encoder = Encoder {
            params: resolve::params(selected.row, setup, &self.settings, None),
            settings: Arc::clone(&self.settings),
            setup: pipeline::Setup {
                selected,
                raw: setup.raw.clone(),
                crop: setup.crop,
                dmabuf: probe_udmabuf(),
            },
            pipeline: None,
            sink,
        };
        encoder.start().ok_or(Errno::EIO)?;
        Ok(Box::new(encoder))
    }
}

/// An encoder, from STREAMON to STREAMOFF.
struct Encoder {
    settings: Arc<Settings>,
    setup: pipeline::Setup,
    params: Params,
    /// `None` after it gave out its last frame or failed: the next frame starts a new one.
    pipeline: Option<Pipeline>,
    sink: FrameSink,
}

impl Encoder {
    /// The pipeline; a new one if there is none.
    fn start(&mut self) -> Option<&mut Pipeline> {
        if self.pipeline.is_none() {
            let sink = Arc::clone(&self.sink);
            let made = Pipeline::new(self.setup.clone(), self.params.clone(), move |frame| {
                sink(frame);
            });
            self.pipeline = made
                .inspect_err(|error| tracing::error!("cannot start the encoder: {error:#}"))
                .ok();
        }
        self.pipeline.as_mut()
    }
}

impl Codec for Encoder {
    fn takes(&self, planes: &[FramePlane]) -> bool {
        let dmabuf = is_dmabuf(planes);
        let takes = self.pipeline.as_ref().is_none_or(|it| it.takes(dmabuf));
        if !takes {
            tracing::debug!("the encoder starts anew: dmabufs {dmabuf}");
        }
        takes
    }

    fn push(&mut self, frame: Frame<'_>, entered: &mut dyn FnMut(u64)) -> Result<(), PushError> {
        let dmabuf = is_dmabuf(frame.planes);
        let raw = (&self.setup.raw, self.setup.crop);
        let buffer = wrap(raw, frame.planes, frame.hold).map_err(|error| {
            tracing::error!("cannot wrap a frame: {error:#}");
            PushError::Frame
        })?;
        if self.pipeline.is_none() {
            self.setup.dmabuf = dmabuf;
        }
        let gop = self.params.gop;
        let pipeline = self.start().ok_or(PushError::Codec)?;
        let due = gop != 0 && gop != pipeline.params().gop && pipeline.since_key() >= gop;
        let asked = frame.pressed.contains(&V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME);
        pipeline
            .push(buffer, asked || due, entered)
            .map_err(|error| {
                tracing::error!("{error:#}");
                self.pipeline = None;
                PushError::Codec
            })
    }

    fn change(&mut self, setup: &Setup) -> Change {
        let running = Some(self.params.framerate);
        let params = resolve::params(self.setup.selected.row, setup, &self.settings, running);
        let longer = |old: u32, new: u32| new != old && (new == 0 || (old != 0 && new > old));
        let outgrown = self
            .pipeline
            .as_ref()
            .is_some_and(|pipeline| longer(pipeline.params().gop, params.gop));
        self.params = self.params.anew(&params);
        let restart = if outgrown {
            // The encoder would go on with key frames at its old distance.
            Some("a longer group of pictures".to_owned())
        } else {
            self.pipeline
                .as_mut()
                .and_then(|pipeline| pipeline.update(&params).err())
                .map(|error| format!("{error:#}"))
        };
        let Some(reason) = restart else {
            return Change::Taken;
        };
        tracing::debug!("the encoder starts anew: {reason}");
        Change::Restart
    }

    fn flush(&mut self, stop: &dyn Fn() -> bool) {
        if let Some(pipeline) = self.pipeline.take() {
            pipeline.finish(stop);
        }
    }

    fn can_shrink(&self) -> bool {
        self.params.tighter().is_some()
    }

    fn shrink(&mut self) {
        if let Some(tighter) = self.params.tighter() {
            self.params = tighter;
        }
        self.pipeline = None;
    }
}

/// Whether all of a frame is in dmabufs.
fn is_dmabuf(planes: &[FramePlane]) -> bool {
    planes.iter().all(|(memory, ..)| memory.is_dmabuf())
}
