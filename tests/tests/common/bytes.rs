// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Bytes that are sent, and bytes that are expected.

use std::sync::Arc;

use frontend::Reply;
use protocol::wire::ioctl;
use virtio_v4l2d::device::WireMemory;

use super::Pair;
use super::fake::{Call, Fake};

pub const CODES_OF_BUFFERS: [u32; 3] = [ioctl::QUERYBUF, ioctl::QBUF, ioctl::PREPARE_BUF];
pub const CODES_OF_CONTROLS: [u32; 3] =
    [ioctl::G_EXT_CTRLS, ioctl::S_EXT_CTRLS, ioctl::TRY_EXT_CTRLS];

pub fn flip(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = !*byte;
    }
}

/// Bytes that differ by place and by `seed`, and hold no long run of zeros.
pub fn pattern(seed: u32, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| {
            (i as u32)
                .wrapping_mul(167)
                .wrapping_add(seed)
                .wrapping_add(1) as u8
        })
        .collect()
}

/// A response of header, then `rest`.
pub fn response(status: u32, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = status.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    for part in rest {
        bytes.extend_from_slice(part);
    }
    bytes
}

#[track_caller]
pub fn assert_reply(reply: &Reply, expected: &[u8]) {
    assert_eq!(reply.written(), expected);
}

pub fn simple_call(session: u32, code: u32, payload: Vec<u8>) -> Call {
    Call {
        session,
        code,
        payload,
        array: Vec::new(),
        memory: WireMemory::Nothing,
        payloads: Vec::new(),
    }
}

pub fn pair() -> (Fake, Pair) {
    let fake = Fake::default();
    let pair = Pair::new(Arc::new(fake.clone()));
    (fake, pair)
}
