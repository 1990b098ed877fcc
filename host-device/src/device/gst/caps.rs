// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Caps that an element takes, and the conversion to them.

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_allocators as gst_allocators;

/// Caps of dmabufs with frames of `raw` caps, as an element wants them: by the format's name, or
/// since GStreamer 1.24 by its `drm_fourcc`. `None` if the element takes no dmabufs.
pub fn dmabuf(
    factory: &gst::ElementFactory,
    raw: &gst::Caps,
    drm_fourcc: u32,
) -> Option<gst::Caps> {
    let features = gst::CapsFeatures::new([gst_allocators::CAPS_FEATURE_MEMORY_DMABUF]);
    let named: gst::Caps = raw
        .iter()
        .map(|structure| (structure.to_owned(), features.clone()))
        .collect();
    if accepts(factory, &named) {
        return Some(named);
    }
    let drm_format = String::from_utf8(drm_fourcc.to_le_bytes().to_vec()).ok()?;
    let mut coded = named;
    coded.make_mut().iter_mut().for_each(|structure| {
        structure.set("format", "DMA_DRM");
        structure.set("drm-format", &drm_format);
    });
    accepts(factory, &coded).then_some(coded)
}

/// Whether an element takes frames of these caps.
pub fn accepts(factory: &gst::ElementFactory, caps: &gst::Caps) -> bool {
    factory.static_pad_templates().iter().any(|template| {
        template.direction() == gst::PadDirection::Sink && template.caps().can_intersect(caps)
    })
}

/// Puts a conversion to `caps` before `element`. Returns the element that raw frames go into.
pub fn converter(
    pipeline: &gst::Pipeline,
    element: &gst::Element,
    caps: &gst::Caps,
) -> Result<gst::Element> {
    let convert = gst::ElementFactory::make("videoconvert").build().context(
        "cannot make videoconvert; it is in the Debian package gstreamer1.0-plugins-base",
    )?;
    let filter = gst::ElementFactory::make("capsfilter")
        .property("caps", caps)
        .build()?;
    pipeline.add_many([&convert, &filter])?;
    gst::Element::link_many([&convert, &filter, element])?;
    Ok(convert)
}
