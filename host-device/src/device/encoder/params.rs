// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What an encoder is to do: the values of controls, formats and settings that its properties are
//! made of.

use crate::v4l2::core::colorimetry::Vui;
use crate::v4l2::core::controls::Controls;

/// Bounds of a codec's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The greatest quantiser.
    pub most_qp: i32,
    /// How much the least quantiser is raised to make frames smaller.
    pub qp_step: i32,
    /// Bytes that 16x16 pixels have at most.
    pub macroblock: u64,
}

/// What an encoder is to do.
#[derive(Clone, Debug)]
pub struct Params {
    /// Bounds of the codec.
    pub bounds: Bounds,
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
    /// Profile, as caps name it.
    pub profile: &'static str,
    /// Level, as caps name it, enough for size, frame rate and bitrate.
    pub level: &'static str,
    /// Threads of the encoder.
    pub threads: u32,
    /// `speed-preset` of x264enc and x265enc, if the operator chose one.
    pub preset: Option<String>,
    /// The controls as they were at STREAMON, for what is made of them alone.
    pub controls: Controls,
}

impl Params {
    /// These, with what a running element may take over from `now`.
    pub fn live(&self, now: &Self) -> Self {
        Self {
            bitrate: now.bitrate,
            constant: now.constant,
            ..self.clone()
        }
    }

    /// These, with what an element that starts anew in the same stream takes over from `now`.
    pub fn anew(&self, now: &Self) -> Self {
        Self {
            gop: now.gop,
            ..self.live(now)
        }
    }

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

    /// Whether any frame fits, whatever is in it; a little is for headers.
    fn holds_any(&self) -> bool {
        let across = u64::from(self.width.div_ceil(16));
        let blocks = across * u64::from(self.height.div_ceil(16));
        blocks * self.bounds.macroblock + 2048 <= u64::from(self.capacity)
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
        let (last, step) = (self.bounds.most_qp, self.bounds.qp_step);
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
