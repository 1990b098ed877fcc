// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Raw formats that GStreamer has a name for: V4L2 format ↔ GStreamer format. A new one is a row.

use gstreamer_video::VideoFormat;

use crate::v4l2::core::pixel::{Component, PixelFormat};
use crate::v4l2::core::uapi::fourcc;

/// A raw format.
#[derive(Debug)]
pub struct Row {
    /// GStreamer's name. Its components have the order of those in `pixel`.
    pub gst: VideoFormat,
    /// What V4L2 says of it.
    pub pixel: PixelFormat,
}

const fn component(
    plane: usize,
    stride_div: u32,
    rows_div: u32,
    bytes: u32,
    pixels: u32,
) -> Component {
    Component {
        plane,
        stride_div,
        rows_div,
        bytes,
        pixels,
    }
}

/// Formats in order of preference. NV12 comes first: FFmpeg takes the first that it knows.
pub const FORMATS: &[Row] = &[
    Row {
        gst: VideoFormat::Nv12,
        pixel: PixelFormat {
            fourcc: fourcc(b"NV12"),
            description: "Y/UV 4:2:0",
            drm_fourcc: fourcc(b"NV12"),
            depth: 8,
            rgb: false,
            components: &[component(0, 1, 1, 1, 1), component(0, 1, 2, 2, 2)],
        },
    },
    Row {
        gst: VideoFormat::I420,
        pixel: PixelFormat {
            fourcc: fourcc(b"YU12"),
            description: "Planar YUV 4:2:0",
            drm_fourcc: fourcc(b"YU12"),
            depth: 8,
            rgb: false,
            components: &[
                component(0, 1, 1, 1, 1),
                component(0, 2, 2, 1, 2),
                component(0, 2, 2, 1, 2),
            ],
        },
    },
    Row {
        gst: VideoFormat::Nv12,
        pixel: PixelFormat {
            fourcc: fourcc(b"NM12"),
            description: "Y/UV 4:2:0 (N-C)",
            drm_fourcc: fourcc(b"NV12"),
            depth: 8,
            rgb: false,
            components: &[component(0, 1, 1, 1, 1), component(1, 1, 2, 2, 2)],
        },
    },
    Row {
        gst: VideoFormat::I420,
        pixel: PixelFormat {
            fourcc: fourcc(b"YM12"),
            description: "Planar YUV 4:2:0 (N-C)",
            drm_fourcc: fourcc(b"YU12"),
            depth: 8,
            rgb: false,
            components: &[
                component(0, 1, 1, 1, 1),
                component(1, 1, 2, 1, 2),
                component(2, 1, 2, 1, 2),
            ],
        },
    },
    Row {
        gst: VideoFormat::Bgrx,
        pixel: PixelFormat {
            fourcc: fourcc(b"XR24"),
            description: "32-bit BGRX 8-8-8-8",
            drm_fourcc: fourcc(b"XR24"),
            depth: 8,
            rgb: true,
            components: &[component(0, 1, 1, 4, 1)],
        },
    },
    Row {
        gst: VideoFormat::Bgrx,
        pixel: PixelFormat {
            fourcc: fourcc(b"BGR4"),
            description: "32-bit BGRA/X 8-8-8-8",
            drm_fourcc: fourcc(b"XR24"),
            depth: 8,
            rgb: true,
            components: &[component(0, 1, 1, 4, 1)],
        },
    },
    Row {
        gst: VideoFormat::Yuy2,
        pixel: PixelFormat {
            fourcc: fourcc(b"YUYV"),
            description: "YUYV 4:2:2",
            drm_fourcc: fourcc(b"YUYV"),
            depth: 8,
            rgb: false,
            components: &[component(0, 1, 1, 4, 2)],
        },
    },
    Row {
        gst: VideoFormat::Uyvy,
        pixel: PixelFormat {
            fourcc: fourcc(b"UYVY"),
            description: "UYVY 4:2:2",
            drm_fourcc: fourcc(b"UYVY"),
            depth: 8,
            rgb: false,
            components: &[component(0, 1, 1, 4, 2)],
        },
    },
    Row {
        gst: VideoFormat::Rgb,
        pixel: PixelFormat {
            fourcc: fourcc(b"RGB3"),
            description: "24-bit RGB 8-8-8",
            drm_fourcc: fourcc(b"BG24"),
            depth: 8,
            rgb: true,
            components: &[component(0, 1, 1, 3, 1)],
        },
    },
    Row {
        gst: VideoFormat::Bgr,
        pixel: PixelFormat {
            fourcc: fourcc(b"BGR3"),
            description: "24-bit BGR 8-8-8",
            drm_fourcc: fourcc(b"RG24"),
            depth: 8,
            rgb: true,
            components: &[component(0, 1, 1, 3, 1)],
        },
    },
    Row {
        gst: VideoFormat::Nv21,
        pixel: PixelFormat {
            fourcc: fourcc(b"NV21"),
            description: "Y/VU 4:2:0",
            drm_fourcc: fourcc(b"NV21"),
            depth: 8,
            rgb: false,
            components: &[component(0, 1, 1, 1, 1), component(0, 1, 2, 2, 2)],
        },
    },
    Row {
        gst: VideoFormat::Gray8,
        pixel: PixelFormat {
            fourcc: fourcc(b"GREY"),
            description: "8-bit Greyscale",
            drm_fourcc: fourcc(b"R8  "),
            depth: 8,
            rgb: false,
            components: &[component(0, 1, 1, 1, 1)],
        },
    },
];

/// The formats that are offered unless the operator says otherwise: those with one plane. With
/// others offered GStreamer prefers them to NV12 and I420, and imports no frame that is one dmabuf.
pub fn default() -> Vec<&'static PixelFormat> {
    all().filter(|format| format.planes() == 1).collect()
}

/// All formats, in order of preference.
pub fn all() -> impl Iterator<Item = &'static PixelFormat> {
    FORMATS.iter().map(|row| &row.pixel)
}

/// GStreamer's name of a format; `Unknown` if it is not in [`FORMATS`].
pub fn video_format(pixel: &PixelFormat) -> VideoFormat {
    let row = FORMATS.iter().find(|row| row.pixel.fourcc == pixel.fourcc);
    row.map_or(VideoFormat::Unknown, |row| row.gst)
}

#[cfg(test)]
mod tests;
