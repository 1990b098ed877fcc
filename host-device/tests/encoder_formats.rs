// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Formats, crop and frame interval.

mod encoder_support;

use encoder_support::*;
use nix::errno::Errno;
use protocol::wire::v4l2::{
    FmtDesc, Format, Fract, FrmIvalEnum, FrmSizeEnum, PixFormatMplane, Rect, Selection, StreamParm,
};
use virtio_v4l2d::device::Session;
use virtio_v4l2d::device::encoder::Settings;
use virtio_v4l2d::v4l2::core::uapi::*;

fn client() -> Client {
    Client::new(&encoder(Settings::default()))
}

fn g_fmt(session: &mut dyn Session, type_: u32) -> PixFormatMplane {
    let mut format = Format {
        type_,
        ..Default::default()
    };
    session.g_fmt(&mut format).unwrap();
    format.pix_mp()
}

fn change(
    session: &mut dyn Session,
    type_: u32,
    edit: impl FnOnce(&mut PixFormatMplane),
) -> Result<PixFormatMplane, Errno> {
    let mut format = Format {
        type_,
        ..Default::default()
    };
    let mut pix = g_fmt(session, type_);
    edit(&mut pix);
    format.set_pix_mp(&pix);
    session.s_fmt(&mut format)?;
    Ok(format.pix_mp())
}

#[test]
fn formats_are_listed_with_the_preferred_first() {
    let mut client = client();
    let list = |client: &mut Client, type_| {
        (0..)
            .map_while(|index| {
                let mut desc = FmtDesc {
                    index,
                    type_,
                    reserved: [5; 3],
                    ..Default::default()
                };
                client.session.enum_fmt(&mut desc).ok()?;
                assert_eq!(desc.reserved, [0; 3]);
                assert_ne!(desc.description[0], 0);
                Some((desc.pixelformat.to_le_bytes(), desc.flags))
            })
            .collect::<Vec<_>>()
    };
    let raw = list(&mut client, OUTPUT);
    assert_eq!(
        raw.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        [
            b"NV12", b"YU12", b"XR24", b"BGR4", b"YUYV", b"UYVY", b"RGB3", b"BGR3", b"NV21",
            b"GREY"
        ]
    );
    assert!(raw.iter().all(|(_, flags)| *flags == 0));
    let coded = list(&mut client, CAPTURE);
    assert_eq!(&coded[0].0, b"H264");
    assert!(
        coded
            .iter()
            .all(|(_, flags)| *flags == V4L2_FMT_FLAG_COMPRESSED)
    );
    for other in [1, 2, 99] {
        assert!(list(&mut client, other).is_empty());
    }
    let mut other = Client::new(&encoder(formats("YM12+XR24")));
    let names: Vec<_> = list(&mut other, OUTPUT).iter().map(|raw| raw.0).collect();
    assert_eq!(names, [*b"YM12", *b"XR24"]);
}

/// Settings of a device that offers these raw formats.
fn formats(list: &str) -> Settings {
    let mut settings = Settings::default();
    settings.set("formats", list).unwrap();
    settings
}

/// A format that is not offered is none, whatever asks for it.
#[test]
fn formats_that_are_not_offered_are_unknown() {
    let mut client = client();
    let session = &mut *client.session;
    let pix = change(session, OUTPUT, |pix| pix.pixelformat = fourcc(b"NM12")).unwrap();
    assert_eq!((pix.pixelformat, pix.num_planes), (fourcc(b"NV12"), 1));
    let mut size = FrmSizeEnum {
        pixel_format: fourcc(b"NM12"),
        ..Default::default()
    };
    assert_eq!(session.enum_framesizes(&mut size), Err(Errno::EINVAL));
    let mut interval = FrmIvalEnum {
        pixel_format: fourcc(b"NM12"),
        width: 640,
        height: 480,
        ..Default::default()
    };
    assert_eq!(
        session.enum_frameintervals(&mut interval),
        Err(Errno::EINVAL)
    );
    let mut other = Client::new(&encoder(formats("YM12")));
    let pix = g_fmt(&mut *other.session, OUTPUT);
    assert_eq!((pix.pixelformat, pix.num_planes), (fourcc(b"YM12"), 3));
    assert_eq!(pix.plane_fmt[1].bytesperline, 640);
}

#[test]
fn setting_what_is_set_changes_nothing() {
    let mut client = Client::new(&encoder(all_formats()));
    for type_ in [OUTPUT, CAPTURE] {
        for (width, height, name) in [
            (0, 0, b"NV12"),
            (1296, 972, b"YM12"),
            (u32::MAX, 1, b"XR24"),
        ] {
            change(&mut *client.session, type_, |pix| {
                pix.width = width;
                pix.height = height;
                if type_ == OUTPUT {
                    pix.pixelformat = fourcc(name);
                }
            })
            .unwrap();
            let mut format = Format {
                type_,
                ..Default::default()
            };
            client.session.g_fmt(&mut format).unwrap();
            let before = format;
            client.session.try_fmt(&mut format).unwrap();
            assert_eq!(format, before);
            client.session.s_fmt(&mut format).unwrap();
            assert_eq!(format, before);
        }
    }
}

#[test]
fn a_bad_format_is_adjusted() {
    let mut client = client();
    let session = &mut *client.session;
    let before = g_fmt(session, OUTPUT);
    let pix = change(session, OUTPUT, |pix| {
        pix.pixelformat = u32::MAX;
        pix.field = 4;
        pix.num_planes = 99;
        pix.colorspace = 0xff;
        pix.xfer_func = 0xff;
        pix.ycbcr_enc = 0xff;
        pix.quantization = 0xff;
        pix.flags = 0xff;
        pix.reserved = [0xff; 7];
        pix.plane_fmt[0].sizeimage = u32::MAX;
        pix.plane_fmt[0].bytesperline = u32::MAX;
        pix.plane_fmt[0].reserved = [0xffff; 6];
        pix.plane_fmt[7].sizeimage = 8;
    })
    .unwrap();
    assert_eq!(pix, before);
    // Sizes are rounded to what ENUM_FRAMESIZES says.
    for (asked, got) in [
        ((0, 0), (32, 32)),
        ((u32::MAX, u32::MAX), (4096, 2304)),
        ((177, 145), (176, 144)),
    ] {
        let pix = change(session, OUTPUT, |pix| (pix.width, pix.height) = asked).unwrap();
        assert_eq!((pix.width, pix.height), got);
    }
    let mut format = Format {
        type_: 1,
        ..Default::default()
    };
    for result in [
        session.g_fmt(&mut format),
        session.s_fmt(&mut format),
        session.try_fmt(&mut format),
    ] {
        assert_eq!(result, Err(Errno::EINVAL));
    }
}

#[test]
fn strides_are_the_least_unless_a_client_pads() {
    let mut client = client();
    let session = &mut *client.session;
    let size = |pix: PixFormatMplane| (pix.plane_fmt[0].bytesperline, pix.plane_fmt[0].sizeimage);
    // FFmpeg: tries 0x0, then sets what that answered with its own size.
    let tiny = change(session, OUTPUT, |pix| (pix.width, pix.height) = (0, 0)).unwrap();
    let pix = change(session, OUTPUT, |pix| {
        *pix = tiny;
        (pix.width, pix.height) = (1296, 972);
    })
    .unwrap();
    assert_eq!(size(pix), (1296, 1296 * 972 * 3 / 2));
    // v4l2-ctl: changes the width of what G_FMT answered.
    let pix = change(session, OUTPUT, |pix| pix.width = 640).unwrap();
    assert_eq!(size(pix), (640, 640 * 972 * 3 / 2));
    let pix = change(session, OUTPUT, |pix| pix.plane_fmt[0].bytesperline = 768).unwrap();
    assert_eq!(size(pix), (768, 768 * 972 * 3 / 2));
}

#[test]
fn padded_frames_are_encoded_without_their_padding() {
    let encoder = encoder(Settings::default());
    let frames = nv12_frames(176, 144, 4);
    let mut plain = Client::new(&encoder);
    plain.formats(b"NV12", 176, 144);
    plain.buffers(2, 2);
    plain.streamon();
    let plain = plain.encode(&frames, 0);

    let mut padded = Client::new(&encoder);
    padded.formats(b"NV12", 176, 144);
    change(&mut *padded.session, OUTPUT, |pix| {
        pix.plane_fmt[0].bytesperline = 256
    })
    .unwrap();
    padded.buffers(2, 2);
    padded.streamon();
    let frames: Vec<_> = frames
        .iter()
        .map(|frame| {
            let rows = frame[0].chunks(176);
            vec![
                rows.flat_map(|row| [row, &[255; 80]].concat())
                    .collect::<Vec<u8>>(),
            ]
        })
        .collect();
    assert_eq!(bytes(&padded.encode(&frames, 0)), bytes(&plain));
}

/// As FFmpeg does it: sizes of planes that TRY_FMT answered for 0x0, each plane with the linesize
/// that it has in FFmpeg's memory, and `bytesused` where the last one ends.
#[test]
fn frames_of_ffmpeg_are_encoded_with_its_linesizes() {
    let encoder = encoder(Settings::default());
    let (width, height) = (200, 120);
    let pictures: Vec<_> = (0..4).map(|n| picture(width, height, n)).collect();
    let split = |(luma, chroma): &(Vec<u8>, Vec<u8>)| {
        let half = |at: usize| chroma.iter().skip(at).step_by(2).copied().collect();
        vec![luma.clone(), half(0), half(1)]
    };
    for (name, linesizes) in [
        (b"NV12", vec![256, 256]),
        (b"NV12", vec![1920, 1920]),
        (b"YU12", vec![256, 128, 128]),
        (b"YU12", vec![320, 192, 192]),
        (b"YU12", vec![224, 128, 128]),
        (b"YU12", vec![1366, 683, 683]),
    ] {
        let frames: Vec<Vec<Vec<u8>>> = pictures
            .iter()
            .map(|picture| match name {
                b"NV12" => vec![picture.0.clone(), picture.1.clone()],
                _ => split(picture),
            })
            .collect();
        let mut plain = Client::new(&encoder);
        plain.formats(name, width, height);
        plain.buffers(2, 2);
        plain.streamon();
        let packed: Vec<_> = frames.iter().map(|planes| vec![planes.concat()]).collect();
        let expected = bytes(&plain.encode(&packed, 0));

        let mut ffmpeg = Client::new(&encoder);
        ffmpeg.formats(name, 0, 0);
        let tiny = g_fmt(&mut *ffmpeg.session, OUTPUT);
        let mut ffmpeg = Client::new(&encoder);
        change(&mut *ffmpeg.session, OUTPUT, |pix| {
            *pix = tiny;
            (pix.width, pix.height) = (width, height);
        })
        .unwrap();
        ffmpeg.buffers(2, 2);
        let length = ffmpeg.querybuf(OUTPUT, 0).unwrap().1[0].length;
        assert_eq!(length, 4096 * height * 3 / 2 + 8);
        ffmpeg.streamon();
        let padded: Vec<_> = frames
            .iter()
            .map(|planes| {
                let planes = planes.iter().zip(&linesizes).enumerate();
                let copy = planes.flat_map(|(at, (plane, linesize))| {
                    let halved = name == b"YU12" && at > 0;
                    let row = if halved { width / 2 } else { width };
                    plane.chunks(row as usize).flat_map(|row| {
                        let mut row = row.to_vec();
                        row.resize(*linesize, 255);
                        row
                    })
                });
                vec![copy.collect::<Vec<u8>>()]
            })
            .collect();
        ffmpeg.bytesused = padded[0][0].len() as u32;
        let stream = bytes(&ffmpeg.encode(&padded, 0));
        assert!(
            stream == expected,
            "{linesizes:?} of {}",
            String::from_utf8_lossy(name)
        );
    }
}

/// Others have buffers of the size that the format says.
#[test]
fn only_buffers_of_ffmpeg_have_room() {
    let mut client = client();
    for (width, height) in [(1296, 972), (64, 64), (32, 32)] {
        let pix = client.formats(b"NV12", width, height).pix_mp();
        client.buffers(2, 2);
        let length = client.querybuf(OUTPUT, 0).unwrap().1[0].length;
        assert_eq!(length, pix.plane_fmt[0].sizeimage);
        client.reqbufs(OUTPUT, 0).unwrap();
        client.reqbufs(CAPTURE, 0).unwrap();
    }
    // v4l2-ctl changes the size in what G_FMT answered.
    let session = &mut *client.session;
    let pix = change(session, OUTPUT, |pix| (pix.width, pix.height) = (640, 480)).unwrap();
    let pix = change(session, OUTPUT, |now| {
        (now.width, now.height) = (pix.width * 2, 720)
    });
    let sizeimage = pix.unwrap().plane_fmt[0].sizeimage;
    client.buffers(2, 2);
    let length = client.querybuf(OUTPUT, 0).unwrap().1[0].length;
    assert_eq!(length, sizeimage);
}

#[test]
fn coded_buffers_keep_the_size_that_was_asked_for() {
    let mut client = client();
    let session = &mut *client.session;
    let size = |session: &mut dyn Session| g_fmt(session, CAPTURE).plane_fmt[0].sizeimage;
    // GStreamer: half of the largest frame, before it sets the size of frames.
    let asked = 4096 * 2304 / 2;
    change(session, CAPTURE, |pix| pix.plane_fmt[0].sizeimage = asked).unwrap();
    change(session, OUTPUT, |pix| (pix.width, pix.height) = (320, 240)).unwrap();
    assert_eq!(size(session), asked);
    // Too small for the frames is raised, and so is what was learnt at another size of frames.
    change(session, CAPTURE, |pix| pix.plane_fmt[0].sizeimage = 1).unwrap();
    assert_eq!(size(session), 320 * 240);
    for stale in [0, 1, 64 << 10, 320 * 240, 1280 * 720] {
        change(session, OUTPUT, |pix| (pix.width, pix.height) = (1280, 720)).unwrap();
        change(session, CAPTURE, |pix| pix.plane_fmt[0].sizeimage = stale).unwrap();
        assert_eq!(size(session), 1280 * 720, "{stale}");
        change(session, OUTPUT, |pix| {
            (pix.width, pix.height) = (1920, 1080)
        })
        .unwrap();
        assert_eq!(size(session), 1920 * 1080, "{stale}");
        change(session, OUTPUT, |pix| (pix.width, pix.height) = (320, 240)).unwrap();
        assert_eq!(size(session), 320 * 240, "{stale}");
    }
}

#[test]
fn colorimetry_is_echoed_and_mirrored() {
    let mut client = client();
    let session = &mut *client.session;
    let set = change(session, OUTPUT, |pix| {
        pix.colorspace = 10;
        pix.xfer_func = 7;
        pix.ycbcr_enc = 6;
        pix.quantization = 2;
    })
    .unwrap();
    for pix in [set, g_fmt(session, CAPTURE)] {
        assert_eq!(
            (
                pix.colorspace,
                pix.xfer_func,
                pix.ycbcr_enc,
                pix.quantization
            ),
            (10, 7, 6, 2)
        );
    }
}

#[test]
fn buffers_pin_formats() {
    let mut client = client();
    let busy = Err(Errno::EBUSY);
    assert_eq!(client.reqbufs(CAPTURE, 2), Ok(16));
    let session = &mut *client.session;
    assert_eq!(
        change(session, CAPTURE, |pix| pix.pixelformat = fourcc(b"VP80")).map(|_| ()),
        busy
    );
    assert_eq!(change(session, CAPTURE, |_| ()).map(|_| ()), Ok(()));
    // Chromium sets OUTPUT again after REQBUFS(CAPTURE).
    assert!(change(session, OUTPUT, |pix| pix.width = 640).is_ok());
    assert_eq!(client.reqbufs(OUTPUT, 2), Ok(2));
    let session = &mut *client.session;
    assert_eq!(
        change(session, OUTPUT, |pix| pix.width = 320).map(|_| ()),
        busy
    );
    assert!(change(session, OUTPUT, |_| ()).is_ok());
    // The frame interval and controls may be set at any time.
    client.interval(1, 24);
    client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 12);
    assert_eq!(client.reqbufs(OUTPUT, 0), Ok(0));
    assert!(change(&mut *client.session, OUTPUT, |pix| pix.width = 320).is_ok());
}

#[test]
fn sizes_and_intervals_are_listed() {
    let mut client = client();
    let session = &mut *client.session;
    for name in [b"NV12", b"YUYV", b"H264"] {
        let mut size = FrmSizeEnum {
            pixel_format: fourcc(name),
            reserved: [1; 2],
            ..Default::default()
        };
        session.enum_framesizes(&mut size).unwrap();
        assert_eq!(size.type_, FRMSIZE_TYPE_STEPWISE);
        assert_eq!(size.stepwise, [32, 4096, 2, 32, 2304, 2]);
        assert_eq!(size.reserved, [0; 2]);
        size.index = 1;
        assert_eq!(session.enum_framesizes(&mut size), Err(Errno::EINVAL));
    }
    let mut size = FrmSizeEnum::default();
    assert_eq!(session.enum_framesizes(&mut size), Err(Errno::EINVAL));
    let mut interval = FrmIvalEnum {
        pixel_format: fourcc(b"NV12"),
        width: 640,
        height: 480,
        ..Default::default()
    };
    session.enum_frameintervals(&mut interval).unwrap();
    assert_eq!(interval.type_, FRMIVAL_TYPE_CONTINUOUS);
    let [shortest, longest, _] = interval.stepwise;
    assert_eq!((shortest.numerator, shortest.denominator), (1, 1000));
    assert_eq!((longest.numerator, longest.denominator), (3600, 1));
    interval.width = 641;
    assert_eq!(
        session.enum_frameintervals(&mut interval),
        Err(Errno::EINVAL)
    );
}

#[test]
fn the_frame_interval_is_echoed() {
    let mut client = client();
    let session = &mut *client.session;
    let mut set = |numerator, denominator| {
        let mut parm = StreamParm {
            type_: OUTPUT,
            timeperframe: Fract {
                numerator,
                denominator,
            },
            extendedmode: 7,
            ..Default::default()
        };
        session.s_parm(&mut parm).unwrap();
        assert_eq!(parm.capability, V4L2_CAP_TIMEPERFRAME);
        assert_eq!(parm.extendedmode, 0);
        (parm.timeperframe.numerator, parm.timeperframe.denominator)
    };
    assert_eq!(set(1001, 30000), (1001, 30000));
    assert_eq!(set(2, 50), (2, 50));
    assert_eq!(set(0, 50), (1, 30));
    assert_eq!(set(1, 0), (1, 30));
    assert_eq!(set(1, u32::MAX), (1, 30));
    assert_eq!(set(1, 100_000), (1, 1000));
    // Time-lapse.
    assert_eq!(set(2, 1), (2, 1));
    assert_eq!(set(60, 1), (60, 1));
    assert_eq!(set(7200, 2), (7200, 2));
    assert_eq!(set(7201, 2), (3600, 1));
    assert_eq!(set(i32::MAX as u32, 1), (3600, 1));
    // v4l2-ctl names the queue by its single-planar type.
    let mut parm = StreamParm {
        type_: OUTPUT_SINGLE,
        timeperframe: Fract {
            numerator: 1,
            denominator: 24,
        },
        ..Default::default()
    };
    session.s_parm(&mut parm).unwrap();
    assert_eq!(
        (parm.type_, parm.timeperframe.denominator),
        (OUTPUT_SINGLE, 24)
    );
    for type_ in [CAPTURE, 1, 99] {
        let mut parm = StreamParm {
            type_,
            ..Default::default()
        };
        assert_eq!(session.g_parm(&mut parm), Err(Errno::EINVAL));
        assert_eq!(session.s_parm(&mut parm), Err(Errno::EINVAL));
    }
}

#[test]
fn the_crop_follows_its_rules() {
    let mut client = client();
    client.s_fmt(OUTPUT, b"NV12", 640, 480);
    let whole = Rect {
        left: 0,
        top: 0,
        width: 640,
        height: 480,
    };
    let selection = |type_, target, r| Selection {
        type_,
        target,
        r,
        ..Default::default()
    };
    for target in [
        V4L2_SEL_TGT_CROP,
        V4L2_SEL_TGT_CROP_DEFAULT,
        V4L2_SEL_TGT_CROP_BOUNDS,
    ] {
        for type_ in [OUTPUT, OUTPUT_SINGLE] {
            let mut s = selection(type_, target, Rect::default());
            client.session.g_selection(&mut s).unwrap();
            assert_eq!(s.r, whole);
        }
        for type_ in [CAPTURE, 1, 99] {
            let mut s = selection(type_, target, whole);
            assert_eq!(client.session.g_selection(&mut s), Err(Errno::EINVAL));
            assert_eq!(client.session.s_selection(&mut s), Err(Errno::EINVAL));
        }
    }
    for target in [V4L2_SEL_TGT_CROP_DEFAULT, V4L2_SEL_TGT_COMPOSE, 0x7777] {
        let mut s = selection(OUTPUT_SINGLE, target, whole);
        assert_eq!(client.session.s_selection(&mut s), Err(Errno::EINVAL));
    }
    let rect = |left, top, width, height| Rect {
        left,
        top,
        width,
        height,
    };
    assert_eq!(client.crop(16, 8, 320, 240), rect(16, 8, 320, 240));
    assert_eq!(client.crop(-5, 999, 1, 9999), rect(0, 0, 16, 480));
    assert_eq!(
        client.crop(i32::MAX, i32::MIN, 101, 101),
        rect(540, 0, 100, 100)
    );
    let mut s = selection(OUTPUT_SINGLE, V4L2_SEL_TGT_CROP, rect(0, 0, 101, 101));
    s.flags = V4L2_SEL_FLAG_GE;
    assert_eq!(client.session.s_selection(&mut s), Err(Errno::ERANGE));
    s.flags = V4L2_SEL_FLAG_LE;
    assert_eq!(client.session.s_selection(&mut s), Ok(()));
    client.s_fmt(OUTPUT, b"NV12", 640, 480);
    let mut s = selection(OUTPUT_SINGLE, V4L2_SEL_TGT_CROP, Rect::default());
    client.session.g_selection(&mut s).unwrap();
    assert_eq!(s.r, whole, "S_FMT resets it");
    client.buffers(2, 2);
    client.streamon();
    let mut s = selection(OUTPUT_SINGLE, V4L2_SEL_TGT_CROP, rect(0, 0, 100, 100));
    assert_eq!(client.session.s_selection(&mut s), Err(Errno::EBUSY));
}
