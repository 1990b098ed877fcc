// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Streams of every kind of node through the proxy: the bytes are the host's, order and ends are a
//! queue's.

mod common;

use std::time::Duration;

use common::leaks::Holdings;
use common::proxy::*;
use frontend::stream::Memory;
use frontend::{Buffers, WireEvent};
use nix::errno::Errno;
use protocol::wire::event::EventDqbuf;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{CreateBuffers, Format, MEMORY_MMAP, RemoveBuffers, is_output};
use virtio_v4l2d::config::Limits;

/// Long enough to say that nothing comes: several frames of vivid.
const QUIET: Duration = Duration::from_millis(300);

/// With a region too small for buffers of ours: the host device makes and exports them.
fn without_arena() -> Limits {
    Limits {
        shm_size: 32 << 20,
        ..Limits::default()
    }
}

/// Has vivid show a picture that does not change.
fn still(both: &Both) {
    v4l2_ctl(&both.path, &["-i", "0"]);
    v4l2_ctl(
        &both.path,
        &[
            "-c",
            "test_pattern=0,osd_text_mode=2,horizontal_movement=3,vertical_movement=3",
        ],
    );
}

/// A frame as v4l2-ctl on the host gets it, in the format that is set.
fn frame_of_host(both: &Both) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("frame");
    let to = format!("--stream-to={}", file.display());
    v4l2_ctl(&both.path, &["--stream-mmap", "--stream-count=1", &to]);
    std::fs::read(file).unwrap()
}

/// Takes `count` buffers and queues each again; what was in them.
#[track_caller]
fn take(both: &mut Both, buffers: &Buffers, count: usize) -> Vec<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for number in 0..count {
        let event = buffers.next(&mut both.pair);
        assert_eq!(event.buffer.sequence, number as u32, "a frame is missing");
        assert_eq!(event.buffer.flags & v4l2r::bindings::V4L2_BUF_FLAG_ERROR, 0);
        frames.push(buffers.data(&both.pair, &event));
        buffers
            .queue(&mut both.pair, event.buffer.index, &[])
            .unwrap();
    }
    frames
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn frames_are_those_of_the_host() {
    for (format, size) in [
        (b"YUYV", (640, 360)),
        (b"NV12", (640, 360)),
        (b"BGR3", (320, 180)),
    ] {
        // And how often the VMM is asked to map something.
        for (memory, limits, maps) in [
            (Memory::Mmap, Limits::default(), 1),
            (Memory::Mmap, without_arena(), 4),
            (Memory::InARow, Limits::default(), 0),
            (Memory::Scattered(0), Limits::default(), 0),
            (Memory::Scattered(128), Limits::default(), 0),
        ] {
            let mut both = Both::open_with("VIVID_CAP", &[], limits);
            still(&both);
            let pix = both.set_format(VIDEO_CAPTURE, format, size);
            let expected = frame_of_host(&both);
            assert_eq!(expected.len(), pix.sizeimage as usize);
            let session = both.session;
            let buffers = Buffers::streaming(&mut both.pair, session, (VIDEO_CAPTURE, 4, memory));
            assert_eq!(both.pair.link.shared.requests().0, maps, "{memory:?}");
            for (number, frame) in take(&mut both, &buffers, 12).into_iter().enumerate() {
                assert!(
                    frame[0] == expected,
                    "{memory:?}: frame {number} is another"
                );
            }
            buffers.streamoff(&mut both.pair).unwrap();
            both.works();
        }
    }
}

/// A queue of each kind of node. Of those that take data, what they take back.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn every_kind_of_node() {
    for (name, type_) in [
        ("VIVID_CAP", VIDEO_CAPTURE),
        ("VIVID_OUT", VIDEO_OUTPUT),
        ("VIVID_VBI_CAP", VBI_CAPTURE),
        ("VIVID_VBI_CAP", SLICED_VBI_CAPTURE),
        ("VIVID_VBI_OUT", VBI_OUTPUT),
        ("VIVID_SDR", SDR_CAPTURE),
        ("VIVID_META_CAP", META_CAPTURE),
        ("VIVID_META_OUT", META_OUTPUT),
        ("VIVID_TOUCH", VIDEO_CAPTURE),
    ] {
        for memory in [Memory::Mmap, Memory::Scattered(0)] {
            let mut both = Both::open(name);
            let session = both.session;
            if name == "VIVID_VBI_CAP" {
                // One that has a standard.
                both.pair.ioctl(session, ioctl::S_INPUT, &mut 1u32).unwrap();
            }
            if name == "VIVID_VBI_OUT" || name == "VIVID_OUT" {
                both.pair
                    .ioctl(session, ioctl::S_OUTPUT, &mut 0u32)
                    .unwrap();
            }
            let mut format = Format {
                type_,
                ..Format::default()
            };
            both.pair.ioctl(session, ioctl::G_FMT, &mut format).unwrap();
            both.pair.ioctl(session, ioctl::S_FMT, &mut format).unwrap();
            let request = (type_, 4, memory);
            let mut buffers = Buffers::request(&mut both.pair, session, request)
                .unwrap_or_else(|errno| panic!("{name}, type {type_}, {memory:?}: {errno}"));
            let output = is_output(type_);
            let used = |index: u32| {
                if output {
                    vec![buffers.lengths[index as usize][0] as usize]
                } else {
                    Vec::new()
                }
            };
            for index in 0..buffers.count() {
                buffers.queue(&mut both.pair, index, &used(index)).unwrap();
            }
            buffers.streamon(&mut both.pair).unwrap();
            for _ in 0..10 {
                let event = buffers.next(&mut both.pair);
                let data = buffers.data(&both.pair, &event);
                // Nothing may be in the lines, and nobody need touch.
                let always = !output && type_ != SLICED_VBI_CAPTURE && name != "VIVID_TOUCH";
                let some = data[0].iter().any(|byte| *byte != 0);
                assert!(some || !always, "{name}: nothing in it");
                let index = event.buffer.index;
                buffers.queue(&mut both.pair, index, &used(index)).unwrap();
            }
            buffers.streamoff(&mut both.pair).unwrap();
            buffers.unmap(&mut both.pair).unwrap();
            buffers.free(&mut both.pair).unwrap();
            both.works();
            both.end();
        }
    }
}

/// Nothing of a queue comes after the answer to STREAMOFF, and the stream begins anew.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn stopped_in_mid_stream() {
    let mut both = Both::open("VIVID_CAP");
    still(&both);
    both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
    let session = both.session;
    let buffers =
        Buffers::request(&mut both.pair, session, (VIDEO_CAPTURE, 4, Memory::Mmap)).unwrap();
    for _ in 0..20 {
        buffers.queue_all(&mut both.pair).unwrap();
        buffers.streamon(&mut both.pair).unwrap();
        let first = buffers.next(&mut both.pair);
        assert_eq!(first.buffer.sequence, 0);
        buffers.streamoff(&mut both.pair).unwrap();
        // Those that came before it.
        while both.pair.poll_event().is_some() {}
    }
    assert!(
        both.pair.wait_event(QUIET).is_none(),
        "a buffer after STREAMOFF"
    );
    both.works();
}

/// Whoever closes takes all with it: the next one streams at once.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn closed_with_all_queued() {
    let mut both = Both::open("VIVID_CAP");
    let format = (b"YUYV", (640, 360));
    let mut before = None;
    for round in 0..10 {
        for memory in [Memory::Mmap, Memory::Scattered(0)] {
            let session = both.pair.open().unwrap();
            set_format(&mut both.pair, session, VIDEO_CAPTURE, format.0, format.1);
            let mut buffers =
                Buffers::request(&mut both.pair, session, (VIDEO_CAPTURE, 4, memory)).unwrap();
            buffers.queue_all(&mut both.pair).unwrap();
            if round % 2 == 0 {
                buffers.streamon(&mut both.pair).unwrap();
                buffers.next(&mut both.pair);
            }
            both.pair.close(session);
            while both.pair.poll_event().is_some() {}
            // What is mapped stays for as long as it is, with nobody behind it.
            for planes in &buffers.mapped {
                both.pair.link.shared.read(planes[0].addr, 4096).unwrap();
            }
            buffers.unmap(&mut both.pair).unwrap();
        }
        if round == 1 {
            before = Some(Holdings::now());
        }
    }
    before.unwrap().assert_back();
    assert_eq!(both.pair.link.shared.mapped(), 1, "the arena");
    both.works();
}

/// What one has, the other does not get, as on the host.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn two_sessions() {
    let mut both = Both::open("VIVID_CAP");
    let (first, second) = (both.session, both.pair.open().unwrap());
    both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
    let wanted = (VIDEO_CAPTURE, 4, Memory::Mmap);
    let buffers = Buffers::request(&mut both.pair, first, wanted).unwrap();
    assert_eq!(
        Buffers::request(&mut both.pair, second, wanted).err(),
        Some(Errno::EBUSY)
    );
    assert_eq!(
        both.pair.ioctl(second, ioctl::STREAMON, &mut 1u32),
        Err(Errno::EBUSY)
    );
    assert_eq!(
        both.pair.ioctl(second, ioctl::STREAMOFF, &mut 1u32),
        Err(Errno::EBUSY)
    );
    let mut format = Format {
        type_: VIDEO_CAPTURE,
        ..Format::default()
    };
    both.pair.ioctl(second, ioctl::G_FMT, &mut format).unwrap();
    let mut other = format.pix();
    other.width = 320;
    other.height = 180;
    format.set_pix(&other);
    assert_eq!(
        both.pair.ioctl(second, ioctl::S_FMT, &mut format),
        Err(Errno::EBUSY)
    );
    buffers.queue_all(&mut both.pair).unwrap();
    buffers.streamon(&mut both.pair).unwrap();
    // The host's own programs, too.
    assert_eq!(
        both.host.call(ioctl::STREAMON, &mut 1u32),
        Err(Errno::EBUSY)
    );
    both.pair.close(second);
    take(&mut both, &buffers, 5);
    both.works();
}

/// EXPBUF: the same plane is the same object, and another session of the VM takes it by that.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn exported() {
    for limits in [Limits::default(), without_arena()] {
        let mut both = Both::open_with("VIVID_CAP", &[], limits);
        both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
        let session = both.session;
        let wanted = (VIDEO_CAPTURE, 4, Memory::Mmap);
        let mut buffers = Buffers::request(&mut both.pair, session, wanted).unwrap();
        let uuid = buffers.export(&mut both.pair, 0, 0).unwrap();
        assert_eq!(buffers.export(&mut both.pair, 0, 0), Ok(uuid));
        assert_ne!(buffers.export(&mut both.pair, 1, 0), Ok(uuid));
        assert_eq!(buffers.export(&mut both.pair, 99, 0), Err(Errno::EINVAL));
        assert_eq!(buffers.export(&mut both.pair, 0, 1), Err(Errno::EINVAL));
        assert_eq!(both.pair.link.shared.objects.added().len(), 2);
        buffers.queue_all(&mut both.pair).unwrap();
        buffers.streamon(&mut both.pair).unwrap();
        take(&mut both, &buffers, 3);
        buffers.streamoff(&mut both.pair).unwrap();
        buffers.unmap(&mut both.pair).unwrap();
        buffers.free(&mut both.pair).unwrap();
        both.works();
    }
}

/// More buffers, fewer, and ones that are not there.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn created_and_removed() {
    let mut both = Both::open("VIVID_CAP");
    let session = both.session;
    both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
    let mut format = Format {
        type_: VIDEO_CAPTURE,
        ..Format::default()
    };
    both.pair.ioctl(session, ioctl::G_FMT, &mut format).unwrap();
    let mut create = CreateBuffers {
        count: 3,
        memory: MEMORY_MMAP,
        format,
        ..CreateBuffers::default()
    };
    both.pair
        .ioctl(session, ioctl::CREATE_BUFS, &mut create)
        .unwrap();
    assert_eq!((create.index, create.count), (0, 3));
    both.pair
        .ioctl(session, ioctl::CREATE_BUFS, &mut create)
        .unwrap();
    assert_eq!((create.index, create.count), (3, 3));
    let mut remove = RemoveBuffers {
        index: 1,
        count: 2,
        type_: VIDEO_CAPTURE,
        ..RemoveBuffers::default()
    };
    both.pair
        .ioctl(session, ioctl::REMOVE_BUFS, &mut remove)
        .unwrap();
    assert_eq!(
        both.pair.ioctl(session, ioctl::REMOVE_BUFS, &mut remove),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        both.pair.mmap(session, 0x7fff_0000).err(),
        Some(Errno::EINVAL)
    );
    both.works();
}

/// A guest cannot have the host's kernel allocate what it may not have.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn memory_is_bounded() {
    let limits = Limits {
        max_memory: 2 << 20,
        ..Limits::default()
    };
    let mut both = Both::open_with("VIVID_CAP", &[], limits);
    let session = both.session;
    let pix = both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
    let fitting = (2 << 20) / pix.sizeimage;
    let request = |both: &mut Both, count| {
        both.pair
            .reqbufs(session, (VIDEO_CAPTURE, count, MEMORY_MMAP))
    };
    assert!(
        request(&mut both, 32)
            .map_or_else(|errno| errno == Errno::ENOMEM, |count| count <= fitting)
    );
    for _ in 0..20 {
        assert_eq!(
            request(&mut both, 2),
            Ok(2),
            "what was freed counts no more"
        );
        assert_eq!(request(&mut both, 0), Ok(0));
    }
    let mut format = Format {
        type_: VIDEO_CAPTURE,
        ..Format::default()
    };
    both.pair.ioctl(session, ioctl::G_FMT, &mut format).unwrap();
    let mut held = 0;
    for _ in 0..40 {
        let mut create = CreateBuffers {
            count: 1,
            memory: MEMORY_MMAP,
            format,
            ..CreateBuffers::default()
        };
        match both.pair.ioctl(session, ioctl::CREATE_BUFS, &mut create) {
            Ok(()) => held += create.count,
            Err(errno) => assert_eq!(errno, Errno::ENOMEM),
        }
    }
    assert!(0 < held && held <= fitting, "{held} of {fitting}");
    both.works();
}

/// The guest is reset in mid-stream: the next system finds the device free.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn reset_in_mid_stream() {
    let mut both = Both::open("VIVID_CAP");
    let mut before = None;
    for round in 0..6 {
        if round > 0 {
            both.session = both.pair.open().unwrap();
        }
        both.set_format(VIDEO_CAPTURE, b"YUYV", (640, 360));
        let memory = if round % 2 == 0 {
            Memory::Mmap
        } else {
            Memory::Scattered(0)
        };
        let session = both.session;
        let buffers = Buffers::streaming(&mut both.pair, session, (VIDEO_CAPTURE, 4, memory));
        take(&mut both, &buffers, 2);
        both.pair.restart().unwrap();
        if round == 1 {
            before = Some(Holdings::now());
        }
    }
    before.unwrap().assert_back();
    both.works();
}

/// A queue that is not fed any more.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn each_buffer_comes_back_once() {
    let mut both = Both::open("VIVID_CAP");
    both.set_format(VIDEO_CAPTURE, b"YUYV", (320, 180));
    let session = both.session;
    let buffers = Buffers::streaming(&mut both.pair, session, (VIDEO_CAPTURE, 8, Memory::Mmap));
    let mut seen: Vec<u32> = Vec::new();
    while seen.len() < 8 {
        let event: Box<EventDqbuf> = buffers.next(&mut both.pair);
        seen.push(event.buffer.index);
    }
    seen.sort_unstable();
    assert_eq!(
        seen,
        (0..8).collect::<Vec<_>>(),
        "each buffer comes back once"
    );
    match both.pair.wait_event(QUIET) {
        None | Some(WireEvent::Event(_)) => {}
        Some(event) => panic!("{event:?}"),
    }
    both.works();
}
