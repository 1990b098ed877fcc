// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What x264 calls code points of ITU-T H.273.

/// Names of code points.
pub(super) struct Names(&'static [(u8, &'static str)]);

impl Names {
    /// The name of `code`; `undef` if it has none.
    pub(super) fn name(&self, code: u8) -> &'static str {
        let Self(names) = self;
        let found = names.iter().find(|(known, _)| *known == code);
        found.map_or("undef", |(_, name)| name)
    }
}

pub(super) const X264_PRIMARIES: Names = Names(&[
    (1, "bt709"),
    (4, "bt470m"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (9, "bt2020"),
    (11, "smpte431"),
]);
pub(super) const X264_TRANSFERS: Names = Names(&[
    (1, "bt709"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (8, "linear"),
    (13, "iec61966-2-1"),
    (14, "bt2020-10"),
    (16, "smpte2084"),
    (17, "smpte428"),
]);
pub(super) const X264_MATRICES: Names = Names(&[
    (1, "bt709"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (9, "bt2020nc"),
    (10, "bt2020c"),
]);
