// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Caps of raw frames, and the conversion to what an encoder takes.

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoFormat,
    VideoTransferFunction,
};

use crate::device::encoder::catalogue::Colours;
use crate::device::encoder::params::Params;
use crate::device::encoder::select::SelectedElement;
use crate::device::gst::caps::accepts;
use crate::device::gst::formats::video_format;
use crate::v4l2::core::colorimetry::UNSPECIFIED;
use crate::v4l2::core::format::RawFormat;

/// Caps of the frames that clients queue, for a codec whose streams can say so much of their
/// colours.
pub fn raw(raw: &RawFormat, params: &Params, colours: Colours) -> Result<gst::Caps> {
    let (fps_n, fps_d) = params.framerate;
    let fps = gst::Fraction::new(i32::try_from(fps_n)?, i32::try_from(fps_d)?);
    let mut colorimetry = coded(raw, colours);
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

/// Caps of what frames are converted to before `selected` encodes them; `None` if it takes them as
/// they are.
pub fn converted(
    selected: &SelectedElement,
    raw: &RawFormat,
    caps: &gst::Caps,
) -> Option<gst::Caps> {
    // 4:2:0 even if the encoder would take more: decoders of the other formats are rare, and the
    // encoder would not say how it converts R'G'B'.
    let planar = matches!(
        video_format(raw.pixel),
        VideoFormat::Nv12 | VideoFormat::I420
    );
    if planar && accepts(&selected.factory, caps) {
        return None;
    }
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", gst::List::new(["I420", "NV12"]))
        .field("colorimetry", coded(raw, selected.row.colours).to_string());
    Some(caps.build())
}

/// Colorimetry of the frames that are encoded: the stream's, in words of GStreamer.
fn coded(raw: &RawFormat, colours: Colours) -> VideoColorimetry {
    let vui = raw.vui();
    let range = if vui.full_range {
        VideoColorRange::Range0_255
    } else {
        VideoColorRange::Range16_235
    };
    let matrix = match (colours, vui.matrix) {
        (Colours::Nothing, _) if raw.pixel.rgb => VideoColorMatrix::Bt601,
        // GStreamer takes no Y'CbCr without a matrix. x264enc and x265enc are told by options.
        (_, UNSPECIFIED) => VideoColorMatrix::Bt709,
        (_, 10) => VideoColorMatrix::Bt2020,
        (_, code) => VideoColorMatrix::from_iso(code.into()),
    };
    let (transfer, primaries) = match (colours, vui.matrix) {
        // vp9enc names the matrix if the rest is of the same standard.
        (Colours::Matrix, 9) => (15, 9),
        (Colours::Matrix, code) => (code, code),
        _ => (vui.transfer, vui.primaries),
    };
    VideoColorimetry::new(
        range,
        matrix,
        VideoTransferFunction::from_iso(transfer.into()),
        VideoColorPrimaries::from_iso(primaries.into()),
    )
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
        "gst-launch-1.0 -q filesrc location=RAW ! rawvideoparse format={} width={} height={} \
         framerate={}/{} colorimetry={} ! {convert}{encoder}! {}filesink location=CODED",
        info.format().to_str().to_lowercase(),
        info.width(),
        info.height(),
        info.fps().numer(),
        info.fps().denom(),
        info.colorimetry(),
        quoted(coded),
    )
}
