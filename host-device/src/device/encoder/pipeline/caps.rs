// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Caps of raw frames, and the conversion to what an encoder takes.

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_allocators as gst_allocators;
use gstreamer_video as gst_video;
use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction,
};

use crate::device::encoder::format::{Colorimetry, RawFormat};
use crate::device::encoder::params::Params;

/// Caps of what is encoded.
pub fn raw(raw: &RawFormat, params: &Params) -> Result<gst::Caps> {
    let (fps_n, fps_d) = params.framerate;
    let fps = gst::Fraction::new(i32::try_from(fps_n)?, i32::try_from(fps_d)?);
    let mut builder =
        gst_video::VideoInfo::builder(raw.pixel.gst, params.width, params.height).fps(fps);
    let colorimetry = colorimetry(&raw.colorimetry);
    if let Some(colorimetry) = &colorimetry {
        builder = builder.colorimetry(colorimetry);
    }
    let info = builder.build().context("a frame that no caps describe")?;
    Ok(info.to_caps()?)
}

/// Colorimetry for the caps; GStreamer's default for the size when the client left everything at its default.
fn colorimetry(c: &Colorimetry) -> Option<VideoColorimetry> {
    // Only what the client spelt out: Rec. 709 alone is what an unset colour space became.
    let spelt = c.xfer_func != 0 || c.ycbcr_enc != 0 || c.quantization != 0 || c.colorspace != 3;
    if !spelt {
        return None;
    }
    use VideoColorMatrix as M;
    use VideoColorPrimaries as P;
    use VideoTransferFunction as T;
    // `enum v4l2_colorspace`: 1 SMPTE170M, 2 SMPTE240M, 3 REC709, 5 470_SYSTEM_M, 6 470_SYSTEM_BG, 7 JPEG, 8 SRGB,
    // 9 OPRGB, 10 BT2020, 11 RAW, 12 DCI_P3.
    let (primaries, matrix, transfer) = match c.colorspace {
        1 => (P::Smpte170m, M::Bt601, T::Bt601),
        2 => (P::Smpte240m, M::Smpte240m, T::Smpte240m),
        5 => (P::Bt470m, M::Bt601, T::Bt601),
        6 => (P::Bt470bg, M::Bt601, T::Bt601),
        7 => (P::Bt709, M::Bt601, T::Srgb),
        8 => (P::Bt709, M::Bt601, T::Srgb),
        9 => (P::Adobergb, M::Bt601, T::Adobergb),
        10 => (P::Bt2020, M::Bt2020, T::Bt202012),
        _ => (P::Bt709, M::Bt709, T::Bt709),
    };
    // `enum v4l2_ycbcr_encoding`: 1 601, 2 709, 3 XV601, 4 XV709, 6 BT2020, 7 BT2020_CONST_LUM, 8 SMPTE240M.
    let matrix = match c.ycbcr_enc {
        1 | 3 => M::Bt601,
        2 | 4 => M::Bt709,
        6 | 7 => M::Bt2020,
        8 => M::Smpte240m,
        _ => matrix,
    };
    // `enum v4l2_xfer_func`: 1 709, 2 SRGB, 3 OPRGB, 4 SMPTE240M, 5 NONE, 7 SMPTE2084.
    let transfer = match c.xfer_func {
        1 => T::Bt709,
        2 => T::Srgb,
        3 => T::Adobergb,
        4 => T::Smpte240m,
        5 => T::Gamma10,
        7 => T::Smpte2084,
        _ => transfer,
    };
    let range = match (c.quantization, c.colorspace) {
        (1, _) | (0, 7) => VideoColorRange::Range0_255,
        _ => VideoColorRange::Range16_235,
    };
    Some(VideoColorimetry::new(range, matrix, transfer, primaries))
}

/// Caps of dmabufs with frames of `raw` caps, as an encoder wants them: by the format's name, or since GStreamer 1.24 by its
/// DRM code. `None` if it takes none.
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
        gst_video::VideoFormat::Nv12 => "NV12",
        gst_video::VideoFormat::I420 => "YU12",
        gst_video::VideoFormat::Yuy2 => "YUYV",
        gst_video::VideoFormat::Bgrx => "XR24",
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

/// Puts a conversion to 4:2:0 before `element`. Returns the element that raw frames go into.
pub fn converter(pipeline: &gst::Pipeline, element: &gst::Element) -> Result<gst::Element> {
    let convert = gst::ElementFactory::make("videoconvert").build().context(
        "cannot make videoconvert; it is in the Debian package gstreamer1.0-plugins-base",
    )?;
    // 4:2:0 even if the encoder would take more: decoders of the other formats are rare.
    let filter = gst::ElementFactory::make("capsfilter")
        .property(
            "caps",
            gst::Caps::builder("video/x-raw")
                .field("format", gst::List::new(["I420", "NV12"]))
                .build(),
        )
        .build()?;
    pipeline.add_many([&convert, &filter])?;
    gst::Element::link_many([&convert, &filter, element])?;
    Ok(convert)
}

/// The command that encodes a file of raw frames with these caps.
pub fn gst_launch(raw: &gst::Caps, converted: bool, encoder: &str, coded: &gst::Caps) -> String {
    let Ok(info) = gst_video::VideoInfo::from_caps(raw) else {
        return String::new();
    };
    let convert = if converted {
        "videoconvert ! 'video/x-raw,format={I420,NV12}' ! "
    } else {
        ""
    };
    format!(
        "gst-launch-1.0 -q filesrc location=RAW ! rawvideoparse format={} width={} height={} framerate={}/{} \
         colorimetry={} ! {convert}{encoder}! '{}' ! filesink location=CODED",
        info.format().to_str().to_lowercase(),
        info.width(),
        info.height(),
        info.fps().numer(),
        info.fps().denom(),
        info.colorimetry(),
        coded.to_string().replace(", ", ","),
    )
}
