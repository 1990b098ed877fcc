// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Buffers and sessions that no sane program asks for, or uses so.

mod common;

use common::alone;
use common::encoder::{CAPTURE, OUTPUT, WILD, baseline, encoder, encoder_limited, reqbufs, works};
use frontend::Client;
use frontend::stream::{Settings, Stream};
use nix::errno::Errno;
use protocol::wire::ioctl::{self, TABLE};
use protocol::wire::sg::SgEntry;
use protocol::wire::v4l2::*;
use virtio_v4l2d::config::Limits;
use zerocopy::IntoBytes;

#[test]
fn buffer_counts() {
    let _alone = alone();
    let before = baseline();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let session = client.open().unwrap();
    for type_ in [OUTPUT, CAPTURE] {
        for count in WILD {
            match reqbufs(client, session, type_, count) {
                Ok(granted) => assert!(granted <= 64, "{granted} of {count}"),
                Err(errno) => assert_eq!(errno, Errno::ENOMEM),
            }
        }
        reqbufs(client, session, type_, 0).unwrap();
        // As many as one likes, but no more than there may be.
        let mut format = Format {
            type_,
            ..Format::default()
        };
        client.ioctl(session, ioctl::G_FMT, &mut format).unwrap();
        let mut total = 0;
        for round in 0..3000 {
            let mut create = CreateBuffers {
                count: WILD[round % WILD.len()].max(1),
                memory: MEMORY_MMAP,
                format,
                ..CreateBuffers::default()
            };
            match client.ioctl(session, ioctl::CREATE_BUFS, &mut create) {
                Ok(()) => total += create.count,
                Err(errno) => {
                    let documented = [Errno::ENOBUFS, Errno::ENOMEM, Errno::EINVAL];
                    assert!(documented.contains(&errno), "{errno}");
                }
            }
        }
        assert!((1..=64).contains(&total), "{total} buffers");
        for memory in [0, MEMORY_USERPTR, 3, 5, u32::MAX] {
            let mut request = RequestBuffers {
                count: 1,
                type_,
                memory,
                ..RequestBuffers::default()
            };
            // Those types that are not offered; and none while others are there.
            let result = client.ioctl(session, ioctl::REQBUFS, &mut request);
            if memory != MEMORY_USERPTR {
                assert_eq!(result, Err(Errno::EINVAL), "{memory}");
            }
        }
        reqbufs(client, session, type_, 0).unwrap();
    }
    client.close(session);
    works(client);
    pair.end();
    before.assert_back();
}

/// Sizes that no host has: bounded or refused, never taken at the guest's word.
#[test]
fn huge_buffers() {
    let _alone = alone();
    let limits = Limits {
        max_memory: 256 << 20,
        ..Limits::default()
    };
    let mut pair = encoder_limited(limits);
    let client = pair.client.as_mut().unwrap();
    let mut sessions = Vec::new();
    let mut refused = 0;
    for size in [1_u32 << 24, 1 << 28, 1 << 30, u32::MAX] {
        let session = client.open().unwrap();
        sessions.push(session);
        let mut format = Format {
            type_: OUTPUT,
            ..Format::default()
        };
        let mut pix = PixFormatMplane {
            width: u32::MAX,
            height: u32::MAX,
            pixelformat: u32::from_le_bytes(*b"NV12"),
            num_planes: 1,
            ..PixFormatMplane::default()
        };
        format.set_pix_mp(&pix);
        client.ioctl(session, ioctl::S_FMT, &mut format).unwrap();
        match reqbufs(client, session, OUTPUT, 32) {
            Ok(_) => {}
            Err(errno) => {
                assert_eq!(errno, Errno::ENOMEM);
                refused += 1;
            }
        }
        pix = format.pix_mp();
        pix.plane_fmt[0].sizeimage = size;
        format.set_pix_mp(&pix);
        let mut create = CreateBuffers {
            count: 4,
            memory: MEMORY_MMAP,
            format,
            ..CreateBuffers::default()
        };
        if let Err(errno) = client.ioctl(session, ioctl::CREATE_BUFS, &mut create) {
            assert!(
                matches!(errno, Errno::ENOMEM | Errno::EINVAL | Errno::ENOBUFS),
                "{errno}"
            );
            refused += 1;
        }
    }
    assert!(refused > 0, "all of it was granted");
    for session in sessions {
        client.close(session);
    }
    works(client);
}

/// An argument that is right for buffer 0 of the device.
fn good(type_: u32) -> Buffer {
    Buffer {
        type_,
        memory: MEMORY_MMAP,
        length: 1,
        ..Buffer::default()
    }
}

/// Indices, types, numbers of planes and kinds of memory that the buffers of the session have not.
fn wrong_arguments(client: &mut Client, session: u32, code: u32, type_: u32) {
    for index in WILD.into_iter().filter(|index| *index >= 4) {
        let mut buffer = Buffer {
            index,
            ..good(type_)
        };
        let result = client.buffer(session, code, &mut buffer, &mut [Plane::default()], &[]);
        assert_eq!(result, Err(Errno::EINVAL), "index {index:#x}");
    }
    for length in [0, 9] {
        let mut buffer = Buffer {
            length,
            ..good(type_)
        };
        let planes = &mut [Plane::default(); 9][..length as usize];
        let result = client.buffer(session, code, &mut buffer, planes, &[]);
        assert_eq!(result, Err(Errno::EINVAL), "{length} planes");
    }
    for type_ in [0, 1, 2, 8, 11, u32::MAX] {
        let mut buffer = Buffer {
            type_,
            ..good(type_)
        };
        let result = client.buffer(session, code, &mut buffer, &mut [], &[]);
        assert_eq!(result, Err(Errno::EINVAL), "type {type_}");
    }
    if code != ioctl::QUERYBUF {
        for memory in [0, 3, u32::MAX] {
            let mut buffer = Buffer {
                memory,
                ..good(type_)
            };
            let planes = &mut [Plane::default()];
            let result = client.buffer(session, code, &mut buffer, planes, &[]);
            assert_eq!(result, Err(Errno::EINVAL), "memory {memory}");
        }
        // Guest pages and objects for a buffer of the device.
        let lists = SgEntry::new(0, 1 << 20).as_bytes().to_vec();
        for memory in [MEMORY_USERPTR, MEMORY_DMABUF] {
            let mut buffer = Buffer {
                memory,
                ..good(type_)
            };
            let planes = &mut [Plane {
                length: 38016,
                bytesused: 38016,
                ..Plane::default()
            }];
            let result = client.buffer(session, code, &mut buffer, planes, &lists);
            assert_eq!(result, Err(Errno::EINVAL), "memory {memory}");
        }
    }
}

/// Buffers that are not there, planes that do not fit, lengths that are wrong.
#[test]
fn buffers() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let session = client.open().unwrap();
    let settings = Settings::h264(176, 144);
    // None at all.
    for (type_, code) in [
        (OUTPUT, ioctl::QBUF),
        (CAPTURE, ioctl::QUERYBUF),
        (OUTPUT, ioctl::PREPARE_BUF),
    ] {
        let mut buffer = Buffer {
            type_,
            memory: MEMORY_MMAP,
            length: 1,
            ..Buffer::default()
        };
        let result = client.buffer(session, code, &mut buffer, &mut [Plane::default()], &[]);
        assert_eq!(result, Err(Errno::EINVAL));
    }
    let stream = Stream::prepare(client, session, &settings).unwrap();
    for type_ in [OUTPUT, CAPTURE] {
        for code in [ioctl::QUERYBUF, ioctl::QBUF, ioctl::PREPARE_BUF] {
            wrong_arguments(client, session, code, type_);
        }
    }
    // Bytes that are not in the plane.
    let length = stream.output.buffers[0][0].len as u32;
    for (bytesused, data_offset) in [
        (length + 1, 0),
        (u32::MAX, 0),
        (length, length),
        (length, length + 1),
        (100, 100),
        (100, u32::MAX),
        (u32::MAX, u32::MAX),
    ] {
        let mut buffer = good(OUTPUT);
        let planes = &mut [Plane {
            bytesused,
            data_offset,
            length,
            ..Plane::default()
        }];
        let result = client.buffer(session, ioctl::QBUF, &mut buffer, planes, &[]);
        assert_eq!(result, Err(Errno::EINVAL), "{bytesused} from {data_offset}");
    }
    // Twice the same one.
    let mut planes = [Plane::default()];
    client
        .buffer(session, ioctl::QBUF, &mut good(OUTPUT), &mut planes, &[])
        .unwrap();
    let again = client.buffer(session, ioctl::QBUF, &mut good(OUTPUT), &mut planes, &[]);
    assert_eq!(again, Err(Errno::EINVAL));
    // Offsets that are none.
    for offset in WILD {
        let known = stream.known_offset(client, offset);
        let result = client.mmap(session, offset);
        if !known {
            assert_eq!(result, Err(Errno::EINVAL), "offset {offset:#x}");
        }
    }
    // Requests of the media controller are not there.
    let mut buffer = Buffer {
        flags: v4l2r::bindings::V4L2_BUF_FLAG_REQUEST_FD,
        request_fd: 3,
        index: 1,
        ..good(OUTPUT)
    };
    let result = client.buffer(session, ioctl::QBUF, &mut buffer, &mut planes, &[]);
    assert!(result.is_err(), "a request was taken");
    stream.end(client);
    works(client);
}

/// REMOVE_BUFS of what is not there, or in use.
#[test]
fn removals() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let session = client.open().unwrap();
    for type_ in [OUTPUT, CAPTURE, 0, 77] {
        for wild in WILD {
            let mut remove = RemoveBuffers {
                index: wild,
                count: wild,
                type_,
                ..RemoveBuffers::default()
            };
            if let Err(errno) = client.ioctl(session, ioctl::REMOVE_BUFS, &mut remove) {
                assert!(matches!(errno, Errno::EINVAL | Errno::ENOTTY), "{errno}");
            }
            let mut remove = RemoveBuffers {
                index: wild,
                count: (u32::MAX - wild).saturating_add(1),
                type_,
                ..RemoveBuffers::default()
            };
            let _ = client.ioctl(session, ioctl::REMOVE_BUFS, &mut remove);
        }
    }
    works(client);
}

/// Thousands of opens, with and without closing: bounded, and given back.
#[test]
fn opens() {
    let _alone = alone();
    let before = baseline();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    for _ in 0..3000 {
        let session = client.open().unwrap();
        client.close(session);
    }
    let mut open = Vec::new();
    let errno = loop {
        match client.open() {
            Ok(session) => open.push(session),
            Err(errno) => break errno,
        }
        assert!(open.len() < 2000, "there is no limit");
    };
    assert_eq!(errno, Errno::EMFILE);
    for session in &open {
        reqbufs(client, *session, OUTPUT, 1).unwrap();
    }
    client.close(open.pop().unwrap());
    let session = client.open().unwrap();
    client.close(session);
    works(client);
    pair.end();
    before.assert_back();
}

/// What the guest's kernel would never let through: other sessions' IDs after they are closed, with
/// all commands.
#[test]
fn closed_sessions() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let settings = Settings::h264(176, 144);
    let stream = Stream::start(client, &settings).unwrap();
    let session = stream.session;
    stream.end(client);
    for ioctl in TABLE.iter().filter(|ioctl| ioctl.forwarded) {
        let reply = client.ioctl_raw(session, ioctl.code, &vec![0; ioctl.size], &[], &[0; 16]);
        assert_eq!(
            reply.status(),
            Some(common::UNKNOWN_SESSION as u32),
            "{}",
            ioctl.name
        );
    }
    assert_eq!(client.mmap(session, 0), Err(common::UNKNOWN_SESSION));
    client.close(session);
    works(client);
}

/// The bytes of a frame change while the encoder has it: its own pixels are harmed, nothing else.
#[test]
fn a_frame_that_changes() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let settings = Settings::h264(640, 360);
    let mut stream = Stream::start(client, &settings).unwrap();
    let shared = client.link.shared.clone();
    let at: Vec<u64> = stream
        .output
        .buffers
        .iter()
        .map(|planes| planes[0].addr)
        .collect();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let scribbler = std::thread::spawn(move || {
        let mut byte = 0_u8;
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            byte = byte.wrapping_add(41);
            for addr in &at {
                shared.write(*addr, &vec![byte; 640 * 360 * 3 / 2]).unwrap();
            }
        }
    });
    let frame = vec![0x40; 640 * 360 * 3 / 2];
    let frames = [(&frame[..], Timeval::default()); 30];
    let coded = stream.encode(client, frames.into_iter());
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    scribbler.join().unwrap();
    assert_eq!(coded.len(), 30);
    stream.end(client);
    works(client);
}
