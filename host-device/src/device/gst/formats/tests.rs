// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Every format of the table, as the framework lays it out in memory.

use super::*;
use crate::v4l2::core::format::RawFormat;
use crate::v4l2::core::stride::{self, ALIGNMENTS};

fn find(name: &[u8; 4]) -> &'static PixelFormat {
    all().find(|format| format.fourcc == fourcc(name)).unwrap()
}

fn raw(pixel: &'static PixelFormat, width: u32, height: u32) -> RawFormat {
    RawFormat {
        oversized: true,
        ..RawFormat::new(pixel, width, height)
    }
}

fn of_payload(raw: &RawFormat, payload: u32) -> Option<Vec<u32>> {
    let size = (raw.width, raw.height);
    stride::of_payload(raw.pixel, size, &raw.bytesperline, payload)
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
    all.min(raw.lengths()[0])
}

fn read(raw: &RawFormat, bytesused: u32) -> Vec<u32> {
    of_payload(raw, bytesused).unwrap_or_else(|| raw.pixel.strides(&raw.bytesperline))
}

/// Every even width, of a frame that FFmpeg has packed, decoded or filtered.
#[test]
fn frames_of_ffmpeg_are_read_with_its_linesizes() {
    for pixel in default() {
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
    for pixel in default() {
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
    for pixel in all() {
        for width in (32..=4096).step_by(2) {
            for height in (32..=2304).step_by(142) {
                let raw = raw(pixel, width, height);
                let (sizes, lengths) = (raw.sizes(), raw.lengths());
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
    let yu12 = find(b"YU12");
    for height in [32, 2304] {
        let raw = raw(yu12, 640, height);
        for payload in [
            raw.sizes()[0] + 1,
            raw.lengths()[0] - 1,
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

#[test]
fn sizes_are_those_of_the_kernel() {
    for (name, planes, sizes) in [
        (b"NV12", vec![1296], vec![1296 * 972 * 3 / 2]),
        (b"YU12", vec![1296], vec![1296 * 972 * 3 / 2]),
        (b"NM12", vec![1296, 1296], vec![1296 * 972, 1296 * 486]),
        (
            b"YM12",
            vec![1296, 648, 648],
            vec![1296 * 972, 648 * 486, 648 * 486],
        ),
        (b"XR24", vec![5184], vec![5184 * 972]),
        (b"YUYV", vec![2592], vec![2592 * 972]),
        (b"UYVY", vec![2592], vec![2592 * 972]),
        (b"RGB3", vec![3888], vec![3888 * 972]),
        (b"BGR3", vec![3888], vec![3888 * 972]),
        (b"NV21", vec![1296], vec![1296 * 972 * 3 / 2]),
        (b"GREY", vec![1296], vec![1296 * 972]),
    ] {
        let format = find(name);
        assert_eq!(format.planes(), planes.len());
        for (plane, bytesperline) in planes.iter().enumerate() {
            assert_eq!(format.min_bytesperline(plane, 1296), *bytesperline);
            assert_eq!(format.sizeimage(plane, *bytesperline, 972), sizes[plane]);
        }
    }
}

#[test]
fn a_crop_starts_at_its_sample_and_ends_inside_the_plane() {
    let nv12 = find(b"NV12");
    let placed = nv12.place(&[64, 64], 32, (8, 4), (32, 16));
    assert_eq!(placed[0].offset, 4 * 64 + 8);
    assert_eq!(placed[1].offset, 64 * 32 + 2 * 64 + 8);
    assert_eq!(placed[1].extent, 7 * 64 + 32);
    for format in all() {
        let bpl: Vec<u32> = (0..format.planes())
            .map(|plane| format.min_bytesperline(plane, 64))
            .collect();
        let placed = format.place(&format.strides(&bpl), 32, (32, 16), (32, 16));
        for p in placed {
            let size = format.sizeimage(p.plane, bpl[p.plane], 32);
            assert!(p.offset + p.extent <= u64::from(size));
        }
    }
}

#[test]
fn rows_agree_with_gstreamer() {
    for row in FORMATS {
        let info = gstreamer_video::VideoFormatInfo::from_format(row.gst);
        let name = row.pixel.name();
        assert!(
            info.depth()
                .iter()
                .all(|depth| *depth == u32::from(row.pixel.depth)),
            "{name}"
        );
        assert_eq!(info.is_rgb(), row.pixel.rgb, "{name}");
        assert_eq!(
            info.n_planes() as usize,
            row.pixel.components.len(),
            "{name}"
        );
        assert_eq!(video_format(&row.pixel), row.gst, "{name}");
    }
}
