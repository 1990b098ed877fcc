// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Raw formats of the OUTPUT queue: V4L2 format ↔ GStreamer format ↔ how a frame lies in memory.

use gstreamer_video::VideoFormat;

use super::uapi::fourcc;

/// A component plane of a raw format (luma, chroma, or all of packed RGB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// V4L2 plane (memory of its own) that it lies in.
    pub plane: usize,
    /// `bytesperline` of the V4L2 plane divided by this is the stride of the component.
    pub stride_div: u32,
    /// Rows are the height divided by this.
    pub rows_div: u32,
    /// Bytes of one sample or pair of samples.
    pub bytes: u32,
    /// Pixels across that such a group stands for.
    pub pixels: u32,
}

/// A raw format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    /// `V4L2_PIX_FMT_*`.
    pub fourcc: u32,
    /// What the kernel calls it in VIDIOC_ENUM_FMT.
    pub description: &'static str,
    /// GStreamer's name.
    pub gst: VideoFormat,
    /// Components, in GStreamer's order.
    pub components: &'static [Component],
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
pub const FORMATS: &[PixelFormat] = &[
    PixelFormat {
        fourcc: fourcc(b"NV12"),
        description: "Y/UV 4:2:0",
        gst: VideoFormat::Nv12,
        components: &[component(0, 1, 1, 1, 1), component(0, 1, 2, 2, 2)],
    },
    PixelFormat {
        fourcc: fourcc(b"YU12"),
        description: "Planar YUV 4:2:0",
        gst: VideoFormat::I420,
        components: &[
            component(0, 1, 1, 1, 1),
            component(0, 2, 2, 1, 2),
            component(0, 2, 2, 1, 2),
        ],
    },
    PixelFormat {
        fourcc: fourcc(b"NM12"),
        description: "Y/UV 4:2:0 (N-C)",
        gst: VideoFormat::Nv12,
        components: &[component(0, 1, 1, 1, 1), component(1, 1, 2, 2, 2)],
    },
    PixelFormat {
        fourcc: fourcc(b"YM12"),
        description: "Planar YUV 4:2:0 (N-C)",
        gst: VideoFormat::I420,
        components: &[
            component(0, 1, 1, 1, 1),
            component(1, 1, 2, 1, 2),
            component(2, 1, 2, 1, 2),
        ],
    },
    PixelFormat {
        fourcc: fourcc(b"XR24"),
        description: "32-bit BGRX 8-8-8-8",
        gst: VideoFormat::Bgrx,
        components: &[component(0, 1, 1, 4, 1)],
    },
    PixelFormat {
        fourcc: fourcc(b"BGR4"),
        description: "32-bit BGRA/X 8-8-8-8",
        gst: VideoFormat::Bgrx,
        components: &[component(0, 1, 1, 4, 1)],
    },
    PixelFormat {
        fourcc: fourcc(b"YUYV"),
        description: "YUYV 4:2:2",
        gst: VideoFormat::Yuy2,
        components: &[component(0, 1, 1, 4, 2)],
    },
    PixelFormat {
        fourcc: fourcc(b"UYVY"),
        description: "UYVY 4:2:2",
        gst: VideoFormat::Uyvy,
        components: &[component(0, 1, 1, 4, 2)],
    },
    PixelFormat {
        fourcc: fourcc(b"RGB3"),
        description: "24-bit RGB 8-8-8",
        gst: VideoFormat::Rgb,
        components: &[component(0, 1, 1, 3, 1)],
    },
    PixelFormat {
        fourcc: fourcc(b"BGR3"),
        description: "24-bit BGR 8-8-8",
        gst: VideoFormat::Bgr,
        components: &[component(0, 1, 1, 3, 1)],
    },
    PixelFormat {
        fourcc: fourcc(b"NV21"),
        description: "Y/VU 4:2:0",
        gst: VideoFormat::Nv21,
        components: &[component(0, 1, 1, 1, 1), component(0, 1, 2, 2, 2)],
    },
    PixelFormat {
        fourcc: fourcc(b"GREY"),
        description: "8-bit Greyscale",
        gst: VideoFormat::Gray8,
        components: &[component(0, 1, 1, 1, 1)],
    },
];

/// Where a component of a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// V4L2 plane.
    pub plane: usize,
    /// Offset of the first sample in the plane, in bytes.
    pub offset: u64,
    /// Distance of rows, in bytes.
    pub stride: u32,
    /// Bytes from the first sample to the end of the last row.
    pub extent: u64,
}

/// What is offered unless the operator says otherwise: formats in one plane. With those in several
/// GStreamer takes them for NV12 and I420, and imports no frame that is one dmabuf.
pub fn default() -> Vec<&'static PixelFormat> {
    FORMATS
        .iter()
        .filter(|format| format.planes() == 1)
        .collect()
}

impl PixelFormat {
    /// Its four letters.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.fourcc.to_le_bytes()).into_owned()
    }

    /// The format called `fourcc`.
    pub fn find(fourcc: u32) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.fourcc == fourcc)
    }

    /// Whether it is R'G'B', rather than Y'CbCr.
    pub fn is_rgb(&self) -> bool {
        matches!(
            self.gst,
            VideoFormat::Bgrx | VideoFormat::Rgb | VideoFormat::Bgr
        )
    }

    /// Number of V4L2 planes.
    pub fn planes(&self) -> usize {
        self.components
            .iter()
            .map(|c| c.plane + 1)
            .max()
            .unwrap_or(1)
    }

    /// Smallest `bytesperline` of a V4L2 plane for frames `width` pixels wide.
    pub fn min_bytesperline(&self, plane: usize, width: u32) -> u32 {
        self.components
            .iter()
            .filter(|c| c.plane == plane)
            .map(|c| (width / c.pixels) * c.bytes * c.stride_div)
            .max()
            .unwrap_or(0)
    }

    /// `sizeimage` of a V4L2 plane: its components one after the other, without padding.
    pub fn sizeimage(&self, plane: usize, bytesperline: u32, height: u32) -> u32 {
        self.components
            .iter()
            .filter(|c| c.plane == plane)
            .map(|c| (bytesperline / c.stride_div) * (height / c.rows_div))
            .sum()
    }

    /// Strides of the components, in bytes, for these `bytesperline`s.
    pub fn strides(&self, bytesperline: &[u32]) -> Vec<u32> {
        self.components
            .iter()
            .map(|c| bytesperline.get(c.plane).copied().unwrap_or(0) / c.stride_div)
            .collect()
    }

    /// Where the components of the rectangle at (`left`, `top`) lie, `width` by `height` pixels of a frame that is
    /// `frame_height` rows high and has these `strides`. Even coordinates keep chroma whole.
    pub fn place(
        &self,
        strides: &[u32],
        frame_height: u32,
        (left, top): (u32, u32),
        (width, height): (u32, u32),
    ) -> Vec<Placed> {
        let mut before = (usize::MAX, 0u64);
        self.components
            .iter()
            .zip(strides)
            .map(|(c, stride)| {
                let stride = *stride;
                let start = if before.0 == c.plane { before.1 } else { 0 };
                before = (
                    c.plane,
                    start + u64::from(stride) * u64::from(frame_height / c.rows_div),
                );
                let row = u64::from(width / c.pixels) * u64::from(c.bytes);
                let rows = u64::from((height / c.rows_div).max(1));
                Placed {
                    plane: c.plane,
                    offset: start
                        + u64::from(top / c.rows_div) * u64::from(stride)
                        + u64::from(left / c.pixels) * u64::from(c.bytes),
                    stride,
                    extent: (rows - 1) * u64::from(stride) + row,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let format = PixelFormat::find(fourcc(name)).unwrap();
            assert_eq!(format.planes(), planes.len());
            for (plane, bytesperline) in planes.iter().enumerate() {
                assert_eq!(format.min_bytesperline(plane, 1296), *bytesperline);
                assert_eq!(format.sizeimage(plane, *bytesperline, 972), sizes[plane]);
            }
        }
    }

    #[test]
    fn a_crop_starts_at_its_sample_and_ends_inside_the_plane() {
        let nv12 = PixelFormat::find(fourcc(b"NV12")).unwrap();
        let placed = nv12.place(&[64, 64], 32, (8, 4), (32, 16));
        assert_eq!(placed[0].offset, 4 * 64 + 8);
        assert_eq!(placed[1].offset, 64 * 32 + 2 * 64 + 8);
        assert_eq!(placed[1].extent, 7 * 64 + 32);
        for format in FORMATS {
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
}
