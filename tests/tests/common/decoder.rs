// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a player makes of a bitstream: FFmpeg's decoder, by way of GStreamer.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use gstreamer_video::{VideoFrameExt, VideoFrameRef, VideoInfo};

/// A decoded picture.
pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// The luma, without padding.
    pub luma: Vec<u8>,
}

/// Decodes H.264 access units.
///
/// # Panics
///
/// The decoder complains.
#[track_caller]
pub fn decode_h264<'a>(units: impl Iterator<Item = &'a [u8]>) -> Vec<Picture> {
    gst::init().unwrap();
    let description = "appsrc name=in caps=video/x-h264,stream-format=byte-stream,alignment=au \
        ! h264parse ! avdec_h264 output-corrupt=false ! videoconvert \
        ! video/x-raw,format=I420 ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(description).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let input = pipeline.by_name("in").unwrap();
    let input = input.downcast::<AppSrc>().unwrap();
    let output = pipeline.by_name("out").unwrap();
    let output = output.downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for (n, unit) in units.enumerate() {
        let mut buffer = gst::Buffer::from_slice(unit.to_vec());
        let pts = gst::ClockTime::from_mseconds(40 * n as u64);
        buffer.get_mut().unwrap().set_pts(pts);
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let mut pictures = Vec::new();
    while let Ok(sample) = output.pull_sample() {
        let info = VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let frame = VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info);
        let frame = frame.unwrap();
        let stride = frame.plane_stride()[0] as usize;
        let luma = frame.plane_data(0).unwrap();
        let rows = luma.chunks(stride).take(info.height() as usize);
        pictures.push(Picture {
            width: info.width(),
            height: info.height(),
            luma: rows
                .flat_map(|row| &row[..info.width() as usize])
                .copied()
                .collect(),
        });
    }
    let error = pipeline
        .bus()
        .unwrap()
        .pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    pictures
}

/// Likeness of two planes, in dB.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    let mean = squares / a.len() as f64;
    if mean == 0.0 {
        f64::INFINITY
    } else {
        10.0 * (255.0 * 255.0 / mean).log10()
    }
}
