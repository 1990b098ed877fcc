// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What comes out where nothing is encoded.

use gstreamer as gst;

/// Bytes of the access unit.
pub const SIZE: usize = 256;

/// An access unit of H.264 without a picture: a delimiter, then filler data, which decoders skip.
static UNIT: [u8; SIZE] = {
    let mut unit = [0xff; SIZE];
    let start = [0, 0, 0, 1, 0x09, 0x10, 0, 0, 0, 1, 0x0c];
    let mut at = 0;
    while at < start.len() {
        unit[at] = start[at];
        at += 1;
    }
    unit[SIZE - 1] = 0x80;
    unit
};

/// The access unit that stands in for every coded frame, whatever the codec.
pub fn unit() -> gst::Buffer {
    gst::Buffer::from_slice(UNIT.as_slice())
}
