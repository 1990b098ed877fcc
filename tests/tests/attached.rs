// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What stands behind payloads, from bytes to typed calls and back: planes, SG lists, UUIDs,
//! controls, EDID blocks.

mod common;

use common::Pair;
use common::bytes::{
    CODES_OF_BUFFERS, CODES_OF_CONTROLS, assert_reply, flip, pair, pattern, response, simple_call,
};
use common::fake::{Call, Fake};
use frontend::{Layout, Reply};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE, Buffer, Edid, ExportBuffer,
    ExtControl, ExtControls, MEMORY_DMABUF, MEMORY_MMAP, MEMORY_USERPTR, Plane,
};
use virtio_v4l2d::device::WireMemory;
use zerocopy::{FromBytes, IntoBytes};

// Buffers.

/// Changes everything in a buffer and its planes, but for what says how they are read.
fn flip_buffer(call: &mut Call) {
    let kept = Buffer::read_from_bytes(&call.payload).unwrap();
    flip(&mut call.payload);
    flip(&mut call.array);
    let changed = Buffer::mut_from_bytes(&mut call.payload).unwrap();
    changed.type_ = kept.type_;
    changed.memory = kept.memory;
    changed.length = kept.length;
}

fn buffer(type_: u32, memory: u32, length: u32) -> Buffer {
    let mut buffer = Buffer::read_from_bytes(&pattern(memory, 88)).unwrap();
    buffer.type_ = type_;
    buffer.memory = memory;
    buffer.length = length;
    buffer
}

fn planes(count: usize, length: u32) -> Vec<Plane> {
    (0..count)
        .map(|i| {
            let mut plane = Plane::read_from_bytes(&pattern(90 + i as u32, 64)).unwrap();
            plane.length = length + i as u32;
            plane
        })
        .collect()
}

/// Sends a buffer ioctl; returns the buffer and planes that the device is expected to have made of
/// it, before pointers are put back.
#[track_caller]
fn send_buffer(
    (fake, pair): (&Fake, &mut Pair),
    (session, code): (u32, u32),
    (buffer, planes): (&Buffer, &[Plane]),
    memory: &[u8],
    expected: WireMemory,
) -> (Reply, Buffer, Vec<Plane>) {
    let reply = pair.ioctl_raw(session, code, buffer.as_bytes(), planes.as_bytes(), memory);
    let call = Call {
        session,
        code,
        payload: buffer.as_bytes().to_vec(),
        array: planes.as_bytes().to_vec(),
        memory: expected,
        payloads: Vec::new(),
    };
    assert_eq!(fake.calls(), std::slice::from_ref(&call));
    let mut call = call;
    flip_buffer(&mut call);
    let answered = call
        .array
        .chunks(64)
        .map(|bytes| Plane::read_from_bytes(bytes).unwrap())
        .collect();
    let answer = Buffer::read_from_bytes(&call.payload).unwrap();
    (reply, answer, answered)
}

#[test]
fn multiplanar_buffers_of_the_device() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip_buffer(call);
        Ok(())
    });
    let session = pair.open().unwrap();
    for code in CODES_OF_BUFFERS {
        for count in 0..=8 {
            for type_ in [BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_MPLANE] {
                let sent = buffer(type_, MEMORY_MMAP, count as u32);
                let (reply, mut answer, answered) = send_buffer(
                    (&fake, &mut pair),
                    (session, code),
                    (&sent, &planes(count, 4096)),
                    &[],
                    WireMemory::Nothing,
                );
                // `m.planes` is the driver's pointer; `m.mem_offset` of the planes is the device's
                // to say.
                answer.m = sent.m;
                assert_reply(
                    &reply,
                    &response(0, &[answer.as_bytes(), answered.as_bytes()]),
                );
            }
        }
    }
}

#[test]
fn single_planar_buffers_of_the_device() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip_buffer(call);
        Ok(())
    });
    let session = pair.open().unwrap();
    for code in CODES_OF_BUFFERS {
        // `length` is in bytes here, and no array follows; `m.offset` is the device's to say.
        let sent = buffer(1, MEMORY_MMAP, 3_110_400);
        let (reply, answer, _) = send_buffer(
            (&fake, &mut pair),
            (session, code),
            (&sent, &[]),
            &[],
            WireMemory::Nothing,
        );
        assert_reply(&reply, &response(0, &[answer.as_bytes()]));
    }
}

fn entries(runs: &[(u64, u32)]) -> Vec<SgEntry> {
    runs.iter()
        .map(|&(start, len)| SgEntry::new(start, len))
        .collect()
}

#[test]
fn buffers_of_guest_pages() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip_buffer(call);
        Ok(())
    });
    let session = pair.open().unwrap();
    let lists = [
        // Lengths are 4096, 4097 and 4098: one entry; two; three, the last with more than is
        // needed.
        entries(&[(0x10_0000, 4096)]),
        entries(&[(0x20_0000, 4096), (0x30_0000, 1)]),
        entries(&[(0x40_0001, 1), (0x50_0000, 4096), (0x60_0000, 4096)]),
    ];
    for code in [ioctl::QBUF, ioctl::PREPARE_BUF] {
        let sent = buffer(BUF_TYPE_VIDEO_OUTPUT_MPLANE, MEMORY_USERPTR, 3);
        let sent_planes = planes(3, 4096);
        let (reply, mut answer, mut answered) = send_buffer(
            (&fake, &mut pair),
            (session, code),
            (&sent, &sent_planes),
            lists.concat().as_bytes(),
            WireMemory::Pages(lists.to_vec()),
        );
        // Pointers come back as sent, entries do not come back.
        answer.m = sent.m;
        for (answered, sent) in answered.iter_mut().zip(&sent_planes) {
            answered.m = sent.m;
        }
        assert_reply(
            &reply,
            &response(0, &[answer.as_bytes(), answered.as_bytes()]),
        );

        // Single-planar: one list that covers the buffer's length.
        let sent = buffer(2, MEMORY_USERPTR, 4097);
        let (reply, mut answer, _) = send_buffer(
            (&fake, &mut pair),
            (session, code),
            (&sent, &[]),
            lists[1].as_bytes(),
            WireMemory::Pages(vec![lists[1].clone()]),
        );
        answer.m = sent.m;
        assert_reply(&reply, &response(0, &[answer.as_bytes()]));
    }

    // A plane without length has no entries.
    let mut sent_planes = planes(2, 4096);
    sent_planes[0].length = 0;
    let sent = buffer(BUF_TYPE_VIDEO_OUTPUT_MPLANE, MEMORY_USERPTR, 2);
    send_buffer(
        (&fake, &mut pair),
        (session, ioctl::QBUF),
        (&sent, &sent_planes),
        lists[1].as_bytes(),
        WireMemory::Pages(vec![Vec::new(), lists[1].clone()]),
    );
}

#[test]
fn buffers_of_virtio_objects() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip_buffer(call);
        Ok(())
    });
    let session = pair.open().unwrap();
    let uuids = [Uuid(*b"first plane's id"), Uuid(*b"second plane's i")];
    for code in [ioctl::QBUF, ioctl::PREPARE_BUF] {
        let sent = buffer(BUF_TYPE_VIDEO_CAPTURE_MPLANE, MEMORY_DMABUF, 2);
        let sent_planes = planes(2, 4096);
        let (reply, mut answer, mut answered) = send_buffer(
            (&fake, &mut pair),
            (session, code),
            (&sent, &sent_planes),
            uuids.as_bytes(),
            WireMemory::Objects(uuids.to_vec()),
        );
        answer.m = sent.m;
        for (answered, sent) in answered.iter_mut().zip(&sent_planes) {
            answered.m = sent.m;
        }
        // UUIDs stand in both parts.
        assert_reply(
            &reply,
            &response(
                0,
                &[answer.as_bytes(), answered.as_bytes(), uuids.as_bytes()],
            ),
        );

        let sent = buffer(1, MEMORY_DMABUF, 4096);
        let (reply, mut answer, _) = send_buffer(
            (&fake, &mut pair),
            (session, code),
            (&sent, &[]),
            uuids[..1].as_bytes(),
            WireMemory::Objects(uuids[..1].to_vec()),
        );
        answer.m = sent.m;
        assert_reply(
            &reply,
            &response(0, &[answer.as_bytes(), uuids[..1].as_bytes()]),
        );
    }
}

/// QUERYBUF imports nothing, whatever the buffer's memory is.
#[test]
fn querybuf_imports_nothing() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    for memory in [0, MEMORY_USERPTR, MEMORY_DMABUF, 77] {
        let sent = buffer(BUF_TYPE_VIDEO_OUTPUT_MPLANE, memory, 1);
        let sent_planes = planes(1, 4096);
        let reply = pair.ioctl_raw(
            session,
            ioctl::QUERYBUF,
            sent.as_bytes(),
            sent_planes.as_bytes(),
            &[],
        );
        let expected = [sent.as_bytes(), sent_planes.as_bytes()];
        assert_reply(&reply, &response(0, &expected));
        assert_eq!(fake.calls()[0].memory, WireMemory::Nothing);
    }
}

#[test]
fn exported_buffers() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip(&mut call.payload);
        flip(&mut call.array);
        Ok(())
    });
    let session = pair.open().unwrap();
    let sent = ExportBuffer::read_from_bytes(&pattern(16, 64)).unwrap();
    let uuid = *b"0123456789abcdef";
    let reply = pair.ioctl_raw(session, ioctl::EXPBUF, sent.as_bytes(), &[], &uuid);
    let call = Call {
        array: uuid.to_vec(),
        ..simple_call(session, ioctl::EXPBUF, sent.as_bytes().to_vec())
    };
    assert_eq!(fake.calls(), [call]);
    let mut answer = sent;
    flip(answer.as_mut_bytes());
    // "The device MUST leave the fd placeholder of the V4L2 structure unchanged."
    answer.fd = sent.fd;
    let mut answered = uuid;
    flip(&mut answered);
    assert_reply(&reply, &response(0, &[answer.as_bytes(), &answered]));
}

// Controls.

fn control(id: u32, size: u32) -> ExtControl {
    ExtControl {
        id,
        size,
        reserved2: 0,
        value: [0x1111_0000 | id, 0x2222_0000],
    }
}

fn controls_header(count: usize) -> ExtControls {
    ExtControls {
        which: 0x0098_0000,
        count: count as u32,
        controls: 0xffff_8880_1234_5678,
        request_fd: -1,
        ..ExtControls::default()
    }
}

#[test]
fn extended_controls() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip(&mut call.payload);
        flip(&mut call.array);
        Ok(())
    });
    let session = pair.open().unwrap();
    // One value, one of 5000 bytes in guest pages, one value, one of 3 bytes.
    let sent = [
        control(1, 0),
        control(2, 5000),
        control(3, 0),
        control(4, 3),
    ];
    let lists = [
        entries(&[(0x10_0000, 4096), (0x20_0000, 904)]),
        entries(&[(0x30_0000, 3)]),
    ];
    for code in CODES_OF_CONTROLS {
        let header = controls_header(sent.len());
        let reply = pair.ioctl_raw(
            session,
            code,
            header.as_bytes(),
            sent.as_bytes(),
            lists.concat().as_bytes(),
        );
        let call = Call {
            array: sent.as_bytes().to_vec(),
            payloads: vec![vec![], lists[0].clone(), vec![], lists[1].clone()],
            ..simple_call(session, code, header.as_bytes().to_vec())
        };
        assert_eq!(fake.calls(), [call]);
        let mut answer = header;
        flip(answer.as_mut_bytes());
        answer.controls = header.controls;
        answer.count = header.count;
        let mut answered = sent;
        for (answered, sent) in answered.iter_mut().zip(&sent) {
            flip(answered.as_mut_bytes());
            if sent.size != 0 {
                answered.value = sent.value;
            }
        }
        assert_reply(
            &reply,
            &response(0, &[answer.as_bytes(), answered.as_bytes()]),
        );
    }
}

/// The limit of V4L2 travels whole, in any number of descriptors.
#[test]
fn as_many_controls_as_there_may_be() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        flip(&mut call.array);
        Ok(())
    });
    let session = pair.open().unwrap();
    let sent: Vec<ExtControl> = (0..1024).map(|id| control(id, 0)).collect();
    let mut back = sent.as_bytes().to_vec();
    flip(&mut back);
    for layout in [Layout::Two, Layout::Split(256), Layout::IndirectSplit(200)] {
        pair.layout = layout;
        for count in [0, 1, 1023, 1024] {
            let header = controls_header(count);
            let reply = pair.ioctl_raw(
                session,
                ioctl::S_EXT_CTRLS,
                header.as_bytes(),
                sent[..count].as_bytes(),
                &[],
            );
            let expected = [header.as_bytes(), &back[..20 * count]];
            assert_reply(&reply, &response(0, &expected));
            assert_eq!(fake.calls()[0].array.len(), 20 * count);
        }
    }
}

#[test]
fn error_idx_travels() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    for code in CODES_OF_CONTROLS {
        fake.answer(|call, _| {
            let header = ExtControls::mut_from_bytes(&mut call.payload).unwrap();
            header.error_idx = 1;
            header.controls = 0xdead;
            Err(Errno::ERANGE)
        });
        let mut header = controls_header(2);
        let sent = [control(1, 0), control(2, 0)];
        let mut back = sent;
        let result = pair.ext_controls(session, code, &mut header, &mut back, &[]);
        assert_eq!(result, Err(Errno::ERANGE));
        assert_eq!(header.error_idx, 1);
        assert_eq!(header.controls, controls_header(2).controls);
        assert_eq!(back, sent);
    }
}

#[test]
fn edid_blocks() {
    let (fake, mut pair) = pair();
    fake.answer(|call, _| {
        // Header and blocks come as one.
        flip(&mut call.payload[40..]);
        Edid::mut_from_prefix(&mut call.payload).unwrap().0.edid = 0xdead;
        Ok(())
    });
    let session = pair.open().unwrap();
    for code in [ioctl::G_EDID, ioctl::S_EDID] {
        for blocks in [0, 1, 2, 256] {
            let sent = Edid {
                blocks,
                edid: 0x7fff_0000_1234,
                ..Edid::default()
            };
            let data = pattern(blocks, 128 * blocks as usize);
            let reply = pair.ioctl_raw(session, code, sent.as_bytes(), &data, &[]);
            let whole = [sent.as_bytes(), &data].concat();
            assert_eq!(fake.calls(), [simple_call(session, code, whole)]);
            let mut back = data;
            flip(&mut back);
            assert_reply(&reply, &response(0, &[sent.as_bytes(), &back]));
        }
    }
}
