// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Formats of both queues, the crop rectangle and the frame interval: what VIDIOC_S_FMT and friends keep.

use nix::errno::Errno;
use protocol::wire::v4l2::{Fract, PixFormatMplane, PlanePixFormat, Rect, Selection, StreamParm};

use super::catalogue::Codec;
use super::colorimetry::{Colorimetry, Vui};
use super::pixel::PixelFormat;
use super::stride;
use super::uapi::*;

/// Smallest width and height, in pixels. Encoders refuse less than two of their blocks.
pub const MIN_SIZE: u32 = 32;
/// Largest width, in pixels.
pub const MAX_WIDTH: u32 = 4096;
/// Largest height, in pixels.
pub const MAX_HEIGHT: u32 = 2304;
/// Step of widths and heights: chroma of 4:2:0 has no half samples.
pub const STEP: u32 = 2;
/// Smallest crop, in pixels.
const MIN_CROP: u32 = 16;
/// `bytesperline` may exceed the smallest one by this factor.
const MAX_PADDING: u32 = 4;
/// Bounds of `sizeimage` of coded buffers, in bytes.
const MIN_CODED: u32 = 64 << 10;
const MAX_CODED: u32 = 64 << 20;

/// Shortest frame interval.
pub const MIN_INTERVAL: Fract = Fract {
    numerator: 1,
    denominator: 1000,
};
/// Longest frame interval: an hour, for time-lapse.
pub const MAX_INTERVAL: Fract = Fract {
    numerator: 3600,
    denominator: 1,
};
/// Frame interval until VIDIOC_S_PARM sets one, and for zero parts.
pub const DEFAULT_INTERVAL: Fract = Fract {
    numerator: 1,
    denominator: 30,
};

/// Format of the OUTPUT queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// How pixels lie.
    pub pixel: &'static PixelFormat,
    /// Pixels across.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `bytesperline` of each V4L2 plane.
    pub bytesperline: Vec<u32>,
    /// Colorimetry.
    pub colorimetry: Colorimetry,
    /// MMAP buffers have room for other strides, and `bytesused` says which a frame has.
    pub room: bool,
}

impl RawFormat {
    /// `sizeimage` of each V4L2 plane.
    pub fn sizes(&self) -> Vec<u32> {
        self.bytesperline
            .iter()
            .enumerate()
            .map(|(plane, bpl)| self.pixel.sizeimage(plane, *bpl, self.height))
            .collect()
    }

    /// Bytes of each plane of an MMAP buffer.
    pub fn lengths(&self) -> Vec<u32> {
        if self.room {
            stride::lengths(self)
        } else {
            self.sizes()
        }
    }

    /// Strides of the components of a frame of `payload` bytes in an MMAP buffer.
    pub fn strides(&self, payload: u32) -> Vec<u32> {
        let other = self.room.then(|| stride::of_payload(self, payload));
        other
            .flatten()
            .unwrap_or_else(|| self.pixel.strides(&self.bytesperline))
    }

    /// What a stream of such frames says of its colours.
    pub fn vui(&self) -> Vui {
        self.colorimetry.vui(self.pixel.is_rgb())
    }
}

/// Format of the CAPTURE queue. Width, height and colorimetry are those of OUTPUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodedFormat {
    /// What is encoded to.
    pub codec: Codec,
    /// Size of a buffer, in bytes.
    pub sizeimage: u32,
}

/// Everything that VIDIOC_S_FMT, S_SELECTION and S_PARM set.
#[derive(Clone, Debug)]
pub struct Formats {
    /// Codecs that the host has an element for, in order.
    pub codecs: Vec<Codec>,
    /// Raw formats that are offered, in order.
    pub offered: Vec<&'static PixelFormat>,
    /// The OUTPUT queue's.
    pub raw: RawFormat,
    /// The CAPTURE queue's.
    pub coded: CodedFormat,
    /// `sizeimage` of coded buffers that the client asked for last, 0 for none: GStreamer asks before it sets the
    /// size of frames, and fails if it shrinks.
    asked: u32,
    /// The part of each frame that is encoded.
    pub crop: Rect,
    /// Frame interval, exactly as the client wrote it.
    pub interval: Fract,
}

fn clamp_step(value: u32, min: u32, max: u32) -> u32 {
    (value.clamp(min, max) / STEP) * STEP
}

/// Whether sizes of planes are those of the smallest frame: what TRY_FMT answers for 0x0 pixels.
/// FFmpeg asks that, and sends the answer back with the width and height of its frames.
fn smallest(pixel: &PixelFormat, pix: &PixFormatMplane) -> bool {
    (0..pixel.planes()).all(|plane| {
        let least = pixel.min_bytesperline(plane, MIN_SIZE);
        pix.plane_fmt.get(plane).is_some_and(|asked| {
            (asked.bytesperline, asked.sizeimage)
                == (least, pixel.sizeimage(plane, least, MIN_SIZE))
        })
    })
}

/// Size of a coded buffer that holds any sane frame: a byte for each pixel.
fn coded_size(width: u32, height: u32) -> u32 {
    (width * height).max(MIN_CODED)
}

impl Formats {
    /// Formats of a session that was just opened.
    ///
    /// # Errors
    ///
    /// `ENODEV` without a codec, or without a raw format.
    pub fn new(codecs: Vec<Codec>, offered: Vec<&'static PixelFormat>) -> Result<Self, Errno> {
        let codec = *codecs.first().ok_or(Errno::ENODEV)?;
        let pixel = *offered.first().ok_or(Errno::ENODEV)?;
        let (width, height) = (1280, 720);
        Ok(Self {
            codecs,
            offered,
            raw: RawFormat {
                pixel,
                width,
                height,
                bytesperline: (0..pixel.planes())
                    .map(|plane| pixel.min_bytesperline(plane, width))
                    .collect(),
                colorimetry: Colorimetry::INITIAL,
                room: false,
            },
            coded: CodedFormat {
                codec,
                sizeimage: coded_size(width, height),
            },
            asked: 0,
            crop: Rect {
                left: 0,
                top: 0,
                width,
                height,
            },
            interval: DEFAULT_INTERVAL,
        })
    }

    /// The raw format called `fourcc`, if it is offered.
    pub fn find(&self, fourcc: u32) -> Option<&'static PixelFormat> {
        let mut offered = self.offered.iter().copied();
        offered.find(|format| format.fourcc == fourcc)
    }

    /// The OUTPUT format nearest to `pix`.
    pub fn try_raw(&self, pix: &PixFormatMplane) -> RawFormat {
        let pixel = self.find(pix.pixelformat).unwrap_or(self.raw.pixel);
        let width = clamp_step(pix.width, MIN_SIZE, MAX_WIDTH);
        let height = clamp_step(pix.height, MIN_SIZE, MAX_HEIGHT);
        let bytesperline = (0..pixel.planes())
            .map(|plane| {
                let min = pixel.min_bytesperline(plane, width);
                let asked = pix.plane_fmt.get(plane).map_or(0, |p| p.bytesperline);
                // Clients that change the width of what G_FMT answered leave its stride behind.
                let stale =
                    width != self.raw.width && self.raw.bytesperline.get(plane) == Some(&asked);
                if stale || asked > min.saturating_mul(MAX_PADDING) {
                    min
                } else {
                    // A multiple of 16 keeps samples whole in every format.
                    if asked > min {
                        asked.next_multiple_of(16)
                    } else {
                        min
                    }
                }
            })
            .collect();
        let echo = smallest(pixel, pix) && (width, height) != (MIN_SIZE, MIN_SIZE);
        let mut raw = RawFormat {
            pixel,
            width,
            height,
            bytesperline,
            colorimetry: Colorimetry::of(pix, self.raw.colorimetry, echo),
            room: self.raw.room,
        };
        // The same again is no change.
        if raw != self.raw {
            raw.room = echo && raw.pixel.planes() == 1;
        }
        raw
    }

    /// The CAPTURE format nearest to `pix`. Its width and height mean nothing.
    pub fn try_coded(&self, pix: &PixFormatMplane) -> CodedFormat {
        let codec = self
            .codecs
            .iter()
            .copied()
            .find(|codec| codec.fourcc() == pix.pixelformat)
            .unwrap_or(self.coded.codec);
        let asked = pix.plane_fmt.first().map_or(0, |plane| plane.sizeimage);
        CodedFormat {
            codec,
            sizeimage: self.coded_size(asked),
        }
    }

    /// `sizeimage` for coded buffers when the client asks for `asked` bytes, 0 for no wish. The usual size is the least:
    /// clients pass on what they learnt at a smaller frame size.
    fn coded_size(&self, asked: u32) -> u32 {
        let usual = coded_size(self.raw.width, self.raw.height);
        if asked == 0 || asked == u32::MAX {
            return usual;
        }
        asked.clamp(usual, MAX_CODED.max(usual))
    }

    /// Sets the OUTPUT format. The crop becomes the whole frame, and coded buffers follow in size.
    pub fn set_raw(&mut self, raw: RawFormat) {
        self.crop = Rect {
            left: 0,
            top: 0,
            width: raw.width,
            height: raw.height,
        };
        self.raw = raw;
        self.coded.sizeimage = self.coded_size(self.asked);
    }

    /// Sets the CAPTURE format to what [`try_coded`](Self::try_coded) made of `pix`.
    pub fn set_coded(&mut self, coded: CodedFormat, pix: &PixFormatMplane) {
        let asked = pix.plane_fmt.first().map_or(0, |plane| plane.sizeimage);
        // The size that is usual now is no wish: it is what G_FMT answered.
        let wish = asked > coded_size(self.raw.width, self.raw.height);
        self.asked = if wish { asked } else { 0 };
        self.coded = coded;
    }

    /// `raw` as `struct v4l2_pix_format_mplane`.
    pub fn raw_pix(&self, raw: &RawFormat) -> PixFormatMplane {
        let mut pix = PixFormatMplane {
            width: raw.width,
            height: raw.height,
            pixelformat: raw.pixel.fourcc,
            field: FIELD_NONE,
            num_planes: raw.bytesperline.len() as u8,
            ..Default::default()
        };
        let sizes = raw.sizes();
        for ((plane, bytesperline), sizeimage) in
            pix.plane_fmt.iter_mut().zip(&raw.bytesperline).zip(sizes)
        {
            *plane = PlanePixFormat {
                sizeimage,
                bytesperline: *bytesperline,
                reserved: [0; 6],
            };
        }
        raw.colorimetry.put(&mut pix);
        pix
    }

    /// `coded` as `struct v4l2_pix_format_mplane`.
    pub fn coded_pix(&self, coded: &CodedFormat) -> PixFormatMplane {
        let mut pix = PixFormatMplane {
            width: self.raw.width,
            height: self.raw.height,
            pixelformat: coded.codec.fourcc(),
            field: FIELD_NONE,
            num_planes: 1,
            ..Default::default()
        };
        if let Some(plane) = pix.plane_fmt.first_mut() {
            plane.sizeimage = coded.sizeimage;
        }
        self.raw.colorimetry.put(&mut pix);
        pix
    }

    /// VIDIOC_G_SELECTION.
    ///
    /// # Errors
    ///
    /// `EINVAL` for anything but the crop of the OUTPUT queue.
    pub fn selection(&self, selection: &mut Selection) -> Result<(), Errno> {
        if !matches!(selection.type_, OUTPUT | OUTPUT_SINGLE) {
            return Err(Errno::EINVAL);
        }
        selection.r = match selection.target {
            V4L2_SEL_TGT_CROP => self.crop,
            V4L2_SEL_TGT_CROP_DEFAULT | V4L2_SEL_TGT_CROP_BOUNDS => Rect {
                left: 0,
                top: 0,
                width: self.raw.width,
                height: self.raw.height,
            },
            _ => return Err(Errno::EINVAL),
        };
        Ok(())
    }

    /// The crop nearest to what `selection` asks for.
    ///
    /// # Errors
    ///
    /// `EINVAL` for anything but the crop of the OUTPUT queue, `ERANGE` if the constraint flags forbid what it
    /// would be adjusted to.
    pub fn try_crop(&self, selection: &Selection) -> Result<Rect, Errno> {
        if !matches!(selection.type_, OUTPUT | OUTPUT_SINGLE)
            || selection.target != V4L2_SEL_TGT_CROP
        {
            return Err(Errno::EINVAL);
        }
        let asked = selection.r;
        let width = clamp_step(asked.width, MIN_CROP, self.raw.width);
        let height = clamp_step(asked.height, MIN_CROP, self.raw.height);
        let within = |value: i32, room: u32| {
            let value = u32::try_from(value).unwrap_or(0);
            i32::try_from(clamp_step(value, 0, room)).unwrap_or(0)
        };
        let crop = Rect {
            left: within(asked.left, self.raw.width - width),
            top: within(asked.top, self.raw.height - height),
            width,
            height,
        };
        let smaller = crop.width < asked.width || crop.height < asked.height;
        let larger = crop.width > asked.width || crop.height > asked.height;
        if (selection.flags & V4L2_SEL_FLAG_GE != 0 && smaller)
            || (selection.flags & V4L2_SEL_FLAG_LE != 0 && larger)
        {
            return Err(Errno::ERANGE);
        }
        Ok(crop)
    }

    /// VIDIOC_G_PARM, and what VIDIOC_S_PARM answers.
    ///
    /// # Errors
    ///
    /// `EINVAL` for any queue but OUTPUT: coded frames have no interval of their own.
    pub fn parm(&self, parm: &mut StreamParm) -> Result<(), Errno> {
        // Kernel drivers let the single-planar type pass too, and v4l2-ctl uses it.
        if !matches!(parm.type_, OUTPUT | OUTPUT_SINGLE) {
            return Err(Errno::EINVAL);
        }
        *parm = StreamParm {
            type_: parm.type_,
            capability: V4L2_CAP_TIMEPERFRAME,
            timeperframe: self.interval,
            ..Default::default()
        };
        Ok(())
    }

    /// The frame interval nearest to `asked`; zero parts ask for the default.
    pub fn nearest_interval(asked: Fract) -> Fract {
        let (n, d) = (u64::from(asked.numerator), u64::from(asked.denominator));
        let fits = |v| i32::try_from(v).is_ok();
        if n == 0 || d == 0 || !fits(asked.numerator) || !fits(asked.denominator) {
            DEFAULT_INTERVAL
        } else if d > n * u64::from(MIN_INTERVAL.denominator) {
            MIN_INTERVAL
        } else if n > d * u64::from(MAX_INTERVAL.numerator) {
            MAX_INTERVAL
        } else {
            asked
        }
    }
}
