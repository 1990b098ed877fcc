// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Requests that no sane program makes, to the real encoder. Each gets its errno, nothing is kept,
//! and the next good one works.

mod common;

use common::encoder::{CAPTURE, OUTPUT, WILD, encoder, reqbufs, works};
use common::{alone, panics};
use frontend::stream::{Settings, Stream};
use nix::errno::Errno;
use protocol::wire::ioctl::{self, TABLE};
use protocol::wire::sg::SgEntry;
use protocol::wire::v4l2::*;
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn ioctl_numbers() {
    let _alone = alone();
    let mut pair = encoder();
    let session = pair.open().unwrap();
    let codes = (0..=255).chain([256, 1024, 0x5600, 0xc0d0_5604, 0x8000_0000, u32::MAX]);
    for code in codes {
        for fill in [0, 0xff, 0x5a] {
            let known = ioctl::lookup(code).filter(|ioctl| ioctl.forwarded);
            // Arrays of a fill of 0xff are too long; whatever else it is, it is answered.
            let payload = vec![fill; known.map_or(64, |ioctl| ioctl.size)];
            let reply = pair.ioctl_raw(session, code, &payload, &[], &[0; 64]);
            let status = reply.status().unwrap();
            assert!(status < 134, "{code}: {status}");
            if known.is_none() {
                assert_eq!((status, reply.len), (Errno::ENOTTY as u32, 8), "{code}");
            }
        }
    }
    works(&mut pair);
}

/// What an encoder has nothing to do with is ENOTTY, as V4L2 has it for what a driver does not
/// implement.
#[test]
fn ioctls_of_other_devices() {
    let _alone = alone();
    let mut pair = encoder();
    let session = pair.open().unwrap();
    for code in [
        ioctl::G_STD,
        ioctl::S_STD,
        ioctl::ENUMSTD,
        ioctl::ENUMINPUT,
        ioctl::G_TUNER,
        ioctl::S_TUNER,
        ioctl::G_AUDIO,
        ioctl::G_EDID,
        ioctl::S_EDID,
        ioctl::ENUMOUTPUT,
        ioctl::G_FREQUENCY,
        ioctl::S_HW_FREQ_SEEK,
        ioctl::S_DV_TIMINGS,
        ioctl::G_DV_TIMINGS,
        ioctl::DECODER_CMD,
        ioctl::TRY_DECODER_CMD,
        ioctl::DV_TIMINGS_CAP,
        ioctl::ENUM_FREQ_BANDS,
        ioctl::G_FBUF,
        ioctl::OVERLAY,
        ioctl::G_SLICED_VBI_CAP,
        ioctl::DBG_G_REGISTER,
    ] {
        let ioctl = ioctl::lookup(code).unwrap();
        let reply = pair.ioctl_raw(session, code, &vec![0; ioctl.size], &[], &[0; 16]);
        assert_eq!(reply.status(), Some(Errno::ENOTTY as u32), "{}", ioctl.name);
    }
}

/// Payloads that are shorter than they should be, for every ioctl; and that are followed by more
/// than they should.
#[test]
fn lengths() {
    let _alone = alone();
    let mut pair = encoder();
    let session = pair.open().unwrap();
    for ioctl in TABLE.iter().filter(|ioctl| ioctl.forwarded) {
        if !ioctl.direction.to_device() {
            continue;
        }
        for len in [0, 1, ioctl.size / 2, ioctl.size - 1] {
            let reply = pair.ioctl_raw(session, ioctl.code, &vec![0; len], &[], &[]);
            assert_eq!(
                reply.status(),
                Some(Errno::EINVAL as u32),
                "{} {len}",
                ioctl.name
            );
        }
        let payload = vec![0; ioctl.size];
        let right = pair.ioctl_raw(session, ioctl.code, &payload, &[], &[0; 16]);
        let longer = pair.ioctl_raw(session, ioctl.code, &payload, &[], &[0; 4096]);
        assert_eq!(right.status(), longer.status(), "{}", ioctl.name);
    }
    works(&mut pair);
}

#[test]
fn formats() {
    let _alone = alone();
    let mut pair = encoder();
    let session = pair.open().unwrap();
    let mut check = |type_: u32, pix: PixFormatMplane| {
        for code in [ioctl::TRY_FMT, ioctl::S_FMT] {
            let mut format = Format {
                type_,
                ..Format::default()
            };
            format.set_pix_mp(&pix);
            let result = pair.ioctl(session, code, &mut format);
            if !is_multiplanar(type_) {
                assert_eq!(result, Err(Errno::EINVAL));
                continue;
            }
            // Adjusted, never refused, and to something that can be had.
            assert_eq!(result, Ok(()), "{pix:?}");
            let set = format.pix_mp();
            assert!((1..=3).contains(&set.num_planes), "{set:?}");
            assert!(
                (2..=8192).contains(&set.width) && (2..=8192).contains(&set.height),
                "{set:?}"
            );
            for plane in &set.plane_fmt[..usize::from(set.num_planes)] {
                assert!((1..256 << 20).contains(&plane.sizeimage), "{set:?}");
            }
            // And it stays as it is.
            let again = format;
            pair.ioctl(session, code, &mut format).unwrap();
            assert_eq!(format, again);
        }
    };
    for type_ in [0, 1, 2, 3, CAPTURE, OUTPUT, 11, 13, 255, u32::MAX] {
        check(type_, PixFormatMplane::default());
    }
    for type_ in [CAPTURE, OUTPUT] {
        for wild in WILD {
            for fourcc in [
                *b"H264", *b"NV12", *b"YM12", *b"XR24", *b"YUYV", *b"VP80", [0xff; 4],
            ] {
                let pix = PixFormatMplane {
                    width: wild,
                    height: wild,
                    pixelformat: u32::from_le_bytes(fourcc),
                    num_planes: wild as u8,
                    ..PixFormatMplane::default()
                };
                check(type_, pix);
                let mut odd = PixFormatMplane {
                    width: 640,
                    height: wild,
                    field: wild,
                    colorspace: wild,
                    flags: wild as u8,
                    ycbcr_enc: wild as u8,
                    quantization: wild as u8,
                    xfer_func: wild as u8,
                    ..pix
                };
                odd.plane_fmt.fill(PlanePixFormat {
                    sizeimage: wild,
                    bytesperline: wild,
                    reserved: [wild as u16; 6],
                });
                check(type_, odd);
            }
            let pix = PixFormatMplane {
                pixelformat: wild,
                ..PixFormatMplane::default()
            };
            check(type_, pix);
        }
    }
    works(&mut pair);
}

/// Indices, types, targets: each ends somewhere, and beyond is EINVAL.
#[test]
fn enumerations() {
    let _alone = alone();
    let mut pair = encoder();
    let session = pair.open().unwrap();
    for type_ in [CAPTURE, OUTPUT] {
        let mut count = 0;
        loop {
            let mut desc = FmtDesc {
                index: count,
                type_,
                ..FmtDesc::default()
            };
            match pair.ioctl(session, ioctl::ENUM_FMT, &mut desc) {
                Ok(()) => count += 1,
                Err(errno) => {
                    assert_eq!(errno, Errno::EINVAL);
                    break;
                }
            }
            assert!(count < 64);
        }
        assert!(count > 0);
        for index in WILD.into_iter().filter(|index| *index >= count) {
            let mut desc = FmtDesc {
                index,
                type_,
                ..FmtDesc::default()
            };
            let result = pair.ioctl(session, ioctl::ENUM_FMT, &mut desc);
            assert_eq!(result, Err(Errno::EINVAL), "{index:#x}");
        }
    }
    for wild in WILD {
        let mut size = FrmSizeEnum {
            index: wild,
            pixel_format: if wild == 0 {
                u32::MAX
            } else {
                u32::from_le_bytes(*b"NV12")
            },
            ..FrmSizeEnum::default()
        };
        let result = pair.ioctl(session, ioctl::ENUM_FRAMESIZES, &mut size);
        assert_eq!(result, Err(Errno::EINVAL), "{wild:#x}");
        let mut query = QueryExtCtrl {
            id: wild & 0x0fff_ffff,
            ..QueryExtCtrl::default()
        };
        let result = pair.ioctl(session, ioctl::QUERY_EXT_CTRL, &mut query);
        assert_eq!(result, Err(Errno::EINVAL), "{wild:#x}");
        let mut menu = QueryMenu {
            id: v4l2r::bindings::V4L2_CID_MPEG_VIDEO_H264_PROFILE,
            index: wild.max(32),
            ..QueryMenu::default()
        };
        let result = pair.ioctl(session, ioctl::QUERYMENU, &mut menu);
        assert_eq!(result, Err(Errno::EINVAL), "{wild:#x}");
        let mut control = Control {
            id: wild,
            value: wild.cast_signed(),
        };
        for code in [ioctl::G_CTRL, ioctl::S_CTRL] {
            let result = pair.ioctl(session, code, &mut control);
            assert_eq!(result, Err(Errno::EINVAL), "{wild:#x}");
        }
        let mut selection = Selection {
            type_: OUTPUT,
            target: wild.max(0x200),
            ..Selection::default()
        };
        for code in [ioctl::G_SELECTION, ioctl::S_SELECTION] {
            let result = pair.ioctl(session, code, &mut selection);
            assert_eq!(result, Err(Errno::EINVAL), "{wild:#x}");
        }
        let mut command = EncoderCmd {
            cmd: wild.max(2),
            ..EncoderCmd::default()
        };
        for code in [ioctl::ENCODER_CMD, ioctl::TRY_ENCODER_CMD] {
            let result = pair.ioctl(session, code, &mut command);
            assert_eq!(result, Err(Errno::EINVAL), "{wild:#x}");
        }
        if ![CAPTURE, OUTPUT].contains(&wild) {
            for code in [ioctl::STREAMON, ioctl::STREAMOFF] {
                let result = pair.ioctl(session, code, &mut { wild });
                assert_eq!(result, Err(Errno::EINVAL), "{wild:#x}");
            }
            assert_eq!(reqbufs(&mut pair, session, wild, 1), Err(Errno::EINVAL));
        }
    }
    works(&mut pair);
}

/// Crops that are larger than anything, or nothing, or overflow when added up.
#[test]
fn crops() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    for wild in WILD {
        for other in [0, 16, wild] {
            let session = client.open().unwrap();
            let mut selection = Selection {
                type_: OUTPUT,
                target: 0,
                r: Rect {
                    left: wild.cast_signed(),
                    top: other.cast_signed(),
                    width: other,
                    height: wild,
                },
                ..Selection::default()
            };
            match client.ioctl(session, ioctl::S_SELECTION, &mut selection) {
                Ok(()) => {
                    let r = selection.r;
                    assert!(
                        r.left >= 0 && r.top >= 0 && r.width > 0 && r.height > 0,
                        "{r:?}"
                    );
                    assert!(i64::from(r.left) + i64::from(r.width) <= 8192, "{r:?}");
                }
                Err(errno) => assert!(matches!(errno, Errno::EINVAL | Errno::ERANGE)),
            }
            // Whatever it is now can be encoded.
            let settings = Settings::h264(176, 144);
            let stream = Stream::prepare(client, session, &settings).unwrap();
            client
                .ioctl(session, ioctl::S_SELECTION, &mut selection)
                .ok();
            let mut stream = stream;
            stream.streamon(client).unwrap();
            let frame = vec![0x40; 176 * 144 * 3 / 2];
            let frames = [(&frame[..], Timeval::default()); 2];
            assert_eq!(stream.encode(client, frames.into_iter()).len(), 2);
            stream.end(client);
        }
    }
    assert_eq!(panics(), 0);
}

#[test]
fn controls() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let session = client.open().unwrap();
    // Every control there is, at its edges and far beyond them.
    let mut id = 0;
    let mut seen = 0;
    loop {
        let mut query = QueryExtCtrl {
            id: id | 0xc000_0000,
            ..QueryExtCtrl::default()
        };
        if client
            .ioctl(session, ioctl::QUERY_EXT_CTRL, &mut query)
            .is_err()
        {
            break;
        }
        assert!(query.id > id, "the list of controls goes backwards");
        id = query.id;
        seen += 1;
        for value in WILD {
            let mut control = Control {
                id,
                value: value.cast_signed(),
            };
            if let Err(errno) = client.ioctl(session, ioctl::S_CTRL, &mut control) {
                let documented = [Errno::ERANGE, Errno::EINVAL, Errno::EACCES, Errno::EBUSY];
                assert!(documented.contains(&errno), "{id:#x} = {value}: {errno}");
            }
            let mut back = Control { id, value: 0 };
            if client.ioctl(session, ioctl::G_CTRL, &mut back).is_ok() && query.type_ != 5 {
                let value = i64::from(back.value);
                assert!(
                    (query.minimum..=query.maximum).contains(&value),
                    "{id:#x} is {value}"
                );
            }
        }
    }
    assert!(seen > 10, "{seen} controls");
    for which in [
        0,
        0x0098_0000,
        0x0099_0000,
        0x0f01_0000,
        0x0f00_0000,
        0x1234_5678,
        u32::MAX,
    ] {
        for count in [0, 1, 2, 1024] {
            let mut header = ExtControls {
                which,
                request_fd: -1,
                ..ExtControls::default()
            };
            let one = ExtControl {
                id: v4l2r::bindings::V4L2_CID_MPEG_VIDEO_BITRATE,
                size: 0,
                reserved2: 0,
                value: [u32::MAX; 2],
            };
            let mut all = vec![one; count];
            for code in [ioctl::TRY_EXT_CTRLS, ioctl::S_EXT_CTRLS, ioctl::G_EXT_CTRLS] {
                let result = client.ext_controls(session, code, &mut header, &mut all, &[]);
                assert!(header.error_idx as usize <= count, "{result:?} {header:?}");
            }
        }
    }
    // Payloads in guest memory, for controls that have none, wherever that memory is.
    for start in [0x10_0000, 1 << 40, u64::MAX - 3] {
        for size in [4, 8, 4096] {
            let mut control = [ExtControl {
                id: v4l2r::bindings::V4L2_CID_MPEG_VIDEO_BITRATE,
                size,
                reserved2: 0,
                value: [1_000_000, 0],
            }];
            let list = SgEntry::new(start, size);
            for code in [ioctl::TRY_EXT_CTRLS, ioctl::S_EXT_CTRLS, ioctl::G_EXT_CTRLS] {
                let mut header = ExtControls::default();
                let list = list.as_bytes();
                let _ = client.ext_controls(session, code, &mut header, &mut control, list);
                // A pointer comes back as it was.
                assert_eq!(control[0].value, [1_000_000, 0]);
            }
        }
    }
    works(client);
}

/// Subscriptions to whatever there is, over and over.
#[test]
fn subscriptions() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    let session = client.open().unwrap();
    for _ in 0..100 {
        for type_ in WILD {
            for id in WILD {
                let mut subscription = EventSubscription {
                    type_,
                    id,
                    flags: 3,
                    ..EventSubscription::default()
                };
                // EOS takes any ID.
                let result = client.ioctl(session, ioctl::SUBSCRIBE_EVENT, &mut subscription);
                assert!(
                    matches!(result, Ok(()) | Err(Errno::EINVAL | Errno::ENOMEM)),
                    "{result:?}"
                );
            }
        }
    }
    // V4L2_EVENT_ALL
    let mut all = EventSubscription::default();
    client
        .ioctl(session, ioctl::UNSUBSCRIBE_EVENT, &mut all)
        .unwrap();
    works(client);
}

/// Frame intervals of nothing, and of for ever.
#[test]
fn intervals() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    for numerator in WILD {
        for denominator in [0, 1, 30, u32::MAX] {
            let session = client.open().unwrap();
            let mut parm = StreamParm {
                type_: OUTPUT,
                timeperframe: Fract {
                    numerator,
                    denominator,
                },
                ..StreamParm::default()
            };
            client.ioctl(session, ioctl::S_PARM, &mut parm).unwrap();
            let set = parm.timeperframe;
            assert!(set.numerator > 0 && set.denominator > 0, "{set:?}");
            let settings = Settings::h264(176, 144);
            let mut stream = Stream::prepare(client, session, &settings).unwrap();
            stream.streamon(client).unwrap();
            let frame = vec![0x40; 176 * 144 * 3 / 2];
            let frames = [(&frame[..], Timeval::default()); 2];
            assert_eq!(
                stream.encode(client, frames.into_iter()).len(),
                2,
                "{set:?}"
            );
            stream.end(client);
        }
    }
    assert_eq!(panics(), 0);
}

/// The highest bitrate, at a frame rate that drops while it encodes: the encoder is scaled to what
/// it can do.
#[test]
fn a_rate_that_explodes() {
    let _alone = alone();
    let mut pair = encoder();
    let client = pair.client.as_mut().unwrap();
    for (numerator, denominator) in [(4000, 1), (u32::MAX, 1), (1, u32::MAX)] {
        let settings = Settings::h264(176, 144);
        let mut stream = Stream::start(client, &settings).unwrap();
        let frame = vec![0x40; 176 * 144 * 3 / 2];
        stream
            .queue_frame(client, &frame, Timeval::default())
            .unwrap();
        let bitrate = v4l2r::bindings::V4L2_CID_MPEG_VIDEO_BITRATE;
        let _ = stream.set_control(client, bitrate, i32::MAX);
        let mut parm = StreamParm {
            type_: OUTPUT,
            timeperframe: Fract {
                numerator,
                denominator,
            },
            ..StreamParm::default()
        };
        client
            .ioctl(stream.session, ioctl::S_PARM, &mut parm)
            .unwrap();
        let frames = [(&frame[..], Timeval::default()); 3];
        assert_eq!(stream.encode(client, frames.into_iter()).len(), 4);
        stream.end(client);
    }
    works(client);
}

/// Replies hold nothing of the host's memory: what nobody set is zero.
#[test]
fn replies_are_clean() {
    let _alone = alone();
    let mut pair = encoder();
    let session = pair.open().unwrap();
    for (i, ioctl) in TABLE.iter().enumerate() {
        if ioctl.direction != ioctl::Direction::Read || !ioctl.forwarded {
            continue;
        }
        let reply = pair.ioctl_raw(session, ioctl.code, &vec![0; ioctl.size], &[], &[]);
        let again = pair.ioctl_raw(session, ioctl.code, &vec![0; ioctl.size], &[], &[]);
        assert_eq!(reply, again, "{i}");
    }
    let mut format = Format {
        type_: OUTPUT,
        ..Format::default()
    };
    pair.ioctl(session, ioctl::G_FMT, &mut format).unwrap();
    let pix = format.pix_mp();
    for plane in &pix.plane_fmt[usize::from(pix.num_planes)..] {
        assert_eq!(*plane, PlanePixFormat::default());
    }
    let whole = Format::read_from_bytes(format.as_bytes()).unwrap();
    assert!(whole.fmt[185..].iter().all(|byte| *byte == 0));
}
