// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use super::*;
use crate::device::encoder::colorimetry::Colorimetry;
use crate::device::encoder::pixel::{self, PixelFormat};

fn raw(pixel: &'static PixelFormat, width: u32, height: u32) -> RawFormat {
    RawFormat {
        pixel,
        width,
        height,
        bytesperline: (0..pixel.planes())
            .map(|plane| pixel.min_bytesperline(plane, width))
            .collect(),
        colorimetry: Colorimetry::INITIAL,
        room: true,
    }
}

/// Linesizes of a frame that lies packed (rawvideo).
fn packed(pixel: &PixelFormat, width: u32) -> Vec<u32> {
    pixel.strides(&[pixel.min_bytesperline(0, width)])
}

/// Linesizes of `update_frame_pool()`, from which decoders have their frames: it widens the frame
/// until every linesize is aligned.
fn decoded(pixel: &PixelFormat, width: u32, align: u32) -> Vec<u32> {
    let mut width = width.next_multiple_of(16);
    loop {
        let linesizes = packed(pixel, width);
        if linesizes.iter().all(|linesize| linesize % align == 0) {
            return linesizes;
        }
        width += width & width.wrapping_neg();
    }
}

/// Linesizes of `ff_frame_pool_video_init()`, from which filters have theirs: each is aligned.
fn filtered(pixel: &PixelFormat, width: u32, align: u32) -> Vec<u32> {
    packed(pixel, width.next_multiple_of(align))
        .iter()
        .map(|linesize| linesize.next_multiple_of(align))
        .collect()
}

/// What FFmpeg writes into `bytesused`.
fn bytesused(raw: &RawFormat, linesizes: &[u32]) -> u32 {
    let rows = raw.pixel.components.iter().map(|c| raw.height / c.rows_div);
    let all: u32 = linesizes.iter().zip(rows).map(|(l, rows)| l * rows).sum();
    all.min(lengths(raw)[0])
}

fn read(raw: &RawFormat, bytesused: u32) -> Vec<u32> {
    of_payload(raw, bytesused).unwrap_or_else(|| raw.pixel.strides(&raw.bytesperline))
}

/// Every even width, of a frame that FFmpeg has packed, decoded or filtered.
#[test]
fn frames_of_ffmpeg_are_read_with_its_linesizes() {
    for pixel in pixel::default() {
        for width in (34..=4096).step_by(2) {
            for height in [32, 34, 270, 1080, 2304] {
                let raw = raw(pixel, width, height);
                let mut all = vec![packed(pixel, width)];
                for align in ALIGNMENTS {
                    all.push(decoded(pixel, width, align));
                    all.push(filtered(pixel, width, align));
                }
                for linesizes in all {
                    let read = read(&raw, bytesused(&raw, &linesizes));
                    let name = pixel.name();
                    assert_eq!(read, linesizes, "{name} {width}x{height}");
                }
            }
        }
    }
}

/// A part of a wider frame, as `-vf crop` gives it: with the linesizes of the whole.
#[test]
fn cropped_frames_of_ffmpeg_are_read_with_the_linesizes_of_the_whole() {
    for pixel in pixel::default() {
        for width in (34..=4096).step_by(62) {
            for whole in (width..=4096).step_by(14) {
                let raw = raw(pixel, width, 480);
                let align = ALIGNMENTS[0];
                for linesizes in [
                    packed(pixel, whole),
                    decoded(pixel, whole, align),
                    decoded(pixel, whole, ALIGNMENTS[2]),
                    filtered(pixel, whole, align),
                    filtered(pixel, whole, ALIGNMENTS[1]),
                ] {
                    let read = read(&raw, bytesused(&raw, &linesizes));
                    let name = pixel.name();
                    assert_eq!(read, linesizes, "{name} {width} of {whole}");
                }
            }
        }
    }
}

/// Clients that follow `bytesperline`: their frames are `sizeimage` long. Some write the length.
#[test]
fn frames_as_the_format_has_them_are_never_read_otherwise() {
    for pixel in pixel::FORMATS {
        for width in (32..=4096).step_by(2) {
            for height in (32..=2304).step_by(142) {
                let raw = raw(pixel, width, height);
                let (sizes, lengths) = (raw.sizes(), lengths(&raw));
                for (size, length) in sizes.iter().zip(&lengths) {
                    assert!(length > size);
                    for payload in [0, *size / 2, *size, *length] {
                        assert_eq!(of_payload(&raw, payload), None, "{width}x{height}");
                    }
                }
            }
        }
    }
}

/// What no frame of FFmpeg has is read as the format says, and nothing overflows.
#[test]
fn other_payloads_are_read_as_the_format_says() {
    let yu12 = PixelFormat::find(u32::from_le_bytes(*b"YU12")).unwrap();
    for height in [32, 2304] {
        let raw = raw(yu12, 640, height);
        for payload in [
            raw.sizes()[0] + 1,
            lengths(&raw)[0] - 1,
            u32::MAX - u32::MAX % height,
        ] {
            if let Some(strides) = of_payload(&raw, payload) {
                assert!(
                    strides
                        .iter()
                        .zip([640, 320, 320])
                        .all(|(s, least)| *s >= least)
                );
            }
        }
    }
}
