// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The table of codecs and of the elements that encode them.
//!
//! One row per codec: V4L2 format ↔ caps ↔ controls ↔ elements in order of preference ↔ what each
//! element's properties are made of. A new codec, element or property is a row.

mod h264;
mod hardware;
mod names;
mod row;
mod rows;

pub(super) use row::{Colours, Property, When};
pub use row::{Element, Footprint, Row};
pub use rows::ROWS;

/// The codec that options call `name`.
///
/// # Errors
///
/// There is none: the message has those that there are.
pub fn find(name: &str) -> anyhow::Result<&'static Row> {
    ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        anyhow::anyhow!("unknown codec {name:?}; known are {}", names.join(", "))
    })
}

/// What option `preset` may be, for some element.
pub(super) fn presets() -> Vec<&'static str> {
    let mut presets = Vec::new();
    for preset in ROWS
        .iter()
        .flat_map(|row| row.elements)
        .flat_map(|element| element.presets)
    {
        if !presets.contains(preset) {
            presets.push(*preset);
        }
    }
    presets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_differ_in_name_and_format() {
        for row in ROWS {
            let same = |other: &&Row| other.name == row.name || other.fourcc == row.fourcc;
            assert_eq!(ROWS.iter().filter(same).count(), 1);
            assert_eq!(find(row.name).unwrap().fourcc, row.fourcc);
        }
        assert!(find("h263").is_err());
    }

    /// MiB that the first element of each codec took, as `VmHWM` told.
    #[test]
    fn estimates_are_no_less_than_what_was_measured() {
        let measured: [(&str, u32, u32, u32, usize); 12] = [
            ("h264", 1280, 720, 1, 22),
            ("h264", 4096, 2304, 4, 167),
            ("h264", 4096, 2304, 16, 173),
            ("hevc", 176, 144, 1, 9),
            ("hevc", 1280, 720, 1, 54),
            ("hevc", 4096, 2304, 16, 339),
            ("vp8", 1280, 720, 1, 32),
            ("vp8", 4096, 2304, 4, 322),
            ("vp9", 176, 144, 1, 12),
            ("vp9", 1280, 720, 1, 80),
            ("vp9", 4096, 2304, 4, 677),
            ("vp9", 4096, 2304, 16, 747),
        ];
        for (codec, width, height, threads, mib) in measured {
            let estimate = find(codec).unwrap().memory((width, height), threads) >> 20;
            assert!(
                estimate >= mib,
                "{codec} {width}x{height}: {estimate} of {mib}"
            );
        }
        assert_eq!(ROWS[0].memory((u32::MAX, u32::MAX), u32::MAX), usize::MAX);
    }
}
