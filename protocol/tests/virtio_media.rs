// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Our bytes against those of the `virtio-media` crate, an implementation that is not ours.
//!
//! It reads a command's header and its body apart, so its body is compared with what follows our
//! header.

use protocol::wire::command::*;
use protocol::wire::config::Config;
use protocol::wire::event::{self, EventDqbuf, EventError, EventEvent, EventHeader};
use protocol::wire::ioctl::TABLE;
use protocol::wire::sg::SgEntry;
use protocol::wire::v4l2::{self, Buffer, Plane, Timeval};
use virtio_media::protocol as theirs;
use virtio_media::v4l2r::bindings;
use virtio_media::v4l2r::ioctl::{BufferFlags, V4l2Buffer, V4l2PlanesWithBackingMut};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn numbers() {
    assert_eq!(protocol::wire::VIRTIO_ID_MEDIA, theirs::VIRTIO_ID_MEDIA);
    assert_eq!(OPEN, theirs::VIRTIO_MEDIA_CMD_OPEN);
    assert_eq!(CLOSE, theirs::VIRTIO_MEDIA_CMD_CLOSE);
    assert_eq!(IOCTL, theirs::VIRTIO_MEDIA_CMD_IOCTL);
    assert_eq!(MMAP, theirs::VIRTIO_MEDIA_CMD_MMAP);
    assert_eq!(MUNMAP, theirs::VIRTIO_MEDIA_CMD_MUNMAP);
    assert_eq!(MMAP_FLAG_RW, theirs::VIRTIO_MEDIA_MMAP_FLAG_RW);
    assert_eq!(event::ERROR, theirs::VIRTIO_MEDIA_EVENT_ERROR);
    assert_eq!(event::DQBUF, theirs::VIRTIO_MEDIA_EVENT_DQBUF);
    assert_eq!(event::EVENT, theirs::VIRTIO_MEDIA_EVENT_EVENT);
}

#[test]
fn ioctl_numbers() {
    for code in 0..=255 {
        let ours = TABLE.iter().find(|ioctl| ioctl.code == code);
        match (theirs::V4l2Ioctl::n(code), ours) {
            (Some(their), Some(our)) => assert_eq!(format!("{their:?}"), our.name),
            // Newer than that crate.
            (None, Some(our)) => assert_eq!(our.name, "VIDIOC_REMOVE_BUFS"),
            (Some(their), None) => panic!("{their:?} is not in our table"),
            (None, None) => {}
        }
    }
}

#[test]
fn config() {
    let card = *b"a name that fills all 32 bytes !";
    let ours = Config {
        device_caps: 0x8421_0fff,
        device_type: 2,
        card,
    };
    let their = theirs::VirtioMediaDeviceConfig {
        device_caps: 0x8421_0fff,
        device_type: 2,
        card,
    };
    assert_eq!(ours.as_bytes(), their.as_bytes());
    assert_eq!(Config::read_from_bytes(their.as_bytes()).unwrap(), ours);
}

/// They read what we write.
#[test]
fn commands() {
    let open = CmdOpen::new();
    let their = theirs::CmdHeader::read_from_bytes(open.as_bytes()).unwrap();
    assert_eq!(their.cmd, theirs::VIRTIO_MEDIA_CMD_OPEN);

    let close = CmdClose::new(77);
    let (header, body) = close.as_bytes().split_at(8);
    let their = theirs::CmdHeader::read_from_bytes(header).unwrap();
    assert_eq!(their.cmd, theirs::VIRTIO_MEDIA_CMD_CLOSE);
    let their = theirs::CloseCmd::read_from_bytes(body).unwrap();
    assert_eq!(their.session_id, 77);

    let ioctl = CmdIoctl::new(78, 92);
    let (header, body) = ioctl.as_bytes().split_at(8);
    let their = theirs::CmdHeader::read_from_bytes(header).unwrap();
    assert_eq!(their.cmd, theirs::VIRTIO_MEDIA_CMD_IOCTL);
    let their = theirs::IoctlCmd::read_from_bytes(body).unwrap();
    assert_eq!((their.session_id, their.code), (78, 92));

    let mmap = CmdMmap::new(79, MMAP_FLAG_RW, 0x1234_5000);
    let (header, body) = mmap.as_bytes().split_at(8);
    let their = theirs::CmdHeader::read_from_bytes(header).unwrap();
    assert_eq!(their.cmd, theirs::VIRTIO_MEDIA_CMD_MMAP);
    let their = theirs::MmapCmd::read_from_bytes(body).unwrap();
    assert_eq!(
        (their.session_id, their.flags, their.offset),
        (79, 1, 0x1234_5000)
    );

    let munmap = CmdMunmap::new(0x8_0000_1000);
    let (header, body) = munmap.as_bytes().split_at(8);
    let their = theirs::CmdHeader::read_from_bytes(header).unwrap();
    assert_eq!(their.cmd, theirs::VIRTIO_MEDIA_CMD_MUNMAP);
    let their = theirs::MunmapCmd::read_from_bytes(body).unwrap();
    assert_eq!(their.driver_addr, 0x8_0000_1000);

    let entry = SgEntry::new(0x1_2345_6789, 4096);
    let their = theirs::SgEntry::read_from_bytes(entry.as_bytes()).unwrap();
    assert_eq!((their.start, their.len), (0x1_2345_6789, 4096));
}

/// We read what they write, and write the same.
#[test]
fn responses() {
    let their = theirs::RespHeader::err(22);
    assert_eq!(their.as_bytes(), RespHeader::new(22).as_bytes());

    let their = theirs::OpenResp::ok(5);
    let ours = RespOpen::read_from_bytes(their.as_bytes()).unwrap();
    assert_eq!((ours.hdr.status, ours.session_id), (0, 5));
    assert_eq!(ours.as_bytes(), their.as_bytes());

    let their = theirs::MmapResp::ok(0x7000_0000_1000, 3_110_400);
    let ours = RespMmap::read_from_bytes(their.as_bytes()).unwrap();
    assert_eq!(
        (ours.hdr.status, ours.driver_addr, ours.len),
        (0, 0x7000_0000_1000, 3_110_400)
    );
    assert_eq!(ours.as_bytes(), their.as_bytes());

    let their = theirs::MunmapResp::ok();
    let ours = RespMunmap::read_from_bytes(their.as_bytes()).unwrap();
    assert_eq!(ours.as_bytes(), their.as_bytes());
}

#[test]
fn error_event() {
    let their = theirs::ErrorEvent::new(9, 5);
    let ours = EventError::new(9, 5);
    assert_eq!(ours.as_bytes(), their.as_bytes());
}

/// The bytes of a structure of theirs that has no zerocopy of its own.
fn raw<T>(value: &T) -> Vec<u8> {
    let start = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: `value` is valid for its size; its padding, if any, was zeroed by bindgen's
    // `Default`, from which all that is passed here was made.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec()
}

#[test]
fn dqbuf_event() {
    let mut buffer = V4l2Buffer::new(
        virtio_media::v4l2r::QueueType::VideoCaptureMplane,
        3,
        virtio_media::v4l2r::memory::MemoryType::Mmap,
    );
    buffer.set_sequence(17);
    buffer.set_timestamp(bindings::timeval {
        tv_sec: 12,
        tv_usec: 345_678,
    });
    buffer.add_flags(BufferFlags::KEYFRAME);
    if let V4l2PlanesWithBackingMut::Mmap(mut planes) = buffer.planes_with_backing_iter_mut() {
        let mut plane = planes.next().unwrap();
        *plane.length = 0x1_0000;
        *plane.bytesused = 0x1234;
        plane.set_mem_offset(0x9000);
    } else {
        panic!("not an MMAP buffer");
    }
    let ours = EventDqbuf {
        hdr: EventHeader {
            event: event::DQBUF,
            session_id: 4,
        },
        buffer: Buffer {
            index: 3,
            type_: v4l2::BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            flags: BufferFlags::KEYFRAME.bits(),
            timestamp: Timeval {
                tv_sec: 12,
                tv_usec: 345_678,
            },
            sequence: 17,
            memory: v4l2::MEMORY_MMAP,
            length: 1,
            ..Buffer::default()
        },
        planes: {
            let mut planes = [Plane::default(); 8];
            planes[0] = Plane {
                bytesused: 0x1234,
                length: 0x1_0000,
                m: 0x9000,
                ..Plane::default()
            };
            planes
        },
    };

    let their = theirs::DequeueBufferEvent::new(4, buffer);
    let their_bytes = raw(&their);
    assert_eq!(their_bytes.len(), size_of::<EventDqbuf>());
    let mut back = EventDqbuf::read_from_bytes(&their_bytes).unwrap();
    // Theirs leaves its own pointer to the planes there: "meaningless", says the specification.
    back.buffer.m = 0;
    assert_eq!(back.hdr, ours.hdr);
    assert_eq!(back.buffer, ours.buffer);
    assert_eq!(back.planes, ours.planes);
}

#[test]
fn v4l2_event() {
    let mut event = bindings::v4l2_event {
        type_: bindings::V4L2_EVENT_EOS,
        sequence: 8,
        ..Default::default()
    };
    event.timestamp.tv_sec = 1;
    event.timestamp.tv_nsec = 2;
    event.id = 3;
    let their = theirs::SessionEvent::new(6, event);
    let bytes = raw(&their);
    let ours = EventEvent::read_from_bytes(&bytes).unwrap();
    assert_eq!((ours.hdr.event, ours.hdr.session_id), (event::EVENT, 6));
    assert_eq!((ours.event.type_, ours.event.sequence), (2, 8));
    assert_eq!(
        (ours.event.timestamp.tv_sec, ours.event.timestamp.tv_nsec),
        (1, 2)
    );
    assert_eq!(ours.event.id, 3);
    assert_eq!(ours.as_bytes().len(), bytes.len());
}

/// What the `simple_device` of the crate answers, merged as our driver does it.
mod simple_device {
    use super::*;
    use std::io::Cursor;

    use protocol::wire::answer::merge;
    use protocol::wire::ioctl::{self, lookup};
    use protocol::wire::v4l2::{Format, RequestBuffers};
    use virtio_media::devices::SimpleCaptureDevice;
    use virtio_media::protocol::V4l2Event;
    use virtio_media::{VirtioMediaDeviceRunner, VirtioMediaEventQueue};

    struct NoEvents;

    impl VirtioMediaEventQueue for NoEvents {
        fn send_event(&mut self, _: V4l2Event) {}
    }

    type Runner =
        VirtioMediaDeviceRunner<Cursor<Vec<u8>>, Vec<u8>, SimpleCaptureDevice<NoEvents, ()>, ()>;

    /// Runs a command, and returns the response.
    fn run(runner: &mut Runner, command: Vec<u8>) -> Vec<u8> {
        let mut reply = Vec::new();
        runner.handle_command(&mut Cursor::new(command), &mut reply);
        reply
    }

    /// Runs an ioctl as the driver does, and returns the number of bytes behind the header.
    fn ioctl(runner: &mut Runner, code: u32, payload: &mut [u8], array: &mut [u8]) -> usize {
        let command = CmdIoctl::new(0, code);
        let reply = run(runner, [command.as_bytes(), payload, array].concat());
        let (header, answer) = RespIoctl::read_from_prefix(&reply).unwrap();
        assert_eq!(header.hdr.status, 0);
        merge(lookup(code).unwrap(), true, answer, payload, array).unwrap();
        answer.len()
    }

    #[test]
    fn buffers_have_the_planes_that_there_are() {
        let mut runner = Runner::new(SimpleCaptureDevice::new(NoEvents, ()), ());
        let reply = run(&mut runner, CmdOpen::new().as_bytes().to_vec());
        assert_eq!(RespOpen::read_from_bytes(&reply).unwrap().hdr.status, 0);

        let type_ = v4l2::BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        let mut format = Format {
            type_,
            ..Format::default()
        };
        ioctl(&mut runner, ioctl::G_FMT, format.as_mut_bytes(), &mut []);
        let pix = format.pix_mp();
        assert_eq!((pix.width, pix.height, pix.num_planes), (640, 480, 3));

        let mut request = RequestBuffers {
            count: 4,
            type_,
            memory: v4l2::MEMORY_MMAP,
            ..RequestBuffers::default()
        };
        ioctl(&mut runner, ioctl::REQBUFS, request.as_mut_bytes(), &mut []);
        assert_eq!((request.count, request.type_), (4, type_));

        for index in 0..4 {
            let mut buffer = Buffer {
                index,
                type_,
                memory: v4l2::MEMORY_MMAP,
                length: 8,
                ..Buffer::default()
            };
            let mut planes = [Plane::default(); 8];
            let (payload, array) = (buffer.as_mut_bytes(), planes.as_mut_bytes());
            let len = ioctl(&mut runner, ioctl::QUERYBUF, payload, array);
            assert_eq!(len, 88 + 64, "one plane where there was room for eight");
            assert_eq!((buffer.index, buffer.length), (index, 1));
            assert_eq!(
                (planes[0].length, planes[0].m),
                (460_800, u64::from(index) << 12)
            );
            assert_eq!(planes[1..], [Plane::default(); 7]);
        }
    }
}
