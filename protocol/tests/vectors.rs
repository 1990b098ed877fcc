// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Every structure of VIRTIO 1.4 "Media Device" against bytes that were written out by hand from
//! the structure definitions of that section (and of `linux/videodev2.h` for what they contain).

use std::fmt::Debug;

use protocol::wire::command::*;
use protocol::wire::config::{Config, DeviceType};
use protocol::wire::event::{EventDqbuf, EventError, EventEvent, EventHeader, MAX_EVENT_SIZE};
use protocol::wire::sg::{SgEntry, Uuid};
use protocol::wire::v4l2::*;
use protocol::wire::{command, event};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Structure to bytes and bytes to structure.
fn both<T>(value: T, bytes: &[u8])
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + Debug + PartialEq,
{
    assert_eq!(value.as_bytes(), bytes, "{value:?} to bytes");
    assert_eq!(T::read_from_bytes(bytes).unwrap(), value, "from bytes");
    // One byte less is no such structure.
    assert!(T::read_from_bytes(&bytes[1..]).is_err());
}

#[test]
fn numbers() {
    assert_eq!(protocol::wire::VIRTIO_ID_MEDIA, 48);
    assert_eq!(protocol::wire::COMMAND_QUEUE, 0);
    assert_eq!(protocol::wire::EVENT_QUEUE, 1);
    assert_eq!(protocol::wire::NUM_QUEUES, 2);
    assert_eq!(protocol::wire::SHM_REGION_MMAP, 0);
    let commands = (OPEN, CLOSE, IOCTL, command::MMAP, MUNMAP);
    assert_eq!(commands, (1, 2, 3, 4, 5));
    assert_eq!(command::MMAP_FLAG_RW, 1);
    assert_eq!((event::ERROR, event::DQBUF, event::EVENT), (0, 1, 2));
    assert_eq!(VIDEO_MAX_PLANES, 8);
}

#[test]
fn config() {
    let mut card = [0; 32];
    card[..4].copy_from_slice(b"x264");
    let mut bytes = vec![0x00, 0x40, 0x20, 0x04, 0x05, 0, 0, 0];
    bytes.extend_from_slice(b"x264\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    both(
        Config {
            device_caps: 0x0420_4000,
            device_type: DeviceType::Touch as u32,
            card,
        },
        &bytes,
    );
    for (number, kind) in [
        (0, DeviceType::Video),
        (1, DeviceType::Vbi),
        (2, DeviceType::Radio),
        (3, DeviceType::Subdev),
        (4, DeviceType::Sdr),
        (5, DeviceType::Touch),
    ] {
        assert_eq!(DeviceType::try_from(number), Ok(kind));
        assert_eq!(kind as u32, number);
    }
    assert_eq!(DeviceType::try_from(6), Err(6));
}

#[test]
fn headers() {
    both(CmdHeader::new(0x0403_0201), &[1, 2, 3, 4, 0, 0, 0, 0]);
    both(RespHeader::new(22), &[22, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn open() {
    both(CmdOpen::new(), &[1, 0, 0, 0, 0, 0, 0, 0]);
    both(
        RespOpen {
            hdr: RespHeader::new(0),
            session_id: 0xa1b2_c3d4,
            reserved: 0,
        },
        &[0, 0, 0, 0, 0, 0, 0, 0, 0xd4, 0xc3, 0xb2, 0xa1, 0, 0, 0, 0],
    );
}

#[test]
fn close() {
    both(
        CmdClose::new(0xa1b2_c3d4),
        &[2, 0, 0, 0, 0, 0, 0, 0, 0xd4, 0xc3, 0xb2, 0xa1, 0, 0, 0, 0],
    );
}

#[test]
fn ioctl() {
    both(
        CmdIoctl::new(7, 0x67),
        &[3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0x67, 0, 0, 0],
    );
    both(
        RespIoctl {
            hdr: RespHeader::new(25),
        },
        &[25, 0, 0, 0, 0, 0, 0, 0],
    );
}

#[test]
fn mmap() {
    both(
        CmdMmap::new(9, MMAP_FLAG_RW, 0x8000_1000),
        &[
            4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x10, 0, 0x80,
        ],
    );
    both(
        RespMmap {
            hdr: RespHeader::new(0),
            driver_addr: 0x0102_0304_0506_0708,
            len: 0x1_0000_0001,
        },
        &[
            0, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 1, 0, 0, 0, 1, 0, 0, 0,
        ],
    );
}

#[test]
fn munmap() {
    both(
        CmdMunmap::new(0x0102_0304_0506_0708),
        &[5, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1],
    );
    both(
        RespMunmap {
            hdr: RespHeader::new(12),
        },
        &[12, 0, 0, 0, 0, 0, 0, 0],
    );
}

#[test]
fn memory() {
    both(
        SgEntry::new(0x1122_3344_5566_7788, 0x99aa_bbcc),
        &[
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xcc, 0xbb, 0xaa, 0x99, 0, 0, 0, 0,
        ],
    );
    let uuid = *b"0123456789abcdef";
    both(Uuid(uuid), &uuid);
}

/// A `v4l2_buffer` in which no two fields share a byte, and its 88 bytes.
fn buffer() -> (Buffer, Vec<u8>) {
    let buffer = Buffer {
        index: 0x0000_0001,
        type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        bytesused: 0x0000_1203,
        flags: 0x0000_1304,
        field: 0x0000_0005,
        pad0: 0,
        timestamp: Timeval {
            tv_sec: 0x0000_0001_0000_0006,
            tv_usec: -7,
        },
        timecode: Timecode {
            type_: 0x08,
            flags: 0x09,
            frames: 0x0a,
            seconds: 0x0b,
            minutes: 0x0c,
            hours: 0x0d,
            userbits: [0x0e, 0x0f, 0x10, 0x11],
        },
        sequence: 0x12,
        memory: MEMORY_DMABUF,
        m: 0x1314_1516_1718_191a,
        length: 0x02,
        reserved2: 0x1b,
        request_fd: -2,
        pad1: 0,
    };
    #[rustfmt::skip]
    let bytes = vec![
        1, 0, 0, 0,                                     // index
        10, 0, 0, 0,                                    // type
        3, 0x12, 0, 0,                                  // bytesused
        4, 0x13, 0, 0,                                  // flags
        5, 0, 0, 0,                                     // field
        0, 0, 0, 0,                                     // (padding)
        6, 0, 0, 0, 1, 0, 0, 0,                         // timestamp.tv_sec
        0xf9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // timestamp.tv_usec
        8, 0, 0, 0, 9, 0, 0, 0,                         // timecode.type, .flags
        0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, // timecode.frames to .userbits
        0x12, 0, 0, 0,                                  // sequence
        4, 0, 0, 0,                                     // memory
        0x1a, 0x19, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, // m
        2, 0, 0, 0,                                     // length
        0x1b, 0, 0, 0,                                  // reserved2
        0xfe, 0xff, 0xff, 0xff,                         // request_fd
        0, 0, 0, 0,                                     // (padding)
    ];
    (buffer, bytes)
}

/// A `v4l2_plane`, and its 64 bytes.
fn plane(seed: u8) -> (Plane, Vec<u8>) {
    let plane = Plane {
        bytesused: u32::from(seed),
        length: 0x2100 + u32::from(seed),
        m: 0x2223_2425_2627_2829,
        data_offset: 0x2a,
        reserved: [0; 11],
    };
    #[rustfmt::skip]
    let mut bytes = vec![
        seed, 0, 0, 0,                                  // bytesused
        seed, 0x21, 0, 0,                               // length
        0x29, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, // m
        0x2a, 0, 0, 0,                                  // data_offset
    ];
    bytes.resize(64, 0);
    (plane, bytes)
}

#[test]
fn buffers() {
    let (value, bytes) = buffer();
    both(value, &bytes);
    let (value, bytes) = plane(3);
    both(value, &bytes);
}

#[test]
fn events() {
    both(
        EventHeader {
            event: 2,
            session_id: 0x0102_0304,
        },
        &[2, 0, 0, 0, 4, 3, 2, 1],
    );
    both(
        EventError::new(6, 5),
        &[0, 0, 0, 0, 6, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
    );

    let (buffer, buffer_bytes) = buffer();
    let mut bytes = vec![1, 0, 0, 0, 0x0b, 0, 0, 0];
    bytes.extend(buffer_bytes);
    let mut planes = [Plane::default(); 8];
    for (i, slot) in planes.iter_mut().enumerate() {
        let (plane, plane_bytes) = plane(i as u8);
        *slot = plane;
        bytes.extend(plane_bytes);
    }
    let dqbuf = EventDqbuf {
        hdr: EventHeader {
            event: event::DQBUF,
            session_id: 11,
        },
        buffer,
        planes,
    };
    assert_eq!(dqbuf.as_bytes(), bytes);
    assert_eq!(bytes.len(), MAX_EVENT_SIZE);
    let back = EventDqbuf::read_from_bytes(&bytes).unwrap();
    assert_eq!(
        (back.hdr, back.buffer, back.planes),
        (dqbuf.hdr, buffer, planes)
    );

    let mut u = [0; 64];
    u[0] = 0x31;
    u[63] = 0x32;
    let v4l2_event = EventEvent {
        hdr: EventHeader {
            event: event::EVENT,
            session_id: 12,
        },
        event: Event {
            type_: 3,
            pad0: 0,
            u,
            pending: 0x33,
            sequence: 0x34,
            timestamp: Timespec {
                tv_sec: 0x35,
                tv_nsec: 0x36,
            },
            id: 0x0099_0900,
            reserved: [0; 8],
            pad1: 0,
        },
    };
    let mut bytes = vec![2, 0, 0, 0, 12, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0x31];
    bytes.resize(8 + 8 + 63, 0);
    #[rustfmt::skip]
    bytes.extend([
        0x32,
        0x33, 0, 0, 0,             // pending
        0x34, 0, 0, 0,             // sequence
        0x35, 0, 0, 0, 0, 0, 0, 0, // timestamp.tv_sec
        0x36, 0, 0, 0, 0, 0, 0, 0, // timestamp.tv_nsec
        0, 9, 0x99, 0,             // id
    ]);
    bytes.resize(8 + 136, 0);
    assert_eq!(v4l2_event.as_bytes(), bytes);
    let back = EventEvent::read_from_bytes(&bytes).unwrap();
    assert_eq!((back.hdr, back.event), (v4l2_event.hdr, v4l2_event.event));
}

#[test]
fn format_unions() {
    let mut format = Format {
        type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        fmt: [0xff; 200],
        ..Format::default()
    };
    let mut pix_mp = PixFormatMplane {
        width: 0x0000_0510,
        height: 0x0000_03cc,
        pixelformat: u32::from_le_bytes(*b"NV12"),
        field: 1,
        num_planes: 2,
        xfer_func: 3,
        ..PixFormatMplane::default()
    };
    pix_mp.plane_fmt[7].bytesperline = 0x77;
    format.set_pix_mp(&pix_mp);
    assert_eq!(format.pix_mp(), pix_mp);
    let bytes = format.as_bytes();
    assert_eq!(
        bytes[..24],
        [
            10, 0, 0, 0, 0, 0, 0, 0, // type, padding
            0x10, 5, 0, 0, 0xcc, 3, 0, 0, b'N', b'V', b'1', b'2', 1, 0, 0, 0
        ]
    );
    // plane_fmt[7].bytesperline, then num_planes to xfer_func, then nothing.
    assert_eq!(bytes[8 + 20 + 7 * 20 + 4], 0x77);
    assert_eq!(bytes[8 + 180..8 + 185], [2, 0, 0, 0, 3]);
    assert!(bytes[8 + 185..].iter().all(|byte| *byte == 0));

    let pix = PixFormat {
        width: 0x41,
        xfer_func: 0x42,
        ..PixFormat::default()
    };
    format.set_pix(&pix);
    assert_eq!(format.pix(), pix);
    assert_eq!(format.as_bytes()[8], 0x41);
    assert_eq!(format.as_bytes()[8 + 44], 0x42);
    assert!(format.as_bytes()[8 + 48..].iter().all(|byte| *byte == 0));
}

#[test]
fn control_values() {
    let mut control = ExtControl {
        id: 0x0099_0900,
        size: 0,
        reserved2: 0,
        value: [0xffff_ffff; 2],
    };
    control.set_value(-2);
    assert_eq!(control.value(), -2);
    #[rustfmt::skip]
    both(control, &[
        0, 9, 0x99, 0,          // id
        0, 0, 0, 0, 0, 0, 0, 0, // size, reserved2
        0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    control.set_value64(-0x0102_0304_0506_0708);
    assert_eq!(control.value64(), -0x0102_0304_0506_0708);
    assert_eq!(
        control.as_bytes()[12..],
        (-0x0102_0304_0506_0708_i64).to_le_bytes()
    );
}
