// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Caps of raw frames, and the conversion to what an encoder takes.

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_allocators as gst_allocators;
use gstreamer_video as gst_video;
use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoFormat,
    VideoTransferFunction,
};

use crate::device::encoder::catalogue::{Chosen, Codec};
use crate::device::encoder::params::Params;
use crate::device::gst::formats::video_format;
use crate::v4l2::core::colorimetry::UNSPECIFIED;
use crate::v4l2::core::format::RawFormat;

/// Caps of the frames that clients queue.
pub fn raw(raw: &RawFormat, params: &Params) -> Result<gst::Caps> {
    let (fps_n, fps_d) = params.framerate;
    let fps = gst::Fraction::new(i32::try_from(fps_n)?, i32::try_from(fps_d)?);
    let mut colorimetry = coded(raw, params.codec);
    if raw.pixel.rgb {
        colorimetry = VideoColorimetry::new(
            VideoColorRange::Range0_255,
            VideoColorMatrix::Rgb,
            colorimetry.transfer(),
            colorimetry.primaries(),
        );
    }
    let info = gst_video::VideoInfo::builder(video_format(raw.pixel), params.width, params.height)
        .fps(fps)
        .colorimetry(&colorimetry)
        .build()
        .context("a frame that no caps describe")?;
    Ok(info.to_caps()?)
}

/// Caps of what frames are converted to before `chosen` encodes them; `None` if it takes them as
/// they are.
pub fn converted(chosen: &Chosen, raw: &RawFormat, caps: &gst::Caps) -> Option<gst::Caps> {
    // 4:2:0 even if the encoder would take more: decoders of the other formats are rare, and the
    // encoder would not say how it converts R'G'B'.
    let planar = matches!(
        video_format(raw.pixel),
        VideoFormat::Nv12 | VideoFormat::I420
    );
    if planar && accepts(&chosen.factory, caps) {
        return None;
    }
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", gst::List::new(["I420", "NV12"]))
        .field("colorimetry", coded(raw, chosen.codec).to_string());
    Some(caps.build())
}

/// Colorimetry of the frames that are encoded: the stream's, in words of GStreamer.
fn coded(raw: &RawFormat, codec: Codec) -> VideoColorimetry {
    let vui = raw.vui();
    let range = if vui.full_range {
        VideoColorRange::Range0_255
    } else {
        VideoColorRange::Range16_235
    };
    let matrix = match (codec, vui.matrix) {
        // It has one matrix, and no word for another.
        (Codec::Vp8, _) if raw.pixel.rgb => VideoColorMatrix::Bt601,
        // GStreamer takes no Y'CbCr without a matrix. x264enc and x265enc are told by options.
        (_, UNSPECIFIED) => VideoColorMatrix::Bt709,
        (_, 10) => VideoColorMatrix::Bt2020,
        (_, code) => VideoColorMatrix::from_iso(code.into()),
    };
    let (transfer, primaries) = match (codec, vui.matrix) {
        // VP9 can name the matrix only, and vp9enc does if the rest is of the same standard.
        (Codec::Vp9, 9) => (15, 9),
        (Codec::Vp9, code) => (code, code),
        _ => (vui.transfer, vui.primaries),
    };
    VideoColorimetry::new(
        range,
        matrix,
        VideoTransferFunction::from_iso(transfer.into()),
        VideoColorPrimaries::from_iso(primaries.into()),
    )
}

/// Caps of dmabufs with frames of `raw` caps, as an encoder wants them: by the format's name, or
/// since GStreamer 1.24 by its DRM code. `None` if it takes none.
pub fn dmabuf(factory: &gst::ElementFactory, raw: &gst::Caps) -> Option<gst::Caps> {
    let features = gst::CapsFeatures::new([gst_allocators::CAPS_FEATURE_MEMORY_DMABUF]);
    let named: gst::Caps = raw
        .iter()
        .map(|structure| (structure.to_owned(), features.clone()))
        .collect();
    if accepts(factory, &named) {
        return Some(named);
    }
    let drm_format = match gst_video::VideoInfo::from_caps(raw).ok()?.format() {
        VideoFormat::Nv12 => "NV12",
        VideoFormat::I420 => "YU12",
        _ => return None,
    };
    let mut coded = named;
    coded.make_mut().iter_mut().for_each(|structure| {
        structure.set("format", "DMA_DRM");
        structure.set("drm-format", drm_format);
    });
    accepts(factory, &coded).then_some(coded)
}

/// Whether an encoder takes frames of these caps.
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

/// The command that encodes a file of raw frames with these caps, `converted` to others.
pub fn gst_launch(
    raw: &gst::Caps,
    converted: Option<&gst::Caps>,
    encoder: &str,
    coded: &gst::Caps,
) -> String {
    let Ok(info) = gst_video::VideoInfo::from_caps(raw) else {
        return String::new();
    };
    let quoted = |caps: &gst::Caps| format!("'{}' ! ", caps.to_string().replace(", ", ","));
    let convert = converted.map_or_else(String::new, |caps| {
        format!("videoconvert ! {}", quoted(caps))
    });
    format!(
        "gst-launch-1.0 -q filesrc location=RAW ! rawvideoparse format={} width={} height={} framerate={}/{} \
         colorimetry={} ! {convert}{encoder}! {}filesink location=CODED",
        info.format().to_str().to_lowercase(),
        info.width(),
        info.height(),
        info.fps().numer(),
        info.fps().denom(),
        info.colorimetry(),
        quoted(coded),
    )
}
