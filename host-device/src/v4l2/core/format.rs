// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Raw formats: how VIDIOC_TRY_FMT finds the nearest one.

use protocol::wire::v4l2::{PixFormatMplane, PlanePixFormat, Rect};

use super::colorimetry::{Colorimetry, Vui};
use super::pixel::PixelFormat;
use super::stride;
use super::uapi::*;

/// Smallest width and height, in pixels. Codecs refuse less than two of their blocks.
pub const MIN_SIZE: u32 = 32;
/// Largest width, in pixels.
pub const MAX_WIDTH: u32 = 4096;
/// Largest height, in pixels.
pub const MAX_HEIGHT: u32 = 2304;
/// Step of widths and heights: chroma of 4:2:0 has no half samples.
pub const STEP: u32 = 2;
/// `bytesperline` may exceed the smallest one by this factor.
const MAX_PADDING: u32 = 4;

/// A raw format as a queue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// How pixels lie in memory.
    pub pixel: &'static PixelFormat,
    /// Pixels across.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `bytesperline` of each V4L2 plane.
    pub bytesperline: Vec<u32>,
    /// Colorimetry.
    pub colorimetry: Colorimetry,
    /// MMAP buffers are long enough for [other strides](stride), and `bytesused` says which ones a
    /// frame has.
    pub oversized: bool,
}

impl RawFormat {
    /// Frames of this size without padding, of unknown colorimetry.
    pub fn new(pixel: &'static PixelFormat, width: u32, height: u32) -> Self {
        Self {
            pixel,
            width,
            height,
            bytesperline: pixel.min_strides(width),
            colorimetry: Colorimetry::INITIAL,
            oversized: false,
        }
    }

    /// `sizeimage` of each V4L2 plane.
    pub fn sizes(&self) -> Vec<u32> {
        self.pixel.sizes(&self.bytesperline, self.height)
    }

    /// Bytes of each plane of an MMAP buffer.
    pub fn lengths(&self) -> Vec<u32> {
        if self.oversized {
            stride::lengths(self.pixel, self.height, MAX_WIDTH)
        } else {
            self.sizes()
        }
    }

    /// Strides of the components of a frame of `payload` bytes in an MMAP buffer.
    pub fn strides(&self, payload: u32) -> Vec<u32> {
        let size = (self.width, self.height);
        let other = || stride::of_payload(self.pixel, size, &self.bytesperline, payload);
        let other = self.oversized.then(other).flatten();
        other.unwrap_or_else(|| self.pixel.strides(&self.bytesperline))
    }

    /// What a stream of such frames says about its colours.
    pub fn vui(&self) -> Vui {
        self.colorimetry.vui(self.pixel.rgb)
    }

    /// The whole frame.
    pub fn rect(&self) -> Rect {
        Rect {
            left: 0,
            top: 0,
            width: self.width,
            height: self.height,
        }
    }

    /// The format nearest to `pix`, of those that are `offered`, for a queue that has `self`.
    pub fn nearest(&self, pix: &PixFormatMplane, offered: &[&'static PixelFormat]) -> Self {
        let mut offered = offered.iter().copied();
        let pixel = offered
            .find(|format| format.fourcc == pix.pixelformat)
            .unwrap_or(self.pixel);
        let width = clamp_step(pix.width, MIN_SIZE, MAX_WIDTH);
        let height = clamp_step(pix.height, MIN_SIZE, MAX_HEIGHT);
        let bytesperline = (0..pixel.planes())
            .map(|plane| self.nearest_stride(pixel, width, (plane, pix)))
            .collect();
        let echo = is_smallest(pixel, pix) && (width, height) != (MIN_SIZE, MIN_SIZE);
        let mut nearest = Self {
            pixel,
            width,
            height,
            bytesperline,
            colorimetry: Colorimetry::of(pix, self.colorimetry, echo),
            oversized: self.oversized,
        };
        // Setting the same format again changes nothing.
        if nearest != *self {
            nearest.oversized = echo && pixel.planes() == 1;
        }
        nearest
    }

    /// The `bytesperline` nearest to the one that `pix` has for `plane`.
    fn nearest_stride(
        &self,
        pixel: &PixelFormat,
        width: u32,
        (plane, pix): (usize, &PixFormatMplane),
    ) -> u32 {
        let min = pixel.min_bytesperline(plane, width);
        let asked = pix.plane_fmt.get(plane).map_or(0, |p| p.bytesperline);
        // Clients that change the width of what G_FMT answered leave its stride behind.
        let stale = width != self.width && self.bytesperline.get(plane) == Some(&asked);
        if stale || asked <= min || asked > min.saturating_mul(MAX_PADDING) {
            min
        } else {
            // A multiple of 16 keeps samples whole in every format.
            asked.next_multiple_of(16)
        }
    }

    /// The format as `struct v4l2_pix_format_mplane`.
    pub fn pix(&self) -> PixFormatMplane {
        let mut pix = PixFormatMplane {
            width: self.width,
            height: self.height,
            pixelformat: self.pixel.fourcc,
            field: FIELD_NONE,
            num_planes: self.bytesperline.len() as u8,
            ..Default::default()
        };
        let planes = self.bytesperline.iter().zip(self.sizes());
        for (plane, (bytesperline, sizeimage)) in pix.plane_fmt.iter_mut().zip(planes) {
            *plane = PlanePixFormat {
                sizeimage,
                bytesperline: *bytesperline,
                reserved: [0; 6],
            };
        }
        self.colorimetry.put(&mut pix);
        pix
    }
}

/// The multiple of [`STEP`] from `min` to `max` that `value` is rounded down to.
pub fn clamp_step(value: u32, min: u32, max: u32) -> u32 {
    (value.clamp(min, max) / STEP) * STEP
}

/// Whether the sizes of planes are those of the smallest frame, which TRY_FMT answers for 0x0
/// pixels. FFmpeg asks that, and sends the answer back with the width and height of its frames.
fn is_smallest(pixel: &PixelFormat, pix: &PixFormatMplane) -> bool {
    (0..pixel.planes()).all(|plane| {
        let min = pixel.min_bytesperline(plane, MIN_SIZE);
        pix.plane_fmt.get(plane).is_some_and(|asked| {
            (asked.bytesperline, asked.sizeimage) == (min, pixel.sizeimage(plane, min, MIN_SIZE))
        })
    })
}
