// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Answers of a device that may lie in every byte, merged into what the driver sent.

use std::mem::offset_of;

use proptest::prelude::*;
use protocol::wire::answer::{merge, Fault};
use protocol::wire::ioctl::{self, lookup, Attached, Ioctl, TABLE};
use protocol::wire::v4l2::{
    Buffer, Edid, ExtControl, ExtControls, Plane, QueryExtCtrl, BUF_TYPE_VIDEO_CAPTURE_MPLANE,
    MEMORY_DMABUF, MEMORY_MMAP,
};
use zerocopy::IntoBytes;

mod writable;

use writable::writable_of;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn named(code: u32) -> &'static Ioctl {
    lookup(code).unwrap()
}

/// Room for the array that `payload` says there is, as the V4L2 core makes it.
fn room(ioctl: &Ioctl, payload: &[u8]) -> usize {
    match ioctl.attached {
        Attached::Uuid => 16,
        _ => ioctl.array_size(payload).unwrap_or(0),
    }
}

/// The names in the table's brackets are those that the C structures have, and each may really be
/// written.
#[test]
fn fields_are_those_of_videodev2() {
    for ioctl in TABLE.iter().filter(|ioctl| ioctl.direction.to_driver()) {
        for buf_type in 0..=15_u32 {
            let is_format = matches!(ioctl.code, ioctl::G_FMT | ioctl::S_FMT | ioctl::TRY_FMT);
            if buf_type > 0 && !is_format {
                break;
            }
            let mut changed = vec![false; ioctl.size];
            for (sent, says) in [(0xff, 0x00), (0xff, 0x01), (0x00, 0xff), (0x00, 0x02)] {
                let mut payload = vec![sent; ioctl.size];
                if is_format {
                    payload[..4].copy_from_slice(&buf_type.to_le_bytes());
                }
                let before = payload.clone();
                let mut array = vec![0; room(ioctl, &payload)];
                let answer = vec![says; ioctl.size + array.len()];
                let _ = merge(ioctl, true, &answer, &mut payload, &mut array);
                for (changed, (before, after)) in
                    changed.iter_mut().zip(before.iter().zip(&payload))
                {
                    *changed |= before != after;
                }
            }
            let mut expected = vec![false; ioctl.size];
            let mut sent = vec![0; ioctl.size];
            if is_format {
                sent[..4].copy_from_slice(&buf_type.to_le_bytes());
            }
            for span in writable_of(ioctl, &sent) {
                expected[span].fill(true);
            }
            for (at, (changed, expected)) in changed.iter().zip(&expected).enumerate() {
                assert_eq!(
                    changed, expected,
                    "{} type {buf_type}, byte {at}",
                    ioctl.name
                );
            }
        }
    }
}

/// A random payload, often one whose count is small and whose type exists.
fn payloads() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let index = 0..TABLE.len();
    let tame = (0_u32..16, 0_u32..10, 0_u32..5);
    (index, any::<Vec<u8>>(), any::<u64>(), tame).prop_map(|(index, noise, seed, tame)| {
        let ioctl = &TABLE[index];
        let mut payload = noise_of(ioctl.size, &noise, seed);
        let (buf_type, count, memory) = tame;
        let mut set = |at: usize, value: u32| {
            if let Some(place) = payload.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        };
        match ioctl.attached {
            Attached::Planes => {
                set(offset_of!(Buffer, type_), buf_type);
                set(offset_of!(Buffer, length), count);
                set(offset_of!(Buffer, memory), memory);
            }
            Attached::Controls => set(offset_of!(ExtControls, count), count),
            Attached::Edid => set(offset_of!(Edid, blocks), count),
            Attached::Nothing | Attached::Uuid => set(0, buf_type),
        }
        (index, payload)
    })
}

/// `len` bytes that depend on `noise` and `seed`.
fn noise_of(len: usize, noise: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.get(at).copied().unwrap_or((state >> 24) as u8)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever the device answers, in whatever length: what it may not write does not change, and
    /// counts stay within what was sent.
    #[test]
    fn nothing_else_changes(
        (index, sent) in payloads(),
        succeeded in any::<bool>(),
        noise in any::<Vec<u8>>(),
        seed in any::<u64>(),
        cut in prop_oneof![Just(0_usize), 0_usize..700, Just(usize::MAX)],
        extra in prop_oneof![Just(0_usize), 0_usize..40],
    ) {
        let ioctl = &TABLE[index];
        let array_sent = noise_of(room(ioctl, &sent), &noise, seed ^ 0x5555);
        let all = sent.len() + array_sent.len() + extra;
        let answer = noise_of(all.saturating_sub(cut), &noise, seed);
        let (mut payload, mut array) = (sent.clone(), array_sent.clone());
        let result = merge(ioctl, succeeded, &answer, &mut payload, &mut array);

        let spans = writable_of(ioctl, &sent);
        for at in 0..sent.len() {
            if !spans.iter().any(|span| span.contains(&at)) {
                prop_assert_eq!(payload[at], sent[at], "{} byte {}", ioctl.name, at);
            }
        }
        if !ioctl.direction.to_driver() || (!succeeded && !ioctl.answers_failure()) {
            prop_assert_eq!(&payload, &sent);
            prop_assert_eq!(&array, &array_sent);
        }
        if !succeeded {
            prop_assert_eq!(result, Ok(()));
        }
        match ioctl.attached {
            Attached::Planes => {
                let multiplanar = ioctl.pointer(&sent).is_some();
                if multiplanar {
                    prop_assert!(word(&payload, 72) <= word(&sent, 72));
                }
                for (ours, sent) in array.chunks(64).zip(array_sent.chunks(64)) {
                    prop_assert_eq!(&ours[20..], &sent[20..]);
                    if word(&payload, 60) != MEMORY_MMAP {
                        prop_assert_eq!(&ours[8..16], &sent[8..16]);
                    }
                }
            }
            Attached::Controls => {
                let count = word(&sent, 4);
                prop_assert!(word(&payload, 8) <= count.max(word(&sent, 8)));
                for (ours, sent) in array.chunks(20).zip(array_sent.chunks(20)) {
                    prop_assert_eq!(&ours[..4], &sent[..4], "id");
                    prop_assert_eq!(&ours[8..12], &sent[8..12], "reserved");
                    let gets = ioctl.code == ioctl::G_EXT_CTRLS;
                    if !succeeded {
                        prop_assert_eq!(&ours[12..], &sent[12..], "value or pointer");
                        prop_assert!(word(ours, 4) == word(sent, 4) || gets, "size");
                    } else if word(sent, 4) == 0 {
                        prop_assert_eq!(word(ours, 4), 0, "size");
                    } else {
                        prop_assert_eq!(&ours[12..], &sent[12..], "pointer");
                        prop_assert!(word(ours, 4) == word(sent, 4) || gets, "size");
                        prop_assert!(word(ours, 4) <= word(sent, 4), "size");
                    }
                }
            }
            Attached::Edid => {
                let asked = word(&sent, 8);
                let most = if asked == 0 { 256 } else { asked };
                prop_assert!(word(&payload, 8) <= most);
                if ioctl.code == ioctl::S_EDID {
                    prop_assert_eq!(&array, &array_sent);
                }
            }
            Attached::Nothing | Attached::Uuid => {}
        }
    }
}

fn querybuf(planes: u32, answer: &[u8]) -> (Result<(), Fault>, Buffer, [Plane; 8]) {
    let mut buffer = Buffer {
        index: 3,
        type_: BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        memory: MEMORY_MMAP,
        m: 0x1234_5678_9abc_def0,
        length: planes,
        ..Buffer::default()
    };
    let mut array = [Plane::default(); 8];
    let result = {
        let array = &mut array.as_mut_bytes()[..planes as usize * 64];
        let payload = buffer.as_mut_bytes();
        merge(named(ioctl::QUERYBUF), true, answer, payload, array)
    };
    (result, buffer, array)
}

fn answered(length: u32, planes: &[Plane]) -> Vec<u8> {
    let buffer = Buffer {
        index: 77,
        type_: 1,
        memory: 4,
        m: u64::MAX,
        length,
        sequence: 9,
        ..Buffer::default()
    };
    [buffer.as_bytes(), planes.as_bytes()].concat()
}

fn plane(length: u32) -> Plane {
    Plane {
        length,
        m: 0x4000,
        ..Plane::default()
    }
}

#[test]
fn fewer_planes_than_room() {
    let (result, buffer, planes) = querybuf(8, &answered(2, &[plane(100), plane(50)]));
    assert_eq!(result, Ok(()));
    assert_eq!((buffer.length, buffer.sequence), (2, 9));
    assert_eq!((buffer.index, buffer.type_, buffer.memory), (3, 9, 1));
    assert_eq!(buffer.m, 0x1234_5678_9abc_def0);
    assert_eq!(planes[..2], [plane(100), plane(50)]);
    assert_eq!(planes[2..], [Plane::default(); 6]);
    // More elements than there are planes: those are of no interest.
    let (result, buffer, planes) = querybuf(8, &answered(1, &[plane(100); 8]));
    assert_eq!((result, buffer.length), (Ok(()), 1));
    assert_eq!(planes[1..], [Plane::default(); 7]);
}

#[test]
fn elements_are_whole_and_as_many_as_promised() {
    let two = answered(2, &[plane(100), plane(50)]);
    let cut = &two[..two.len() - 1];
    assert_eq!(querybuf(8, cut).0, Err(Fault::Cut));
    assert_eq!(querybuf(8, &two[..88 + 64]).0, Err(Fault::Cut));
    assert_eq!(querybuf(8, &answered(1, &[])).0, Err(Fault::Cut));
    assert_eq!(querybuf(8, &two[..87]).0, Err(Fault::NoPayload));
    assert_eq!(querybuf(8, &[]).0, Err(Fault::NoPayload));
    assert_eq!(querybuf(8, &answered(0, &[])).0, Ok(()));
    assert_eq!(querybuf(1, &two).0, Err(Fault::TooMany));
    assert_eq!(
        querybuf(8, &answered(9, &[plane(1); 8])).0,
        Err(Fault::TooMany)
    );
}

#[test]
fn pointers_of_planes_are_not_the_devices() {
    let mut buffer = Buffer {
        type_: BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        memory: MEMORY_DMABUF,
        length: 1,
        ..Buffer::default()
    };
    let mut array = [Plane {
        m: 42,
        ..Plane::default()
    }];
    let answer = answered(1, &[plane(100)]);
    let ioctl = named(ioctl::QUERYBUF);
    let merged = merge(
        ioctl,
        true,
        &answer,
        buffer.as_mut_bytes(),
        array.as_mut_bytes(),
    );
    assert_eq!(merged, Ok(()));
    assert_eq!((array[0].m, array[0].length), (42, 100));
}

/// Runs an ioctl of two controls, the second of which has its value elsewhere.
fn controls(code: u32, succeeded: bool, answer: &[ExtControl]) -> (ExtControls, [ExtControl; 2]) {
    let mut header = ExtControls {
        which: 7,
        count: 2,
        controls: 0x7fff_0000,
        ..ExtControls::default()
    };
    let control = |id, size| ExtControl {
        id,
        size,
        reserved2: 0,
        value: [id, 0],
    };
    let mut sent = [control(1, 0), control(2, 10)];
    let says = ExtControls {
        which: 1,
        count: 400,
        error_idx: 399,
        request_fd: -5,
        reserved: 6,
        pad: 7,
        controls: u64::MAX,
    };
    let answer = [says.as_bytes(), answer.as_bytes()].concat();
    let (payload, array) = (header.as_mut_bytes(), sent.as_mut_bytes());
    assert_eq!(
        merge(named(code), succeeded, &answer, payload, array),
        Ok(())
    );
    assert_eq!((header.which, header.count, header.request_fd), (7, 2, 0));
    assert_eq!(
        (header.reserved, header.pad, header.controls),
        (0, 0, 0x7fff_0000)
    );
    assert_eq!(header.error_idx, 2);
    (header, sent)
}

#[test]
fn of_controls_only_values() {
    let lie = |size| ExtControl {
        id: 99,
        size,
        reserved2: 98,
        value: [97, 96],
    };
    for code in [ioctl::G_EXT_CTRLS, ioctl::S_EXT_CTRLS, ioctl::TRY_EXT_CTRLS] {
        let gets = code == ioctl::G_EXT_CTRLS;
        let (_, array) = controls(code, true, &[lie(50), lie(50)]);
        assert_eq!(
            (array[0].id, array[0].size, array[0].value),
            (1, 0, [97, 96])
        );
        assert_eq!(
            (array[1].id, array[1].size, array[1].value),
            (2, 10, [2, 0])
        );
        // On failure, how much room is needed.
        let (_, array) = controls(code, false, &[lie(40), lie(50)]);
        let sizes = if gets { [40, 50] } else { [0, 10] };
        assert_eq!(
            (array[0].id, array[0].size, array[0].value),
            (1, sizes[0], [1, 0])
        );
        assert_eq!(
            (array[1].id, array[1].size, array[1].value),
            (2, sizes[1], [2, 0])
        );
        // Fewer than there was room for.
        let (_, array) = controls(code, true, &[lie(0)]);
        assert_eq!(array[0].value, [97, 96]);
        assert_eq!((array[1].size, array[1].value), (10, [2, 0]));
        let (_, array) = controls(code, true, &[lie(0), lie(4)]);
        assert_eq!(array[1].size, if gets { 4 } else { 10 });
    }
}

fn edid(code: u32, succeeded: bool, asked: u32, says: u32, blocks: usize) -> (u32, usize, bool) {
    let mut header = Edid {
        pad: 1,
        start_block: 2,
        blocks: asked,
        reserved: [3; 5],
        edid: 4,
    };
    let lie = Edid {
        pad: 10,
        start_block: 20,
        blocks: says,
        reserved: [30; 5],
        edid: 40,
    };
    let mut array = vec![0; asked as usize * 128];
    let answer = [lie.as_bytes(), &vec![0xaa; blocks * 128]].concat();
    let merged = merge(
        named(code),
        succeeded,
        &answer,
        header.as_mut_bytes(),
        &mut array,
    );
    assert_eq!((header.pad, header.start_block, header.edid), (1, 2, 4));
    assert_eq!(header.reserved, [0; 5]);
    let taken = array.iter().filter(|byte| **byte == 0xaa).count();
    (header.blocks, taken / 128, merged.is_ok())
}

#[test]
fn edid_blocks_are_those_that_were_asked_for() {
    assert_eq!(edid(ioctl::G_EDID, true, 2, 2, 2), (2, 2, true));
    // Fewer than asked for.
    assert_eq!(edid(ioctl::G_EDID, true, 4, 1, 1), (1, 1, true));
    assert_eq!(edid(ioctl::G_EDID, true, 4, 1, 4), (1, 1, true));
    assert_eq!(edid(ioctl::G_EDID, true, 2, 1000, 2), (2, 2, true));
    // How many are there?
    assert_eq!(edid(ioctl::G_EDID, true, 0, 3, 0), (3, 0, true));
    assert_eq!(edid(ioctl::G_EDID, true, 0, u32::MAX, 0), (256, 0, true));
    // It does not have what it promises.
    assert_eq!(edid(ioctl::G_EDID, true, 4, 4, 3), (4, 0, false));
    // E2BIG says how many there may be; what is set comes back as it was sent.
    assert_eq!(edid(ioctl::S_EDID, false, 4, 2, 4), (2, 0, true));
    assert_eq!(edid(ioctl::S_EDID, false, 4, 20, 4), (4, 0, true));
    assert_eq!(edid(ioctl::S_EDID, true, 4, 4, 4), (4, 0, true));
}

fn query(id: u32, says: QueryExtCtrl) -> QueryExtCtrl {
    let mut query = QueryExtCtrl {
        id,
        ..QueryExtCtrl::default()
    };
    let ioctl = named(ioctl::QUERY_EXT_CTRL);
    merge(ioctl, true, says.as_bytes(), query.as_mut_bytes(), &mut []).unwrap();
    query
}

#[test]
fn controls_answer_for_themselves() {
    let says = QueryExtCtrl {
        id: 0x99,
        name: [b'a'; 32],
        nr_of_dims: 400,
        reserved: [1; 32],
        ..QueryExtCtrl::default()
    };
    assert_eq!(query(0x98_0900, says).id, 0x98_0900);
    for next in [0x8000_0000, 0x4000_0000, 0xc098_0900] {
        assert_eq!(query(next, says).id, 0x99);
    }
    let query = query(1, says);
    assert_eq!(query.name[30..], [b'a', 0]);
    assert_eq!(query.nr_of_dims, 4);
    assert_eq!(query.reserved, [0; 32]);
}

/// A UUID is there or not.
#[test]
fn uuid_of_a_buffer() {
    let ioctl = named(ioctl::EXPBUF);
    let answer = [0xee; 64 + 16];
    for (len, expected) in [(80, Ok(())), (79, Err(Fault::Cut)), (64, Err(Fault::Cut))] {
        let (mut payload, mut uuid) = ([0; 64], [0; 16]);
        assert_eq!(
            merge(ioctl, true, &answer[..len], &mut payload, &mut uuid),
            expected
        );
        assert_eq!(payload, [0; 64]);
    }
}
