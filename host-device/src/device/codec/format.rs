// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Formats of both queues, the crop rectangle and the frame interval, as VIDIOC_S_FMT,
//! S_SELECTION and S_PARM have set them.

use nix::errno::Errno;
use protocol::wire::v4l2::{Fract, PixFormatMplane, Rect};

use crate::v4l2::core::format::RawFormat;
use crate::v4l2::core::interval;
use crate::v4l2::core::pixel::PixelFormat;
use crate::v4l2::core::uapi::*;

/// Bounds of `sizeimage` of coded buffers, in bytes.
const MIN_CODED: u32 = 64 << 10;
const MAX_CODED: u32 = 64 << 20;

/// A coded format that a device offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodedKind {
    /// `V4L2_PIX_FMT_*`.
    pub fourcc: u32,
    /// What the kernel calls it in VIDIOC_ENUM_FMT.
    pub description: &'static str,
    /// What stands for a frame that the codec failed on: a few bytes that decoders skip.
    pub filler: &'static [u8],
}

/// Format of the CAPTURE queue. Width, height and colorimetry are those of OUTPUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodedFormat {
    /// What frames are coded to.
    pub kind: CodedKind,
    /// Size of a buffer, in bytes.
    pub sizeimage: u32,
}

/// Formats of both queues, crop and frame interval.
#[derive(Clone, Debug)]
pub struct Formats {
    /// Coded formats that are offered, in order.
    pub kinds: Vec<CodedKind>,
    /// Raw formats that are offered, in order.
    pub offered: Vec<&'static PixelFormat>,
    /// The OUTPUT queue's.
    pub raw: RawFormat,
    /// The CAPTURE queue's.
    pub coded: CodedFormat,
    /// `sizeimage` of coded buffers that the client asked for last; 0 if it did not ask. GStreamer
    /// asks before it sets the size of frames, and fails if `sizeimage` shrinks then.
    asked: u32,
    /// The part of each frame that is coded.
    pub crop: Rect,
    /// Frame interval, exactly as the client wrote it.
    pub interval: Fract,
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
    /// `ENODEV` without a coded format, or without a raw one.
    pub fn new(kinds: Vec<CodedKind>, offered: Vec<&'static PixelFormat>) -> Result<Self, Errno> {
        let kind = *kinds.first().ok_or(Errno::ENODEV)?;
        let pixel = *offered.first().ok_or(Errno::ENODEV)?;
        let (width, height) = (1280, 720);
        let raw = RawFormat::new(pixel, width, height);
        let crop = raw.rect();
        Ok(Self {
            kinds,
            offered,
            raw,
            coded: CodedFormat {
                kind,
                sizeimage: coded_size(width, height),
            },
            asked: 0,
            crop,
            interval: interval::DEFAULT,
        })
    }

    /// The raw format called `fourcc`, if it is offered.
    pub fn find(&self, fourcc: u32) -> Option<&'static PixelFormat> {
        let mut offered = self.offered.iter().copied();
        offered.find(|format| format.fourcc == fourcc)
    }

    /// The CAPTURE format nearest to `pix`. Its width and height mean nothing.
    pub fn try_coded(&self, pix: &PixFormatMplane) -> CodedFormat {
        let kind = self
            .kinds
            .iter()
            .copied()
            .find(|kind| kind.fourcc == pix.pixelformat)
            .unwrap_or(self.coded.kind);
        let asked = pix.plane_fmt.first().map_or(0, |plane| plane.sizeimage);
        CodedFormat {
            kind,
            sizeimage: self.coded_size(asked),
        }
    }

    /// `sizeimage` of coded buffers when the client asks for `asked` bytes, or does not ask (0). It
    /// is no less than the usual size: clients pass on what they learnt at a smaller frame size.
    fn coded_size(&self, asked: u32) -> u32 {
        let usual = coded_size(self.raw.width, self.raw.height);
        if asked == 0 || asked == u32::MAX {
            return usual;
        }
        asked.clamp(usual, MAX_CODED.max(usual))
    }

    /// Sets the OUTPUT format. The crop becomes the whole frame, and the size of coded buffers is
    /// derived anew.
    pub fn set_raw(&mut self, raw: RawFormat) {
        self.crop = raw.rect();
        self.raw = raw;
        self.coded.sizeimage = self.coded_size(self.asked);
    }

    /// Sets the CAPTURE format to what [`try_coded`](Self::try_coded) made of `pix`.
    pub fn set_coded(&mut self, coded: CodedFormat, pix: &PixFormatMplane) {
        let asked = pix.plane_fmt.first().map_or(0, |plane| plane.sizeimage);
        // A client that asks for the usual size repeats what G_FMT answered.
        let asks = asked > coded_size(self.raw.width, self.raw.height);
        self.asked = if asks { asked } else { 0 };
        self.coded = coded;
    }

    /// `coded` as `struct v4l2_pix_format_mplane`.
    pub fn coded_pix(&self, coded: &CodedFormat) -> PixFormatMplane {
        let mut pix = PixFormatMplane {
            width: self.raw.width,
            height: self.raw.height,
            pixelformat: coded.kind.fourcc,
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
}
