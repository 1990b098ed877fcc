// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A running encoder: GStreamer elements between two pads of our own.
//!
//! The session's thread pushes a raw frame into the encoder's sink pad; what comes out of its
//! source pad arrives in a chain function. With a software encoder that happens before the push
//! returns: no queue, no other thread, no clock. Elements that work in a thread of their own call
//! the chain function from there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use protocol::wire::v4l2::Rect;

use super::params::Params;
use super::select::SelectedElement;
use crate::device::codec::CodedFrame;
use crate::device::gst::bus::watch;
use crate::device::gst::caps::{converter, dmabuf};
use crate::device::gst::element::{link, set_properties};
use crate::v4l2::core::format::RawFormat;

mod caps;

/// How long an encoder may take to give out what it holds.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What a pipeline is made for. Fixed while both queues stream.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The element.
    pub selected: SelectedElement,
    /// Format of raw frames.
    pub raw: RawFormat,
    /// The part of them that is encoded.
    pub crop: Rect,
    /// They are dmabufs, for elements that want to know.
    pub dmabuf: bool,
}

/// What the chain and event functions share with the pipeline.
#[derive(Default)]
struct Downstream {
    state: Mutex<DownstreamState>,
    wake: Condvar,
    /// An element has reported an error.
    failed: AtomicBool,
}

#[derive(Default)]
struct DownstreamState {
    segment: gst::FormattedSegment<gst::ClockTime>,
    eos: bool,
    /// Frames since the last key frame, with it; 0 before the first.
    since_key: u32,
}

impl Downstream {
    fn lock(&self) -> MutexGuard<'_, DownstreamState> {
        // Nothing panics between two steps that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when an element of `pipeline` reports an error.
    fn watch(self: &Arc<Self>, pipeline: &gst::Pipeline) -> Result<()> {
        let failing = Arc::downgrade(self);
        watch(pipeline, move || {
            if let Some(downstream) = failing.upgrade() {
                downstream.failed.store(true, Ordering::Release);
                downstream.wake.notify_all();
            }
        })
    }

    fn coded(&self, buffer: gst::Buffer) -> CodedFrame {
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let mut state = self.lock();
        state.since_key = if key {
            1
        } else {
            state.since_key.saturating_add(1)
        };
        // Encoders shift PTS to make room for DTS, and shift the segment with them (x264enc: by
        // 1000 hours).
        let time = buffer
            .pts()
            .and_then(|pts| state.segment.to_running_time(pts))
            .map(gst::ClockTime::nseconds);
        let data: Box<dyn AsRef<[u8]> + Send> = match buffer.into_mapped_buffer_readable() {
            Ok(mapped) => Box::new(mapped),
            Err(_) => Box::new([]),
        };
        CodedFrame { data, key, time }
    }
}

/// A running encoder.
pub struct Pipeline {
    setup: Setup,
    /// What its properties were set to.
    params: Params,
    pipeline: gst::Pipeline,
    element: gst::Element,
    /// Our pad that frames leave through.
    raw_pad: gst::Pad,
    /// Our pad that coded frames come in through.
    coded_pad: gst::Pad,
    downstream: Arc<Downstream>,
    /// The element is told whether frames are dmabufs: all are of the kind that `setup` says.
    one_kind: bool,
    /// Frames pushed.
    pushed: u64,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("setup", &self.setup)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Starts an encoder. `on_coded` gets every coded frame, in order, on the thread of
    /// [`push`](Self::push) or one of the element's.
    ///
    /// # Errors
    ///
    /// An element cannot be made, linked or started.
    pub fn new(
        setup: Setup,
        params: Params,
        on_coded: impl Fn(CodedFrame) + Send + Sync + 'static,
    ) -> Result<Self> {
        let factory = &setup.selected.factory;
        let pipeline = gst::Pipeline::new();
        let element = factory
            .create()
            .build()
            .with_context(|| format!("cannot make {}", factory.name()))?;
        set_properties(&element, &setup.selected.properties(&params))?;
        pipeline.add(&element)?;

        let downstream = Arc::new(Downstream::default());
        downstream.watch(&pipeline)?;
        let raw_caps = caps::raw(&setup.raw, &params, setup.selected.row.colours)?;
        let converted = caps::converted(&setup.selected, &setup.raw, &raw_caps);
        let first = match &converted {
            None => element.clone(),
            Some(caps) => converter(&pipeline, &element, caps)?,
        };
        let raw_pad = gst::Pad::builder(gst::PadDirection::Src)
            .name("raw")
            .build();
        let coded_caps = (setup.selected.row.caps)(&params);
        let coded_pad = coded_pad(&coded_caps, &downstream, on_coded);
        link(&raw_pad, &first, "sink")?;
        link(&coded_pad, &element, "src")?;

        let dmabuf_caps = (first == element)
            .then(|| dmabuf(factory, &raw_caps, setup.raw.pixel.drm_fourcc))
            .flatten();
        let one_kind = dmabuf_caps.is_some();
        let pad_caps = dmabuf_caps
            .filter(|_| setup.dmabuf)
            .unwrap_or_else(|| raw_caps.clone());
        let this = Self {
            one_kind,
            setup,
            params,
            pipeline,
            element,
            raw_pad,
            coded_pad,
            downstream,
            pushed: 0,
        };
        this.begin(&pad_caps)?;
        tracing::info!(
            "encoding {} with {}; the same stream on the host: {}",
            pad_caps,
            this.setup.selected.factory.name(),
            this.gst_launch(&raw_caps, converted.as_ref()),
        );
        Ok(this)
    }

    /// Starts the elements, for frames of these caps.
    fn begin(&self, caps: &gst::Caps) -> Result<()> {
        self.coded_pad.set_active(true)?;
        self.pipeline
            .set_state(gst::State::Playing)
            .with_context(|| format!("{} does not start", self.setup.selected.factory.name()))?;
        self.raw_pad.set_active(true)?;
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        for event in [
            gst::event::StreamStart::new("virtio-v4l2"),
            gst::event::Caps::new(caps),
            gst::event::Segment::new(&segment),
        ] {
            self.raw_pad.push_event(event);
        }
        if self.downstream.failed.load(Ordering::Acquire) {
            bail!("{} refuses {caps}", self.setup.selected.factory.name());
        }
        Ok(())
    }

    /// The command that makes the same stream from the same raw frames in a file.
    fn gst_launch(&self, raw_caps: &gst::Caps, converted: Option<&gst::Caps>) -> String {
        let properties: String = self
            .setup
            .selected
            .properties(&self.params)
            .iter()
            .filter(|(name, _)| self.element.has_property(name))
            .map(|(name, value)| format!("{name}={value} "))
            .collect();
        caps::gst_launch(
            raw_caps,
            converted,
            &format!("{} {properties}", self.setup.selected.factory.name()),
            &(self.setup.selected.row.caps)(&self.params),
        )
    }

    /// Whether frames can be pushed of which this is true: that they are dmabufs.
    pub fn takes(&self, dmabuf: bool) -> bool {
        !self.one_kind || self.setup.dmabuf == dmabuf
    }

    /// What its properties are set to.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Takes over what may change in a stream, if the element can do that while it runs.
    ///
    /// # Errors
    ///
    /// It cannot: the change needs a new encoder.
    pub fn update(&mut self, params: &Params) -> Result<()> {
        let wanted = self.params.live(params);
        let selected = &self.setup.selected;
        let changes = selected.changes(&self.params, &wanted).with_context(|| {
            format!(
                "{} takes a new bitrate at its start only",
                selected.factory.name()
            )
        })?;
        set_properties(&self.element, &changes)?;
        self.params = wanted;
        Ok(())
    }

    /// Frames since the last key frame, with it; 0 before the first.
    pub fn since_key(&self) -> u32 {
        self.downstream.lock().since_key
    }

    /// Encodes a frame, a key frame if `force_key` says so. Before the frame goes in, `announce`
    /// gets the time by which the coded frame is recognised.
    ///
    /// # Errors
    ///
    /// The encoder failed; it is of no use any more.
    pub fn push(
        &mut self,
        mut buffer: gst::Buffer,
        force_key: bool,
        announce: impl FnOnce(u64),
    ) -> Result<()> {
        let (fps_n, fps_d) = self.params.framerate;
        let time = |frame: u64| {
            gst::ClockTime::from_nseconds(
                (u128::from(frame) * u128::from(fps_d) * 1_000_000_000 / u128::from(fps_n.max(1)))
                    as u64,
            )
        };
        // A client's timestamps are names, not times; the encoder sees frames at their constant
        // rate.
        let pts = time(self.pushed);
        self.pushed += 1;
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(pts);
            buffer.set_duration(time(self.pushed) - pts);
        }
        if force_key {
            self.raw_pad.push_event(
                gst_video::DownstreamForceKeyUnitEvent::builder()
                    .all_headers(true)
                    .build(),
            );
        }
        announce(pts.nseconds());
        let flow = self.raw_pad.push(buffer);
        if self.downstream.failed.load(Ordering::Acquire) {
            bail!("the encoder reported an error");
        }
        match flow {
            Ok(_) => Ok(()),
            Err(error) => bail!("the encoder refused a frame: {error}"),
        }
    }

    /// Makes the encoder give out every frame that it holds. It takes none after that.
    pub fn finish(&self, stop: &dyn Fn() -> bool) {
        self.raw_pad.push_event(gst::event::Eos::new());
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut state = self.downstream.lock();
        while !state.eos && !self.downstream.failed.load(Ordering::Acquire) && !stop() {
            if Instant::now() >= deadline {
                tracing::warn!("the encoder does not give out its last frames");
                return;
            }
            state = self
                .downstream
                .wake
                .wait_timeout(state, Duration::from_millis(20))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.raw_pad.set_active(false);
        let _ = self.pipeline.set_state(gst::State::Null);
        let _ = self.coded_pad.set_active(false);
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// The pad behind the encoder: it asks for `caps`, and hands on what comes.
fn coded_pad(
    caps: &gst::Caps,
    downstream: &Arc<Downstream>,
    on_coded: impl Fn(CodedFrame) + Send + Sync + 'static,
) -> gst::Pad {
    let wanted = caps.clone();
    let chain = Arc::clone(downstream);
    let events = Arc::clone(downstream);
    gst::Pad::builder(gst::PadDirection::Sink)
        .name("coded")
        .chain_function(move |_, _, buffer| {
            on_coded(chain.coded(buffer));
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(move |_, _, event| {
            match event.view() {
                gst::EventView::Segment(segment) => {
                    if let Ok(segment) = segment.segment().clone().downcast::<gst::ClockTime>() {
                        events.lock().segment = segment;
                    }
                }
                gst::EventView::Eos(_) => {
                    events.lock().eos = true;
                    events.wake.notify_all();
                }
                _ => {}
            }
            true
        })
        .query_function(move |pad, parent, query| match query.view_mut() {
            gst::QueryViewMut::Caps(query) => {
                let caps = query.filter_owned().map_or_else(
                    || wanted.clone(),
                    |filter| filter.intersect_with_mode(&wanted, gst::CapsIntersectMode::First),
                );
                query.set_result(&caps);
                true
            }
            // Encoders may choose a lower profile than they were asked for.
            gst::QueryViewMut::AcceptCaps(query) => {
                query.set_result(true);
                true
            }
            _ => gst::Pad::query_default(pad, parent, query),
        })
        .build()
}
