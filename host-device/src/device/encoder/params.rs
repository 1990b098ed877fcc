// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What an encoder is to do: the values of controls, formats and settings that its properties are made of.

use super::catalogue::Codec;
use super::colorimetry::Vui;

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
    /// Bits per second at that frame rate.
    pub bitrate: u32,
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

    /// `gop` for elements whose "never" is a large number.
    pub fn gop_or(&self, never: u32) -> u32 {
        if self.gop == 0 { never } else { self.gop }
    }
}
