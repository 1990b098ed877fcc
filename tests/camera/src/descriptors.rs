// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the camera says of itself: USB 2.0 and UVC 1.1 descriptors.

use crate::frames::{DEFAULT_INTERVAL, INTERVALS, SIZES};
use crate::properties::{CAMERA_TERMINAL, PROCESSING_UNIT, bitmap};

/// The interface with the controls.
pub const CONTROL_INTERFACE: u8 = 0;
/// The interface with the stream.
pub const STREAMING_INTERFACE: u8 = 1;
/// The bulk endpoint, towards the host.
pub const ENDPOINT: u8 = 0x81;
const PACKET: u16 = 512;
const OUTPUT_TERMINAL: u8 = 3;

const CS_INTERFACE: u8 = 0x24;
const VIDEO: u8 = 0x0e;
/// The ramp of the names: descriptor indices of the strings.
const STRINGS: [&str; 3] = ["virtio-v4l2 tests", "Test camera", "1"];
const MANUFACTURER: u8 = 1;
const PRODUCT: u8 = 2;
const SERIAL: u8 = 3;

/// The descriptor of this type and index.
pub fn descriptor(kind: u8, index: u8) -> Option<Vec<u8>> {
    match kind {
        1 => Some(device()),
        2 if index == 0 => Some(configuration()),
        3 => string(index),
        _ => None,
    }
}

/// A descriptor, its length before it.
fn with_length(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![content.len() as u8 + 1];
    bytes.extend_from_slice(content);
    bytes
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn device() -> Vec<u8> {
    let mut content = vec![1];
    // USB 2.0; the class is told by the interfaces; 64 bytes on endpoint 0.
    content.extend_from_slice(&[0x00, 0x02, 0xef, 0x02, 0x01, 64]);
    // Vendor and product for tests, version 1.0, one configuration.
    content.extend_from_slice(&[
        0x09,
        0x12,
        0x01,
        0x00,
        0x00,
        0x01,
        MANUFACTURER,
        PRODUCT,
        SERIAL,
        1,
    ]);
    with_length(&content)
}

fn string(index: u8) -> Option<Vec<u8>> {
    let mut content = vec![3];
    if index == 0 {
        // English.
        content.extend_from_slice(&0x0409u16.to_le_bytes());
    } else {
        let text = STRINGS.get(usize::from(index) - 1)?;
        content.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    }
    Some(with_length(&content))
}

fn configuration() -> Vec<u8> {
    let mut body = Vec::new();
    // Two interfaces that are one function.
    body.extend(with_length(&[11, CONTROL_INTERFACE, 2, VIDEO, 3, 0, 0]));
    body.extend(with_length(&[4, CONTROL_INTERFACE, 0, 0, VIDEO, 1, 0, 0]));
    body.extend(control());
    body.extend(with_length(&[4, STREAMING_INTERFACE, 0, 1, VIDEO, 2, 0, 0]));
    body.extend(streaming());
    let [low, high] = PACKET.to_le_bytes();
    body.extend(with_length(&[5, ENDPOINT, 2, low, high, 0]));

    let [low, high] = (body.len() as u16 + 9).to_le_bytes();
    // Two interfaces, configuration 1, self-powered.
    let mut bytes = with_length(&[2, low, high, 2, 1, 0, 0xc0, 0]);
    bytes.extend(body);
    bytes
}

/// A class-specific header: its own fields around the length of all that it heads.
fn headed(kind: u8, before: &[u8], after: &[u8], units: &[u8]) -> Vec<u8> {
    let own = 3 + before.len() + 2 + after.len();
    let mut content = vec![CS_INTERFACE, kind];
    content.extend_from_slice(before);
    content.extend_from_slice(&((own + units.len()) as u16).to_le_bytes());
    content.extend_from_slice(after);
    let mut bytes = with_length(&content);
    bytes.extend_from_slice(units);
    bytes
}

/// Camera terminal, processing unit, output terminal.
fn control() -> Vec<u8> {
    let [a, b, c, _] = bitmap(CAMERA_TERMINAL).to_le_bytes();
    // A camera (0x0201) without lens data.
    let mut units = with_length(&[
        CS_INTERFACE,
        2,
        CAMERA_TERMINAL,
        0x01,
        0x02,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        3,
        a,
        b,
        c,
    ]);
    let [a, b, ..] = bitmap(PROCESSING_UNIT).to_le_bytes();
    units.extend(with_length(&[
        CS_INTERFACE,
        5,
        PROCESSING_UNIT,
        CAMERA_TERMINAL,
        0,
        0,
        2,
        a,
        b,
        0,
        0,
    ]));
    // To the host (0x0101).
    units.extend(with_length(&[
        CS_INTERFACE,
        3,
        OUTPUT_TERMINAL,
        0x01,
        0x01,
        0,
        PROCESSING_UNIT,
        0,
    ]));
    // UVC 1.1, a clock of 1 MHz, one streaming interface.
    let mut after = words(&[1_000_000]);
    after.extend_from_slice(&[1, STREAMING_INTERFACE]);
    headed(1, &[0x10, 0x01], &after, &units)
}

/// Both formats with their sizes.
fn streaming() -> Vec<u8> {
    let sizes = SIZES.len() as u8;
    // sRGB primaries and transfer, the matrix of SMPTE 170M.
    let colour = with_length(&[CS_INTERFACE, 0x0d, 1, 1, 4]);
    let mut units = with_length(&[CS_INTERFACE, 0x06, 1, sizes, 0, 1, 0, 0, 0, 0]);
    units.extend(sizes_of(0x07));
    units.extend_from_slice(&colour);
    let mut yuyv = vec![CS_INTERFACE, 0x04, 2, sizes];
    yuyv.extend_from_slice(b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
    // 16 bits for a pixel.
    yuyv.extend_from_slice(&[16, 1, 0, 0, 0, 0]);
    units.extend(with_length(&yuyv));
    units.extend(sizes_of(0x05));
    units.extend_from_slice(&colour);
    // Two formats, no still pictures, no triggers, no controls.
    headed(
        1,
        &[2],
        &[ENDPOINT, 0, OUTPUT_TERMINAL, 0, 0, 0, 1, 0, 0],
        &units,
    )
}

fn sizes_of(kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, size) in SIZES.iter().enumerate() {
        let length = size.bytes() as u32;
        let rate =
            |interval: u32| (u64::from(length) * 8 * 10_000_000 / u64::from(interval)) as u32;
        let mut content = vec![CS_INTERFACE, kind, index as u8 + 1, 0];
        content.extend(size.width.to_le_bytes());
        content.extend(size.height.to_le_bytes());
        content.extend(words(&[
            rate(INTERVALS[INTERVALS.len() - 1]),
            rate(INTERVALS[0]),
            length,
            DEFAULT_INTERVAL,
        ]));
        content.push(INTERVALS.len() as u8);
        content.extend(words(&INTERVALS));
        bytes.extend(with_length(&content));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type and content of each descriptor; panics where lengths do not add up.
    fn split(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while let [length, kind, ..] = *bytes {
            let (one, rest) = bytes.split_at(length.into());
            found.push((kind, one.to_vec()));
            bytes = rest;
        }
        assert!(bytes.is_empty());
        found
    }

    #[test]
    fn lengths_are_those_of_the_standard() {
        assert_eq!(descriptor(1, 0).unwrap().len(), 18);
        let all = configuration();
        assert_eq!(usize::from(u16::from_le_bytes([all[2], all[3]])), all.len());
        let lengths: Vec<usize> = split(&all).iter().map(|(_, one)| one.len()).collect();
        let frame = 26 + 4 * INTERVALS.len();
        assert_eq!(
            lengths,
            [
                9, 8, 9, 13, 18, 12, 9, 9, 15, 11, frame, frame, 6, 27, frame, frame, 6, 7
            ]
        );
    }

    #[test]
    fn headers_count_what_they_head() {
        let parts = split(&configuration());
        let class: Vec<_> = parts
            .iter()
            .filter(|(kind, _)| *kind == CS_INTERFACE)
            .map(|(_, one)| one)
            .collect();
        let (control, streaming) = class.split_at(4);
        let total = |parts: &[&Vec<u8>]| parts.iter().map(|one| one.len()).sum::<usize>();
        assert_eq!(
            usize::from(u16::from_le_bytes([control[0][5], control[0][6]])),
            total(control)
        );
        assert_eq!(
            usize::from(u16::from_le_bytes([streaming[0][4], streaming[0][5]])),
            total(streaming)
        );
    }

    #[test]
    fn strings_are_there_and_end() {
        assert_eq!(descriptor(3, 0).unwrap(), [4, 3, 9, 4]);
        assert_eq!(descriptor(3, SERIAL).unwrap(), [4, 3, b'1', 0]);
        assert_eq!(descriptor(3, 4), None);
        // No device qualifier, no second configuration.
        assert_eq!((descriptor(6, 0), descriptor(2, 1)), (None, None));
    }
}
