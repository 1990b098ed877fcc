// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The size of what follows a payload, for payloads that a guest may make up.

use proptest::prelude::*;
use protocol::wire::ioctl::{self, Attached, AttachedError, Ioctl, TABLE};
use protocol::wire::v4l2::{
    Buffer, Edid, ExtControls, BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE,
};
use zerocopy::IntoBytes;

fn named(code: u32) -> &'static Ioctl {
    ioctl::lookup(code).unwrap()
}

fn planes(type_: u32, length: u32) -> Result<usize, AttachedError> {
    let buffer = Buffer {
        type_,
        length,
        ..Buffer::default()
    };
    named(ioctl::QBUF).array_size(buffer.as_bytes())
}

fn controls(count: u32) -> Result<usize, AttachedError> {
    let header = ExtControls {
        count,
        ..ExtControls::default()
    };
    named(ioctl::S_EXT_CTRLS).array_size(header.as_bytes())
}

fn edid(blocks: u32) -> Result<usize, AttachedError> {
    let header = Edid {
        blocks,
        ..Edid::default()
    };
    named(ioctl::S_EDID).array_size(header.as_bytes())
}

#[test]
fn limits() {
    for type_ in [BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE] {
        assert_eq!(planes(type_, 0), Ok(0));
        assert_eq!(planes(type_, 1), Ok(64));
        assert_eq!(planes(type_, 8), Ok(512));
        assert_eq!(planes(type_, 9), Err(AttachedError::TooMany));
        assert_eq!(planes(type_, u32::MAX), Err(AttachedError::TooMany));
    }
    // The length of a single-planar buffer is in bytes.
    assert_eq!(planes(1, u32::MAX), Ok(0));
    assert_eq!(controls(0), Ok(0));
    assert_eq!(controls(1), Ok(20));
    assert_eq!(controls(1024), Ok(20480));
    assert_eq!(controls(1025), Err(AttachedError::TooMany));
    // 2^32 / 20 and so on: a product in 32 bits would wrap to something small.
    assert_eq!(controls(0x0ccc_cccd), Err(AttachedError::TooMany));
    assert_eq!(controls(u32::MAX), Err(AttachedError::TooMany));
    assert_eq!(edid(0), Ok(0));
    assert_eq!(edid(256), Ok(32768));
    assert_eq!(edid(257), Err(AttachedError::TooMany));
    assert_eq!(edid(0x0200_0001), Err(AttachedError::TooMany));
}

#[test]
fn numbers_outside_the_table() {
    for code in (105..=255).chain([1, 3, 6, 7, 12, 256, 0x8000_0000, u32::MAX]) {
        assert_eq!(ioctl::lookup(code), None, "{code}");
    }
}

proptest! {
    /// No payload makes the array larger than the table's own limits, or the function panic.
    #[test]
    fn bounded(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        for ioctl in TABLE {
            let size = ioctl.array_size(&payload);
            let most = match ioctl.attached {
                Attached::Nothing | Attached::Uuid => 0,
                Attached::Planes => 8 * 64,
                Attached::Controls => 1024 * 20,
                Attached::Edid => 256 * 128,
            };
            match size {
                Ok(size) => prop_assert!(size <= most),
                Err(AttachedError::Short) => prop_assert!(payload.len() < ioctl.size),
                Err(AttachedError::TooMany) => prop_assert!(most > 0),
            }
        }
    }

    /// The count alone decides, whatever else the payload holds.
    #[test]
    fn counted(
        mut payload in proptest::collection::vec(any::<u8>(), 88..=88),
        type_ in 0_u32..16,
        length in prop_oneof![0_u32..12, any::<u32>()],
    ) {
        payload[4..8].copy_from_slice(&type_.to_le_bytes());
        payload[72..76].copy_from_slice(&length.to_le_bytes());
        let expected = match (type_, length) {
            (9 | 10, 0..=8) => Ok(length as usize * 64),
            (9 | 10, _) => Err(AttachedError::TooMany),
            _ => Ok(0),
        };
        prop_assert_eq!(named(ioctl::PREPARE_BUF).array_size(&payload), expected);
    }
}
