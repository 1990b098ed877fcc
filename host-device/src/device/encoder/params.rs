// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What an encoder is to do: the values of controls, formats and settings that its properties are
//! made of.

use super::catalogue::Codec;
use crate::v4l2::core::colorimetry::Vui;

/// The loop filter, `enum v4l2_mpeg_video_h264_loop_filter_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopFilter {
    /// On.
    Enabled,
    /// Off.
    Disabled,
    /// Off at slice boundaries.
    DisabledAtSliceBoundary,
}

/// What an encoder is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Codec.
    pub codec: Codec,
    /// Pixels across, of what is encoded.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// What the stream says of its colours.
    pub vui: Vui,
    /// Frames per second, as a fraction. Fixed while the encoder runs.
    pub framerate: (u32, u32),
    /// Bits per second at that frame rate. Frames of that size fit into `capacity`.
    pub bitrate: u32,
    /// Bytes that a coded frame may have: those of the smallest CAPTURE buffer.
    pub capacity: u32,
    /// Constant bitrate, rather than variable.
    pub constant: bool,
    /// Rate control is on; else quantisers are fixed.
    pub rate_control: bool,
    /// Quantiser of P frames without rate control.
    pub quantizer: i32,
    /// Quantiser bounds.
    pub min_qp: i32,
    /// Quantiser bounds.
    pub max_qp: i32,
    /// Frames from one key frame to the next; 0 for no key frame but the first.
    pub gop: u32,
    /// CABAC, rather than CAVLC.
    pub cabac: bool,
    /// 8x8 transform.
    pub transform_8x8: bool,
    /// Loop filter.
    pub loop_filter: LoopFilter,
    /// Profile, as caps name it.
    pub profile: &'static str,
    /// Level, as caps name it, enough for size, frame rate and bitrate.
    pub level: &'static str,
    /// Threads of the encoder.
    pub threads: u32,
    /// `speed-preset` of x264enc and x265enc, if the operator chose one.
    pub preset: Option<String>,
}

impl Params {
    /// Bitrate in kbit/s, as most elements want it.
    pub fn kbits(&self) -> u32 {
        self.bitrate
            .saturating_add(500)
            .checked_div(1000)
            .unwrap_or(1)
            .max(1)
    }

    /// Bits that a buffer model may let a frame have: encoders miss their aim by a little.
    fn model_bits(&self) -> u64 {
        model_bits(self.capacity)
    }

    /// Whether any frame fits, whatever is in it: macroblocks of H.264 have 3200 bits at most,
    /// blocks of HEVC five thirds of what is in them; a little is for headers.
    fn holds_any(&self) -> bool {
        let macroblock = if self.codec == Codec::H264 { 400 } else { 640 };
        let across = u64::from(self.width.div_ceil(16));
        let blocks = across * u64::from(self.height.div_ceil(16));
        blocks * macroblock + 2048 <= u64::from(self.capacity)
    }

    /// Whether an encoder without a buffer model might give out a frame that does not fit: at one
    /// and the same bitrate key frames and noise take many times the average.
    pub fn tight(&self) -> bool {
        let (n, d) = self.framerate;
        let frame = u64::from(self.bitrate) * u64::from(d) / u64::from(n.max(1));
        !self.holds_any() && frame * 16 > self.model_bits()
    }

    /// The size of a buffer model in milliseconds: at most `most`, and what a frame may have.
    pub fn model_ms(&self, most: u32) -> u32 {
        if self.holds_any() {
            return most;
        }
        let ms = self.model_bits() * 1000 / u64::from(self.kbits()) / 1000;
        u32::try_from(ms).unwrap_or(u32::MAX).clamp(1, most)
    }

    /// What a frame may have, in kbit: as the size of a buffer model, and as its rate per second,
    /// so that it bounds single frames and nothing else.
    pub fn frame_model(&self) -> (u64, u64) {
        let kbits = (self.model_bits() / 1000).max(1);
        let (n, d) = self.framerate;
        let rate = kbits * u64::from(n) / u64::from(d.max(1));
        // x265 has them in 32 bits.
        (kbits, rate.clamp(self.kbits().into(), 1 << 30))
    }

    /// The next step towards smaller frames, whatever the client wants of their quality; `None` if
    /// there is none.
    pub fn tighter(&self) -> Option<Self> {
        let (last, step) = match self.codec {
            Codec::H264 | Codec::Hevc => (51, 6),
            Codec::Vp8 | Codec::Vp9 => (127, 16),
        };
        let smallest = self.min_qp >= last && (self.rate_control || self.quantizer >= 50);
        (!smallest).then(|| Self {
            min_qp: (self.min_qp + step).min(last),
            max_qp: last,
            quantizer: (self.quantizer + step).min(50),
            ..self.clone()
        })
    }

    /// `gop` for elements whose "never" is a large number.
    pub fn gop_or(&self, never: u32) -> u32 {
        if self.gop == 0 { never } else { self.gop }
    }
}

/// Bits that a buffer model may let a frame have that must fit into `capacity` bytes.
fn model_bits(capacity: u32) -> u64 {
    u64::from(capacity) * 8 / 10 * 9
}

/// The highest bitrate at which frames fit into `capacity` bytes, on average.
pub fn most_bitrate(capacity: u32, (n, d): (u32, u32)) -> u64 {
    model_bits(capacity) * u64::from(n) / u64::from(d.max(1))
}

#[cfg(test)]
mod tests;
