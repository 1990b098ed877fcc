// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Streams: what goes in comes out, once, in order, and decodes to the same pictures.

mod encoder_support;

use encoder_support::*;
use virtio_v4l2d::device::encoder::Settings;
use virtio_v4l2d::v4l2::core::uapi::*;

fn raw(frames: &[Vec<Vec<u8>>]) -> Vec<u8> {
    frames.iter().flatten().flatten().copied().collect()
}

/// One access unit for each frame, with its timestamp.
fn check_buffers(coded: &[Coded], count: usize, first: usize) {
    assert_eq!(coded.len(), count);
    for (at, frame) in coded.iter().enumerate() {
        assert_eq!(frame.buffer.timestamp, stamp(first + at));
        assert_eq!(frame.buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
        let types = (V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_BFRAME)
            & frame.buffer.flags;
        assert!(types == V4L2_BUF_FLAG_KEYFRAME || types == V4L2_BUF_FLAG_PFRAME);
        assert_eq!(frame.buffer.field, FIELD_NONE);
        assert_ne!(frame.buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_COPY, 0);
        let slices = nals(&frame.data)
            .iter()
            .filter(|t| matches!(t, 1 | 5))
            .count();
        assert_eq!(slices, 1, "one access unit of one slice");
        assert_eq!(nals(&frame.data).contains(&5), frame.is_key());
    }
}

fn check_pictures(coded: &[Coded], raw: &[u8], least: f64) {
    if let Some(decoded) = decode(&bytes(coded), "h264") {
        assert_eq!(decoded.len(), raw.len());
        let psnr = psnr(&decoded, raw);
        assert!(psnr > least, "PSNR {psnr}");
    }
}

#[test]
fn encodes_frames_that_decode_to_the_same_pictures() {
    let encoder = encoder(Settings::default());
    for (width, height) in [(176, 144), (1296, 972), (1920, 1080), (32, 32)] {
        let mut client = Client::new(&encoder);
        let format = client.formats(b"NV12", width, height).pix_mp();
        assert_eq!(format.plane_fmt[0].bytesperline, width);
        assert_eq!(format.plane_fmt[0].sizeimage, width * height * 3 / 2);
        client.buffers(4, 4);
        client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 20_000_000);
        client.streamon();
        let frames = nv12_frames(width, height, 10);
        let coded = client.encode(&frames, 0);
        check_buffers(&coded, 10, 0);
        for (at, frame) in coded.iter().enumerate() {
            assert_eq!(frame.buffer.sequence as usize, at);
        }
        check_pictures(&coded, &raw(&frames), 35.0);
        assert!(coded[0].is_key());
        let types = nals(&coded[0].data);
        assert!(types.contains(&7) && types.contains(&8), "{types:?}");
    }
}

#[test]
fn every_raw_format_gives_the_same_pictures() {
    let encoder = encoder(all_formats());
    let (width, height, count) = (352, 288, 5);
    let pictures: Vec<_> = (0..count).map(|n| picture(width, height, n)).collect();
    let expected = raw(&nv12_frames(width, height, count));
    let mut streams = Vec::new();
    for name in [b"NV12", b"YU12", b"NM12", b"YM12"] {
        let frames: Vec<Vec<Vec<u8>>> = pictures
            .iter()
            .cloned()
            .map(|(luma, chroma)| {
                let half = |at: usize| chroma.iter().skip(at).step_by(2).copied().collect();
                let (u, v): (Vec<u8>, Vec<u8>) = (half(0), half(1));
                match name {
                    b"NV12" => vec![[luma, chroma].concat()],
                    b"YU12" => vec![[luma, u, v].concat()],
                    b"NM12" => vec![luma, chroma],
                    _ => vec![luma, u, v],
                }
            })
            .collect();
        let mut client = Client::new(&encoder);
        client.formats(name, width, height);
        assert_eq!(client.planes, frames[0].len());
        client.buffers(2, 2);
        client.streamon();
        let coded = client.encode(&frames, 0);
        check_buffers(&coded, count, 0);
        check_pictures(&coded, &expected, 40.0);
        streams.push(bytes(&coded));
    }
    // x264 sees the same samples, however they lay in memory.
    assert_eq!(streams[0], streams[2]);
    assert_eq!(streams[1], streams[3]);
}

#[test]
fn packed_formats_are_converted() {
    let encoder = encoder(Settings::default());
    let (width, height) = (320, 240);
    for (name, pixel) in [
        (b"XR24", vec![200u8, 100, 50, 0]),
        (b"BGR4", vec![200, 100, 50, 0]),
        (b"YUYV", vec![99, 177, 99, 102]),
    ] {
        let pixels = (width * height) as usize * if name == b"YUYV" { 2 } else { 4 };
        let frame = vec![
            pixel
                .iter()
                .copied()
                .cycle()
                .take(pixels)
                .collect::<Vec<u8>>(),
        ];
        let mut client = Client::new(&encoder);
        client.formats(name, width, height);
        client.buffers(2, 2);
        client.streamon();
        let coded = client.encode(&vec![frame; 4], 0);
        check_buffers(&coded, 4, 0);
        if let Some(decoded) = decode(&bytes(&coded), "h264") {
            // Rec. 709 of that blue.
            let near = |a: u8, b: u8| a.abs_diff(b) <= 4;
            let luma = (width * height) as usize;
            assert!(
                near(decoded[luma / 2], 99),
                "{name:?}: Y {}",
                decoded[luma / 2]
            );
            assert!(near(decoded[luma], 177), "{name:?}: Cb {}", decoded[luma]);
            assert!(
                near(decoded[luma + 1], 102),
                "{name:?}: Cr {}",
                decoded[luma + 1]
            );
        }
    }
}

#[test]
fn the_crop_is_encoded_and_nothing_else() {
    let encoder = encoder(all_formats());
    let (width, height, count) = (640, 480, 6);
    for (name, planes) in [(b"NV12", 1), (b"NM12", 2)] {
        let pictures: Vec<_> = (0..count).map(|n| picture(width, height, n)).collect();
        let split = |(luma, chroma): (Vec<u8>, Vec<u8>)| match planes {
            1 => vec![[luma, chroma].concat()],
            _ => vec![luma, chroma],
        };
        let whole: Vec<_> = pictures.iter().cloned().map(split).collect();
        let parts: Vec<_> = pictures
            .iter()
            .map(|p| split(cut(p, 640, (34, 18), (320, 240))))
            .collect();

        let mut cropped = Client::new(&encoder);
        cropped.formats(name, width, height);
        let rect = cropped.crop(34, 18, 320, 240);
        assert_eq!(
            (rect.left, rect.top, rect.width, rect.height),
            (34, 18, 320, 240)
        );
        // At the usual one the smaller CAPTURE buffers bound the rate control.
        cropped.control(V4L2_CID_MPEG_VIDEO_BITRATE, 500_000);
        cropped.buffers(2, 2);
        cropped.streamon();
        let cropped = cropped.encode(&whole, 0);

        let mut plain = Client::new(&encoder);
        plain.formats(name, 320, 240);
        plain.control(V4L2_CID_MPEG_VIDEO_BITRATE, 500_000);
        plain.buffers(2, 2);
        plain.streamon();
        let plain = plain.encode(&parts, 0);
        assert_eq!(bytes(&cropped), bytes(&plain), "not the pixels of the crop");
    }
}

#[test]
fn four_sessions_at_once_do_not_mix() {
    let encoder = encoder(Settings::default());
    let sizes = [(320, 240), (352, 288), (176, 144), (640, 360)];
    let alone: Vec<Vec<u8>> = sizes
        .iter()
        .map(|(width, height)| {
            let mut client = Client::new(&encoder);
            client.formats(b"NV12", *width, *height);
            client.buffers(3, 3);
            client.streamon();
            bytes(&client.encode(&nv12_frames(*width, *height, 20), 0))
        })
        .collect();
    let together: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = sizes
            .iter()
            .map(|(width, height)| {
                let encoder = &encoder;
                scope.spawn(move || {
                    let mut client = Client::new(encoder);
                    client.formats(b"NV12", *width, *height);
                    client.buffers(3, 3);
                    client.streamon();
                    bytes(&client.encode(&nv12_frames(*width, *height, 20), 0))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(alone == together, "streams differ when made at once");
}

#[test]
fn the_stream_is_what_gst_launch_makes_of_the_same_frames() {
    let encoder = encoder(Settings::default());
    let (width, height) = (640, 360);
    let frames = nv12_frames(width, height, 90);
    let mut client = Client::new(&encoder);
    client.formats(b"NV12", width, height);
    client.interval(1, 25);
    client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 1_500_000);
    client.buffers(4, 4);
    client.streamon();
    let coded = client.encode(&frames, 0);
    // More than one group of pictures.
    assert_eq!(coded.iter().filter(|c| c.is_key()).count(), 2);

    let dir = std::env::temp_dir().join(format!("encoder-identity-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("raw"), raw(&frames)).unwrap();
    let line = log::gst_launch().expect("no gst-launch line in the log");
    let line = line.replace("RAW", "raw").replace("CODED", "coded");
    let status = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(&dir)
        .status()
        .unwrap();
    assert!(status.success(), "{line}");
    let expected = std::fs::read(dir.join("coded")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(bytes(&coded) == expected, "differs from: {line}");
}

/// v4l2-compliance streams every pair of formats at the smallest and the largest size.
#[test]
fn every_codec_takes_the_smallest_and_the_largest_frame() {
    let encoder = encoder(Settings::default());
    for name in [b"H264", b"HEVC", b"VP80", b"VP90"] {
        for (width, height, count) in [(32, 32, 60), (4096, 2304, 3)] {
            let mut client = Client::new(&encoder);
            if !client.has_codec(name) {
                continue;
            }
            client.s_fmt(CAPTURE, name, 0, 0);
            client.s_fmt(OUTPUT, b"NV12", width, height);
            client.buffers(2, 2);
            client.streamon();
            let frames = nv12_frames(width, height, count);
            let coded = client.encode(&frames, 0);
            assert_eq!(coded.len(), count, "{}", String::from_utf8_lossy(name));
            for (at, frame) in coded.iter().enumerate() {
                assert_eq!(
                    frame.buffer.flags & V4L2_BUF_FLAG_ERROR,
                    0,
                    "{name:?} frame {at}"
                );
            }
        }
    }
}

#[test]
fn other_codecs_encode_too() {
    let encoder = encoder(Settings::default());
    let frames = nv12_frames(320, 240, 12);
    for (name, demuxer) in [(b"HEVC", Some("hevc")), (b"VP80", None), (b"VP90", None)] {
        let mut client = Client::new(&encoder);
        if !client.has_codec(name) {
            eprintln!("no encoder for {}", String::from_utf8_lossy(name));
            continue;
        }
        client.s_fmt(CAPTURE, name, 0, 0);
        client.s_fmt(OUTPUT, b"NV12", 320, 240);
        client.buffers(4, 4);
        client.streamon();
        let mut all = Vec::new();
        for round in 0..2 {
            let coded = client.encode(&frames, round * 12);
            assert_eq!(
                coded.len(),
                frames.len(),
                "{}",
                String::from_utf8_lossy(name)
            );
            for (at, frame) in coded.iter().enumerate() {
                assert_eq!(frame.buffer.timestamp, stamp(round * 12 + at));
                assert_eq!(frame.buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
            }
            all.extend(coded);
            client.cmd(V4L2_ENC_CMD_START).unwrap();
        }
        if let Some(decoded) = demuxer.and_then(|demuxer| decode(&bytes(&all), demuxer)) {
            let twice = [raw(&frames), raw(&frames)].concat();
            let psnr = psnr(&decoded, &twice);
            assert!(
                psnr > 30.0,
                "{}: PSNR {psnr}",
                String::from_utf8_lossy(name)
            );
        }
    }
}

/// Time-lapse: a frame a minute, and one an hour.
#[test]
fn slow_streams_have_every_frame() {
    let encoder = encoder(Settings::default());
    let frames = nv12_frames(176, 144, 8);
    for name in [b"H264", b"HEVC", b"VP80", b"VP90"] {
        for interval in [(2, 1), (60, 1), (3600, 1)] {
            let mut client = Client::new(&encoder);
            if !client.has_codec(name) {
                continue;
            }
            client.s_fmt(CAPTURE, name, 0, 0);
            client.s_fmt(OUTPUT, b"NV12", 176, 144);
            client.interval(interval.0, interval.1);
            client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 3);
            client.buffers(2, 2);
            client.streamon();
            let coded = client.encode(&frames, 0);
            let name = String::from_utf8_lossy(name);
            assert_eq!(coded.len(), 8, "{name} {interval:?}");
            for (at, frame) in coded.iter().enumerate() {
                assert_eq!(frame.buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
                assert_eq!(frame.buffer.timestamp, stamp(at));
                assert_eq!(frame.is_key(), at % 3 == 0, "{name} {interval:?} {at}");
            }
            if name == "H264" {
                check_pictures(&coded, &raw(&frames), 35.0);
            }
        }
    }
}
