// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Guests that mean no good, at a device of the host: no panic, no pointer of theirs in the host's
//! kernel, nothing that stays.

mod common;

use common::encoder::config;
use common::leaks::Holdings;
use common::proxy::*;
use frontend::stream::Memory;
use frontend::{Buffers, Layout};
use nix::errno::Errno;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::wire::ioctl::{self, TABLE};
use protocol::wire::sg::SgEntry;
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE, Buffer, EVENT_CTRL, ExtControl, ExtControls, FIELD_NONE, Format,
    MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Plane,
};
use virtio_v4l2d::config::Limits;
use zerocopy::IntoBytes;

/// Never at random: they wait for hardware, or change it for good.
const NOT_AT_RANDOM: [u32; 1] = [ioctl::S_HW_FREQ_SEEK];

#[derive(Clone, Debug)]
struct RandomCall {
    code: u32,
    words: Vec<u32>,
    memory: Vec<u32>,
    cut: usize,
    layout: Layout,
}

fn words(most: usize) -> impl Strategy<Value = Vec<u32>> {
    let word = prop_oneof![
        6 => 0_u32..16,
        1 => select(vec![
            31, 32, 64, 255, 640, 360, 4096, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX,
        ]),
        1 => select(vec![0x5659_5559, 0x3231_564e, 0x0098_0900, 0x0099_09cf, 0x7fff]),
        1 => any::<u32>(),
    ];
    vec(word, 0..most)
}

fn calls() -> impl Strategy<Value = RandomCall> {
    let codes: Vec<u32> = TABLE
        .iter()
        .map(|ioctl| ioctl.code)
        .filter(|code| !NOT_AT_RANDOM.contains(code))
        .collect();
    // Those with memory and pointers more often.
    let pointers = vec![
        ioctl::QBUF,
        ioctl::PREPARE_BUF,
        ioctl::QUERYBUF,
        ioctl::REQBUFS,
        ioctl::CREATE_BUFS,
        ioctl::G_EXT_CTRLS,
        ioctl::S_EXT_CTRLS,
        ioctl::TRY_EXT_CTRLS,
        ioctl::S_FMT,
        ioctl::TRY_FMT,
        ioctl::G_EDID,
        ioctl::S_EDID,
        ioctl::STREAMON,
        ioctl::EXPBUF,
    ];
    (
        prop_oneof![4 => select(codes), 4 => select(pointers), 1 => any::<u32>()],
        words(64),
        words(64),
        prop_oneof![6 => Just(0_usize), 1 => 0_usize..64],
        select(vec![
            Layout::Two,
            // An answer takes a hundred of the ring's 256 descriptors.
            Layout::Split(256),
            Layout::IndirectSplit(33),
        ]),
    )
        .prop_map(|(code, words, memory, cut, layout)| RandomCall {
            code,
            words,
            memory,
            cut,
            layout,
        })
}

fn send(both: &mut Both, call: &RandomCall) {
    let mut body = call.words.as_bytes().to_vec();
    if let Some(ioctl) = ioctl::lookup(call.code) {
        body.resize(ioctl.size.saturating_sub(call.cut), 0);
    }
    body.extend(call.memory.as_bytes());
    let header = protocol::wire::command::CmdIoctl::new(both.session, call.code);
    both.pair.layout = call.layout;
    let reply = both
        .pair
        .command(&[header.as_bytes(), &body].concat(), 24_000);
    both.pair.layout = Layout::Two;
    let status = reply.status().expect("no response");
    assert!(status < 134 || status == 524, "status {status}");
    while both.pair.poll_event().is_some() {}
}

fn limits() -> Limits {
    Limits {
        max_memory: 64 << 20,
        ..Limits::default()
    }
}

const NODES: [&str; 6] = [
    "VIVID_CAP",
    "VIVID_OUT",
    "VIVID_VBI_CAP",
    "VIVID_RADIO_RX",
    "VICODEC_ENC",
    "VICODEC_DEC",
];

proptest! {
    #![proptest_config(config(25))]

    #[test]
    #[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
    fn random_calls(calls in vec(calls(), 1..120), name in select(NODES.to_vec())) {
        let mut both = Both::open_with(name, &[], limits());
        for call in &calls {
            send(&mut both, call);
        }
        both.works();
        both.end();
    }
}

/// Every field of a buffer that names memory holds what would be a pointer, a file or an offset of
/// the daemon's.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn pointers_in_buffers() {
    let mut both = Both::open("VIVID_CAP");
    both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
    let own = &mut [0u8; 4096];
    let wild = [
        0u64,
        0x1000,
        own.as_mut_ptr() as u64,
        u64::MAX,
        3,
        5,
        0x7fff_ffff_f000,
    ];
    memory_of_another_kind(&mut both, &wild);
    lists_that_do_not_fit(&mut both, &wild, own.as_mut_ptr() as u64);
    assert_eq!(
        own, &[0; 4096],
        "the device wrote to a pointer of the guest's"
    );
    planes_of_a_type_that_has_none(&mut both, own.as_mut_ptr() as u64);
    both.works();
}

/// Buffers of the device, queued as if they were memory of the guest.
fn memory_of_another_kind(both: &mut Both, wild: &[u64]) {
    let session = both.session;
    let mapped =
        Buffers::request(&mut both.pair, session, (VIDEO_CAPTURE, 3, Memory::Mmap)).unwrap();
    let length = mapped.lengths[0][0];
    for memory in [MEMORY_USERPTR, MEMORY_DMABUF, 3, 0, u32::MAX] {
        for m in wild.iter().copied() {
            let mut buffer = Buffer {
                memory,
                m,
                length,
                type_: VIDEO_CAPTURE,
                ..Buffer::default()
            };
            for list in [&[][..], SgEntry::new(0x1000, length).as_bytes(), &[7; 16]] {
                let result = both
                    .pair
                    .buffer(session, ioctl::QBUF, &mut buffer, &mut [], list);
                assert!(result.is_err(), "memory {memory}, m {m:#x}");
            }
        }
    }
    mapped.free(&mut both.pair).unwrap();
}

/// SG lists that are wrong, and pointers beside a good one.
fn lists_that_do_not_fit(both: &mut Both, wild: &[u64], own: u64) {
    let session = both.session;
    let imported =
        Buffers::request(&mut both.pair, session, (VIDEO_CAPTURE, 3, Memory::InARow)).unwrap();
    let length = imported.lengths[0][0];
    let end = both.pair.link.memory.end();
    for (entries, what) in [
        (vec![SgEntry::new(end, length)], "behind the guest's memory"),
        (vec![SgEntry::new(own, length)], "the daemon's address"),
        (
            vec![SgEntry::new(0x1000, length - 1)],
            "one byte too little",
        ),
        (
            vec![
                SgEntry::new(0x1000, 100),
                SgEntry::new(0x5000, length - 100),
            ],
            "a hole in a page",
        ),
        (
            vec![SgEntry::new(u64::MAX - 4095, length)],
            "around the end of numbers",
        ),
        (Vec::new(), "nothing"),
    ] {
        for m in wild.iter().copied() {
            let mut buffer = Buffer {
                memory: MEMORY_USERPTR,
                m,
                length,
                type_: VIDEO_CAPTURE,
                ..Buffer::default()
            };
            let list = entries.as_bytes();
            let result = both
                .pair
                .buffer(session, ioctl::QBUF, &mut buffer, &mut [], list);
            assert!(
                matches!(result, Err(Errno::EINVAL | Errno::EFAULT)),
                "{what}: {result:?}"
            );
        }
    }
    // The pointer that stands in a good one is nobody's business.
    for m in wild.iter().copied() {
        let index = 0;
        let mut buffer = Buffer {
            index,
            memory: MEMORY_USERPTR,
            m,
            length,
            type_: VIDEO_CAPTURE,
            field: FIELD_NONE,
            ..Buffer::default()
        };
        let list = imported.pages[0][0].as_bytes();
        both.pair
            .buffer(session, ioctl::QBUF, &mut buffer, &mut [], list)
            .unwrap();
        assert_eq!(buffer.m, m, "it comes back as it was sent");
        both.pair
            .ioctl(session, ioctl::STREAMOFF, &mut 1u32)
            .unwrap();
    }
}

fn planes_of_a_type_that_has_none(both: &mut Both, own: u64) {
    let session = both.session;
    let mut buffer = Buffer {
        type_: BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        length: 8,
        memory: MEMORY_MMAP,
        m: 0x1000,
        ..Buffer::default()
    };
    let mut planes = [Plane {
        m: own,
        length: 4096,
        ..Plane::default()
    }; 8];
    for code in [ioctl::QUERYBUF, ioctl::QBUF, ioctl::PREPARE_BUF] {
        assert!(
            both.pair
                .buffer(session, code, &mut buffer, &mut planes, &[])
                .is_err()
        );
    }
}

/// Formats of overlays hold pointers: they come back as nothing, and none is followed.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn pointers_in_formats() {
    for name in ["VIVID_CAP", "VIVID_OUT"] {
        let mut both = Both::open(name);
        let session = both.session;
        for type_ in [3, 8] {
            for code in [ioctl::G_FMT, ioctl::TRY_FMT, ioctl::S_FMT] {
                let mut format = Format {
                    type_,
                    fmt: [0x41; 200],
                    ..Format::default()
                };
                // struct v4l2_window: clips, clipcount, bitmap.
                format.fmt[32..36].copy_from_slice(&2048u32.to_ne_bytes());
                if both.pair.ioctl(session, code, &mut format).is_ok() {
                    let pointers = [&format.fmt[24..32], &format.fmt[40..48]];
                    assert_eq!(pointers, [&[0; 8]; 2], "{name}: pointers of the daemon");
                }
            }
        }
        both.works();
    }
}

/// As many sessions, buffers and subscriptions as there may be, and then all gone at once.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn all_that_one_may_have() {
    let mut both = Both::open_with(
        "VICODEC_ENC",
        &[],
        Limits {
            max_sessions: 20,
            ..limits()
        },
    );
    let mut before = None;
    for round in 0..4 {
        let mut sessions = Vec::new();
        while let Ok(session) = both.pair.open() {
            let _ = both.pair.reqbufs(session, (VIDEO_OUTPUT, 32, MEMORY_MMAP));
            for id in 0..40 {
                let mut wanted = protocol::wire::v4l2::EventSubscription {
                    type_: EVENT_CTRL,
                    id: 0x0098_0900 + id,
                    ..Default::default()
                };
                let _ = both
                    .pair
                    .ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut wanted);
            }
            sessions.push(session);
        }
        assert_eq!(sessions.len(), 19);
        for session in sessions {
            both.pair.close(session);
        }
        if round == 1 {
            before = Some(Holdings::now());
        }
    }
    before.unwrap().assert_back();
    both.works();
}

/// Counts of controls that lie. What the codec of the transport refuses is in `hostile.rs`.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn counts_of_controls() {
    let mut both = Both::open("VIVID_CAP");
    let session = both.session;
    for count in [1u32, 2, 1024] {
        let header = ExtControls {
            count,
            controls: 0x4141_4141_0000,
            ..ExtControls::default()
        };
        let one = ExtControl {
            id: 0x0098_0900,
            ..ExtControl::default()
        };
        let list = vec![one; count as usize];
        for code in [ioctl::G_EXT_CTRLS, ioctl::TRY_EXT_CTRLS, ioctl::S_EXT_CTRLS] {
            let reply = both
                .pair
                .ioctl_raw(session, code, header.as_bytes(), list.as_bytes(), &[]);
            let back = reply.written().get(8 + 24..8 + 32).unwrap();
            assert_eq!(
                back,
                header.controls.to_le_bytes(),
                "the pointer comes back as it was"
            );
            // One too few.
            let reply =
                both.pair
                    .ioctl_raw(session, code, header.as_bytes(), list[1..].as_bytes(), &[]);
            assert_eq!(reply.status(), Some(Errno::EINVAL as u32));
        }
    }
    both.works();
}

/// What the allow-list does not name cannot be called, or set.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn allow_list() {
    let settings = [
        (
            "ioctls",
            "ENUM_FMT+G_FMT+S_FMT+REQBUFS+QUERYBUF+QBUF+STREAMON+STREAMOFF+QUERY_EXT_CTRL+\
             G_EXT_CTRLS+S_EXT_CTRLS",
        ),
        ("controls", "brightness+0x00980901"),
    ];
    let mut both = Both::open_with("VIVID_CAP", &settings, Limits::default());
    let session = both.session;
    both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
    let buffers = Buffers::streaming(&mut both.pair, session, (VIDEO_CAPTURE, 3, Memory::Mmap));
    buffers.next(&mut both.pair);
    for code in [
        ioctl::S_INPUT,
        ioctl::ENUMINPUT,
        ioctl::S_PARM,
        ioctl::CREATE_BUFS,
        ioctl::SUBSCRIBE_EVENT,
    ] {
        let size = ioctl::lookup(code).unwrap().size;
        let reply = both.pair.ioctl_raw(session, code, &vec![0; size], &[], &[]);
        let status = reply.status().unwrap();
        assert!(
            [Errno::EPERM as u32, Errno::ENOTTY as u32].contains(&status),
            "{code}: {status}"
        );
    }
    let mut set = |id: u32| {
        let mut one = ExtControl {
            id,
            ..ExtControl::default()
        };
        one.set_value(100);
        let mut header = ExtControls::default();
        both.pair
            .ext_controls(session, ioctl::S_EXT_CTRLS, &mut header, &mut [one], &[])
    };
    assert_eq!((set(0x0098_0900), set(0x0098_0901)), (Ok(()), Ok(())));
    assert!(set(0x0098_0902).is_err(), "saturation is not on the list");
    both.works();
}
