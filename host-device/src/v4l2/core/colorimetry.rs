// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Colorimetry of raw frames, as the client sets it, and of the stream that is made of them.
//!
//! The four fields are V4L2's. A field that is DEFAULT follows from the colour space, as in
//! `V4L2_MAP_XFER_FUNC_DEFAULT` and its siblings. G_FMT must report a colour space. Before the
//! first S_FMT that is RAW. If S_FMT leaves it unset, it becomes Rec. 709, the best guess for
//! programs that negotiate by it (GStreamer); the stream then says "unspecified" all the same.

use protocol::wire::v4l2::PixFormatMplane;

use super::uapi::*;

/// The four colorimetry fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colorimetry {
    /// `enum v4l2_colorspace`.
    pub colorspace: u32,
    /// `enum v4l2_xfer_func`.
    pub xfer_func: u8,
    /// `enum v4l2_ycbcr_encoding`.
    pub ycbcr_enc: u8,
    /// `enum v4l2_quantization`.
    pub quantization: u8,
    /// The colour space is our answer, not the client's word.
    pub unstated: bool,
}

/// "Unspecified" of ITU-T H.273, in each of its tables.
pub const UNSPECIFIED: u8 = 2;

/// `ColourPrimaries` of ITU-T H.273.
mod primaries {
    pub const BT709: u8 = 1;
    pub const BT470_SYSTEM_M: u8 = 4;
    pub const BT470_SYSTEM_BG: u8 = 5;
    pub const BT601: u8 = 6;
    pub const SMPTE240M: u8 = 7;
    pub const BT2020: u8 = 9;
    /// SMPTE RP 431-2.
    pub const DCI_P3: u8 = 11;
}

/// `TransferCharacteristics` of ITU-T H.273.
mod transfer {
    pub const BT709: u8 = 1;
    pub const BT601: u8 = 6;
    pub const SMPTE240M: u8 = 7;
    pub const LINEAR: u8 = 8;
    /// IEC 61966-2-1.
    pub const SRGB: u8 = 13;
    pub const BT2020_10_BIT: u8 = 14;
    pub const SMPTE2084: u8 = 16;
    /// SMPTE ST 428-1.
    pub const DCI: u8 = 17;
}

/// `MatrixCoefficients` of ITU-T H.273.
mod matrix {
    pub const BT709: u8 = 1;
    pub const BT601: u8 = 6;
    pub const SMPTE240M: u8 = 7;
    pub const BT2020: u8 = 9;
    /// For constant luminance.
    pub const BT2020_CONSTANT: u8 = 10;
}

/// What a stream says of its samples: code points of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vui {
    /// `colour_primaries`.
    pub primaries: u8,
    /// `transfer_characteristics`.
    pub transfer: u8,
    /// `matrix_coeffs`.
    pub matrix: u8,
    /// Samples use all of 0 to 255, rather than 16 to 235 and 240.
    pub full_range: bool,
}

impl Colorimetry {
    /// That of a session that was just opened.
    pub const INITIAL: Self = Self {
        colorspace: COLORSPACE_RAW,
        xfer_func: XFER_FUNC_DEFAULT,
        ycbcr_enc: YCBCR_ENC_DEFAULT,
        quantization: QUANTIZATION_DEFAULT,
        unstated: true,
    };

    /// What a client asks for that has set `before`. Unknown numbers become the default, an unknown
    /// colour space the one before.
    ///
    /// Programs that change one field of a format send the others back as they were answered; so
    /// does FFmpeg with what it learnt by TRY_FMT, and `echo` says that. That states nothing.
    pub fn of(pix: &PixFormatMplane, before: Self, echo: bool) -> Self {
        // The default is 0 in each of them.
        let known = |value: u8, last: u8| if value <= last { value } else { 0 };
        let asked = Self {
            colorspace: match pix.colorspace {
                COLORSPACE_DEFAULT => COLORSPACE_REC709,
                valid @ COLORSPACE_SMPTE170M..=COLORSPACE_DCI_P3 => valid,
                _ => before.colorspace,
            },
            xfer_func: known(pix.xfer_func, XFER_FUNC_SMPTE2084),
            ycbcr_enc: known(pix.ycbcr_enc, YCBCR_ENC_SMPTE240M),
            quantization: known(pix.quantization, QUANTIZATION_LIM_RANGE),
            unstated: true,
        };
        Self {
            unstated: asked.colorspace != pix.colorspace
                || asked == before
                || echo && asked.colorspace == COLORSPACE_REC709,
            ..asked
        }
    }

    /// Writes the fields.
    pub fn put(self, pix: &mut PixFormatMplane) {
        pix.colorspace = self.colorspace;
        pix.xfer_func = self.xfer_func;
        pix.ycbcr_enc = self.ycbcr_enc;
        pix.quantization = self.quantization;
    }

    /// What a stream of such frames says, if `rgb` frames of R'G'B'.
    ///
    /// R'G'B' in memory uses all of 0 to 255, whatever `quantization` says. It is converted, to
    /// limited range, with a matrix that the stream names: the client does not state what we do.
    pub fn vui(mut self, rgb: bool) -> Vui {
        if self.unstated {
            self.colorspace = COLORSPACE_RAW;
        }
        if rgb && self.xfer_func == XFER_FUNC_NONE {
            // GStreamer writes that for an unknown one. Eight bits of linear light nobody has.
            self.xfer_func = XFER_FUNC_DEFAULT;
        }
        let matrix = self.matrix();
        Vui {
            primaries: self.primaries(),
            transfer: self.transfer(),
            matrix: match matrix {
                UNSPECIFIED if rgb => matrix::BT709,
                // We convert with constant weights, not for constant luminance.
                matrix::BT2020_CONSTANT if rgb => matrix::BT2020,
                _ => matrix,
            },
            full_range: !rgb && self.full_range(),
        }
    }

    fn primaries(self) -> u8 {
        match self.colorspace {
            COLORSPACE_SMPTE170M | COLORSPACE_BT878 => primaries::BT601,
            COLORSPACE_SMPTE240M => primaries::SMPTE240M,
            COLORSPACE_REC709 | COLORSPACE_JPEG | COLORSPACE_SRGB => primaries::BT709,
            COLORSPACE_470_SYSTEM_M => primaries::BT470_SYSTEM_M,
            COLORSPACE_470_SYSTEM_BG => primaries::BT470_SYSTEM_BG,
            COLORSPACE_BT2020 => primaries::BT2020,
            COLORSPACE_DCI_P3 => primaries::DCI_P3,
            // H.273 has no opRGB.
            _ => UNSPECIFIED,
        }
    }

    fn transfer(self) -> u8 {
        // `V4L2_MAP_XFER_FUNC_DEFAULT`.
        let xfer_func = match (self.xfer_func, self.colorspace) {
            (XFER_FUNC_DEFAULT, COLORSPACE_RAW) => return UNSPECIFIED,
            (XFER_FUNC_DEFAULT, COLORSPACE_OPRGB) => XFER_FUNC_OPRGB,
            (XFER_FUNC_DEFAULT, COLORSPACE_SMPTE240M) => XFER_FUNC_SMPTE240M,
            (XFER_FUNC_DEFAULT, COLORSPACE_DCI_P3) => XFER_FUNC_DCI_P3,
            (XFER_FUNC_DEFAULT, COLORSPACE_SRGB | COLORSPACE_JPEG) => XFER_FUNC_SRGB,
            (XFER_FUNC_DEFAULT, _) => XFER_FUNC_709,
            (stated, _) => stated,
        };
        match (xfer_func, self.colorspace) {
            // One curve under several numbers: players expect that of the standard.
            (XFER_FUNC_709, COLORSPACE_SMPTE170M | COLORSPACE_BT878) => transfer::BT601,
            (XFER_FUNC_709, COLORSPACE_BT2020) => transfer::BT2020_10_BIT,
            (XFER_FUNC_709, _) => transfer::BT709,
            (XFER_FUNC_SRGB, _) => transfer::SRGB,
            (XFER_FUNC_SMPTE240M, _) => transfer::SMPTE240M,
            (XFER_FUNC_NONE, _) => transfer::LINEAR,
            (XFER_FUNC_DCI_P3, _) => transfer::DCI,
            (XFER_FUNC_SMPTE2084, _) => transfer::SMPTE2084,
            _ => UNSPECIFIED,
        }
    }

    fn matrix(self) -> u8 {
        // `V4L2_MAP_YCBCR_ENC_DEFAULT`.
        let ycbcr_enc = match (self.ycbcr_enc, self.colorspace) {
            (YCBCR_ENC_DEFAULT, COLORSPACE_RAW) => return UNSPECIFIED,
            (YCBCR_ENC_DEFAULT, COLORSPACE_REC709 | COLORSPACE_DCI_P3) => YCBCR_ENC_709,
            (YCBCR_ENC_DEFAULT, COLORSPACE_BT2020) => YCBCR_ENC_BT2020,
            (YCBCR_ENC_DEFAULT, COLORSPACE_SMPTE240M) => YCBCR_ENC_SMPTE240M,
            (YCBCR_ENC_DEFAULT, _) => YCBCR_ENC_601,
            (stated, _) => stated,
        };
        match ycbcr_enc {
            YCBCR_ENC_709 | YCBCR_ENC_XV709 => matrix::BT709,
            YCBCR_ENC_BT2020 => matrix::BT2020,
            YCBCR_ENC_BT2020_CONST_LUM => matrix::BT2020_CONSTANT,
            YCBCR_ENC_SMPTE240M => matrix::SMPTE240M,
            _ => matrix::BT601,
        }
    }

    /// `V4L2_MAP_QUANTIZATION_DEFAULT` of Y'CbCr.
    fn full_range(self) -> bool {
        match self.quantization {
            QUANTIZATION_FULL_RANGE => true,
            QUANTIZATION_LIM_RANGE => false,
            _ => self.colorspace == COLORSPACE_JPEG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colorimetry(colorspace: u32, xfer_func: u8, ycbcr_enc: u8, quantization: u8) -> Colorimetry {
        Colorimetry {
            colorspace,
            xfer_func,
            ycbcr_enc,
            quantization,
            unstated: false,
        }
    }

    fn codes(vui: Vui) -> (u8, u8, u8, bool) {
        (vui.primaries, vui.transfer, vui.matrix, vui.full_range)
    }

    #[test]
    fn defaults_derive_from_the_colour_space() {
        for (colorspace, expected) in [
            (COLORSPACE_SMPTE170M, (6, 6, 6, false)),
            (COLORSPACE_SMPTE240M, (7, 7, 7, false)),
            (COLORSPACE_REC709, (1, 1, 1, false)),
            (COLORSPACE_470_SYSTEM_M, (4, 1, 6, false)),
            (COLORSPACE_470_SYSTEM_BG, (5, 1, 6, false)),
            (COLORSPACE_JPEG, (1, 13, 6, true)),
            (COLORSPACE_SRGB, (1, 13, 6, false)),
            (COLORSPACE_OPRGB, (2, 2, 6, false)),
            (COLORSPACE_BT2020, (9, 14, 9, false)),
            (COLORSPACE_RAW, (2, 2, 2, false)),
            (COLORSPACE_DCI_P3, (11, 17, 1, false)),
        ] {
            let of = colorimetry(colorspace, 0, 0, 0);
            assert_eq!(codes(of.vui(false)), expected, "colour space {colorspace}");
        }
    }

    #[test]
    fn what_is_stated_goes_before_the_default() {
        let of = colorimetry(
            COLORSPACE_REC709,
            XFER_FUNC_SRGB,
            YCBCR_ENC_601,
            QUANTIZATION_FULL_RANGE,
        );
        assert_eq!(codes(of.vui(false)), (1, 13, 6, true));
        let of = colorimetry(
            COLORSPACE_JPEG,
            XFER_FUNC_SMPTE2084,
            YCBCR_ENC_BT2020_CONST_LUM,
            QUANTIZATION_LIM_RANGE,
        );
        assert_eq!(codes(of.vui(false)), (1, 16, 10, false));
        // Of a client that states its range alone nothing else is claimed.
        let of = colorimetry(COLORSPACE_RAW, 0, 0, QUANTIZATION_FULL_RANGE);
        assert_eq!(codes(of.vui(false)), (2, 2, 2, true));
    }

    fn pix(colorspace: u32, quantization: u8) -> PixFormatMplane {
        PixFormatMplane {
            colorspace,
            quantization,
            ..Default::default()
        }
    }

    #[test]
    fn an_answer_that_is_sent_back_states_nothing() {
        let initial = Colorimetry::INITIAL;
        let answered = Colorimetry::of(&pix(0, 0), initial, false);
        assert_eq!(answered.colorspace, COLORSPACE_REC709);
        for (asked, before, echo, stated) in [
            (pix(0, 0), initial, false, false),
            (pix(COLORSPACE_RAW, 0), initial, false, false),
            (pix(COLORSPACE_REC709, 0), initial, false, true),
            (pix(COLORSPACE_REC709, 0), initial, true, false),
            (pix(COLORSPACE_REC709, 0), answered, false, false),
            (pix(COLORSPACE_REC709, 1), answered, false, true),
            (pix(COLORSPACE_SMPTE170M, 0), answered, true, true),
            (pix(99, 1), answered, false, false),
        ] {
            let of = Colorimetry::of(&asked, before, echo);
            assert_eq!(of.unstated, !stated, "{asked:?} after {before:?}, {echo}");
            assert_eq!(of.vui(false).primaries == UNSPECIFIED, !stated);
            assert_eq!(
                of.vui(false).full_range,
                asked.quantization == QUANTIZATION_FULL_RANGE
            );
        }
    }

    #[test]
    fn rgb_becomes_limited_range_with_a_matrix_that_is_named() {
        for quantization in 0..=2 {
            let of = colorimetry(COLORSPACE_SRGB, 0, 0, quantization);
            assert_eq!(codes(of.vui(true)), (1, 13, 6, false));
            let of = colorimetry(COLORSPACE_RAW, 0, 0, quantization);
            assert_eq!(codes(of.vui(true)), (2, 2, 1, false));
            let of = colorimetry(
                COLORSPACE_BT2020,
                0,
                YCBCR_ENC_BT2020_CONST_LUM,
                quantization,
            );
            assert_eq!(codes(of.vui(true)), (9, 14, 9, false));
        }
    }
}
