// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Controls that act on a running stream: key frames, group of pictures, bitrate, frame rate,
//! profile and level.

mod encoder_support;

use encoder_support::*;
use virtio_v4l2d::device::encoder::Settings;
use virtio_v4l2d::v4l2::core::uapi::*;

fn client(width: u32, height: u32) -> Client {
    let mut client = Client::new(&encoder(Settings::default()));
    client.formats(b"NV12", width, height);
    client.buffers(4, 4);
    client
}

/// Encodes with something done before some frames.
fn encode_with(
    client: &mut Client,
    frames: &[Vec<Vec<u8>>],
    mut before: impl FnMut(&mut Client, usize),
) -> Vec<Coded> {
    let mut coded = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        before(client, at);
        client.feed(at, frame);
        client.collect(&mut coded);
    }
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    client.drain(&mut coded);
    assert_eq!(coded.len(), frames.len());
    coded
}

fn keys(coded: &[Coded]) -> Vec<usize> {
    for frame in coded {
        let types = nals(&frame.data);
        assert_eq!(types.contains(&5), frame.is_key());
        assert_eq!(
            types.contains(&7),
            frame.is_key(),
            "headers with each IDR, and no other"
        );
    }
    (0..coded.len()).filter(|at| coded[*at].is_key()).collect()
}

#[test]
fn a_forced_key_frame_is_the_next_that_is_queued() {
    let mut client = client(176, 144);
    client.streamon();
    let frames = nv12_frames(176, 144, 30);
    let coded = encode_with(&mut client, &frames, |client, at| {
        if at == 7 || at == 8 || at == 20 {
            // FFmpeg writes 0, GStreamer 1.
            client.control(V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, (at % 2) as i32);
        }
    });
    assert_eq!(keys(&coded), [0, 7, 8, 20]);
}

#[test]
fn groups_of_pictures_have_the_size_that_is_set() {
    for (id, size, expected) in [
        (V4L2_CID_MPEG_VIDEO_GOP_SIZE, 10, vec![0, 10, 20, 30]),
        (V4L2_CID_MPEG_VIDEO_GOP_SIZE, 0, vec![0]),
        (V4L2_CID_MPEG_VIDEO_H264_I_PERIOD, 15, vec![0, 15, 30]),
        (V4L2_CID_MPEG_VIDEO_H264_I_PERIOD, 1, (0..35).collect()),
    ] {
        let mut client = client(176, 144);
        client.control(id, size);
        client.streamon();
        let coded = client.encode(&nv12_frames(176, 144, 35), 0);
        assert_eq!(keys(&coded), expected);
    }
}

/// Bytes that no encoder can make less of.
fn noise() -> impl FnMut() -> u8 {
    let mut seed = 1u32;
    move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    }
}

/// A moving picture with grain, which costs as many bits as there are.
fn grainy(width: u32, height: u32, count: usize) -> Vec<Vec<Vec<u8>>> {
    let mut noise = noise();
    (0..count)
        .map(|number| {
            let (mut luma, chroma) = picture(width, height, number);
            for byte in &mut luma {
                *byte += noise() % 16;
            }
            nv12((luma, chroma))
        })
        .collect()
}

/// Three pictures that have nothing in common, then noise: what an encoder would like to begin anew
/// with.
fn cuts(width: u32, height: u32, at: &[usize], count: usize) -> Vec<Vec<Vec<u8>>> {
    let mut noise = noise();
    let last = at.len();
    (0..count)
        .map(|number| {
            let scene = at.iter().filter(|cut| **cut <= number).count();
            let (mut luma, mut chroma) = picture(width, height, number + 1000 * scene);
            for byte in luma.iter_mut().chain(&mut chroma) {
                *byte = match scene {
                    _ if scene == last => noise(),
                    1 => !*byte,
                    2 => byte.rotate_left(3),
                    _ => *byte,
                };
            }
            nv12((luma, chroma))
        })
        .collect()
}

#[test]
fn key_frames_are_not_where_pictures_change() {
    let encoder = encoder(Settings::default());
    let frames = cuts(176, 144, &[20, 40, 60], 70);
    for name in [b"H264", b"HEVC", b"VP80", b"VP90"] {
        for (gop, expected) in [(30, &[0, 30, 60][..]), (0, &[0])] {
            let mut client = Client::new(&encoder);
            if !client.has_codec(name) {
                continue;
            }
            client.s_fmt(CAPTURE, name, 0, 0);
            client.s_fmt(OUTPUT, b"NV12", 176, 144);
            client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, gop);
            client.buffers(4, 4);
            client.streamon();
            let coded = client.encode(&frames, 0);
            let keys: Vec<_> = (0..70).filter(|at| coded[*at].is_key()).collect();
            let name = String::from_utf8_lossy(name);
            assert_eq!(keys, expected, "{name}, group of {gop}");
        }
    }
}

/// x265 has a distance of its own, 250.
#[test]
fn no_group_of_pictures_is_none_for_any_number_of_frames() {
    let encoder = encoder(Settings::default());
    let frames: Vec<_> = nv12_frames(64, 64, 20)
        .into_iter()
        .cycle()
        .take(270)
        .collect();
    for name in [b"H264", b"HEVC", b"VP80", b"VP90"] {
        let mut client = Client::new(&encoder);
        if !client.has_codec(name) {
            continue;
        }
        client.s_fmt(CAPTURE, name, 0, 0);
        client.s_fmt(OUTPUT, b"NV12", 64, 64);
        client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 0);
        client.buffers(4, 4);
        client.streamon();
        let coded = client.encode(&frames, 0);
        let keys = coded.iter().filter(|frame| frame.is_key()).count();
        assert_eq!(keys, 1, "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn the_group_of_pictures_changes_while_streaming() {
    let mut client = client(176, 144);
    client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 10);
    client.streamon();
    let frames = nv12_frames(176, 144, 60);
    let coded = encode_with(&mut client, &frames, |client, at| {
        // Shorter, then none at all.
        if at == 20 {
            client.until_idle();
            client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 4);
        }
        if at == 30 {
            client.until_idle();
            client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 0);
        }
    });
    // At 30 the encoder starts anew, since its own distance is 10.
    assert_eq!(keys(&coded), [0, 10, 20, 24, 28, 30]);
}

#[test]
fn the_bitrate_changes_while_streaming() {
    let mut client = client(352, 288);
    client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 300_000);
    client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 0);
    client.streamon();
    let (half, fps) = (150, 30);
    let frames = grainy(352, 288, 2 * half);
    let coded = encode_with(&mut client, &frames, |client, at| {
        if at == half {
            client.until_idle();
            client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 1_200_000);
        }
    });
    let rate = |part: &[Coded]| bytes(part).len() * 8 * fps / part.len();
    // Without the first second of each.
    let (low, high) = (rate(&coded[fps..half]), rate(&coded[half + fps..]));
    assert!(
        (240_000..=360_000).contains(&low),
        "{low} bit/s at 300 kbit/s"
    );
    assert!(
        (960_000..=1_440_000).contains(&high),
        "{high} bit/s at 1200 kbit/s"
    );
    assert_eq!(keys(&coded), [0], "no new key frame");
}

/// x265enc takes a bitrate at its start only: it starts anew, with a key frame.
#[test]
fn other_codecs_take_key_frames_and_bitrates_too() {
    let encoder = encoder(Settings::default());
    for (name, restarts) in [(b"HEVC", true), (b"VP80", false), (b"VP90", false)] {
        let mut client = Client::new(&encoder);
        if !client.has_codec(name) {
            continue;
        }
        client.s_fmt(CAPTURE, name, 0, 0);
        client.s_fmt(OUTPUT, b"NV12", 176, 144);
        client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 100_000);
        client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 0);
        client.buffers(4, 4);
        client.streamon();
        let frames = nv12_frames(176, 144, 120);
        let coded = encode_with(&mut client, &frames, |client, at| match at {
            9 => client.control(V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, 1),
            60 => {
                client.until_idle();
                client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 400_000);
            }
            _ => {}
        });
        let keys: Vec<_> = (0..120).filter(|at| coded[*at].is_key()).collect();
        let name = String::from_utf8_lossy(name);
        if restarts {
            assert_eq!(keys, [0, 9, 60], "{name}");
        } else {
            assert_eq!(keys, [0, 9], "{name}");
        }
        let (low, high) = (bytes(&coded[30..60]).len(), bytes(&coded[90..]).len());
        assert!(high > 2 * low, "{name}: {low} bytes, then {high}");
    }
}

#[test]
fn variable_bitrate_is_met_on_average() {
    let mut client = client(352, 288);
    client.control(V4L2_CID_MPEG_VIDEO_BITRATE_MODE, 0);
    client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 300_000);
    client.streamon();
    let coded = client.encode(&nv12_frames(352, 288, 200), 0);
    let rate = bytes(&coded).len() * 8 * 30 / 200;
    assert!((200_000..=400_000).contains(&rate), "{rate} bit/s");
}

#[test]
fn coding_tools_are_switched() {
    let encode = |id, value| {
        let mut client = client(176, 144);
        client.control(id, value);
        client.streamon();
        let coded = client.encode(&nv12_frames(176, 144, 5), 0);
        let stream = bytes(&coded);
        if let Some(decoded) = decode(&stream, "h264") {
            assert_eq!(decoded.len(), 5 * 176 * 144 * 3 / 2);
        }
        stream
    };
    let usual = encode(V4L2_CID_MPEG_VIDEO_H264_ENTROPY_MODE, 1);
    for (id, value) in [
        (V4L2_CID_MPEG_VIDEO_H264_ENTROPY_MODE, 0),
        (V4L2_CID_MPEG_VIDEO_H264_8X8_TRANSFORM, 0),
        (V4L2_CID_MPEG_VIDEO_H264_LOOP_FILTER_MODE, 1),
    ] {
        assert!(encode(id, value) != usual, "{id:#x} changes nothing");
    }
}

#[test]
fn a_frame_rate_change_scales_the_bitrate_without_a_key_frame() {
    let mut client = client(352, 288);
    client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 150_000);
    client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 0);
    client.interval(1, 30);
    client.streamon();
    let frames = grainy(352, 288, 240);
    let coded = encode_with(&mut client, &frames, |client, at| {
        if at == 120 {
            client.until_idle();
            client.interval(1, 15);
        }
    });
    let per_frame = |part: &[Coded]| bytes(part).len() * 8 / part.len();
    let (before, after) = (per_frame(&coded[60..120]), per_frame(&coded[180..]));
    // The buffer model pays back the first key frame in the first half.
    assert!(before < 6_000, "{before} bit per frame at 30 fps");
    assert!(
        (8_000..=12_000).contains(&after),
        "{after} bit per frame at 15 fps"
    );
    assert_eq!(keys(&coded), [0]);
}

/// Profile, constraint flags and level out of the SPS.
fn sps(data: &[u8]) -> (u8, u8, u8) {
    let at = data
        .windows(4)
        .position(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == 7)
        .unwrap();
    (data[at + 4], data[at + 5], data[at + 6])
}

#[test]
fn profile_and_level_are_in_the_stream() {
    for (profile, idc) in [(0, 66), (1, 66), (2, 77), (4, 100)] {
        for (level, size, expected) in [
            (0, (176, 144), 11),
            (11, (176, 144), 40),
            (0, (1280, 720), 31),
        ] {
            let mut client = client(size.0, size.1);
            client.control(V4L2_CID_MPEG_VIDEO_H264_PROFILE, profile);
            client.control(V4L2_CID_MPEG_VIDEO_H264_LEVEL, level);
            client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 150_000);
            client.streamon();
            let coded = client.encode(&nv12_frames(size.0, size.1, 2), 0);
            let (is, _, level_is) = sps(&coded[0].data);
            assert_eq!(
                (is, level_is),
                (idc, expected),
                "profile {profile}, level {level}"
            );
        }
    }
}

#[test]
fn quantisers_are_kept() {
    let sizes = [10, 40].map(|qp| {
        let mut client = client(352, 288);
        client.control(V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE, 0);
        client.control(V4L2_CID_MPEG_VIDEO_H264_P_FRAME_QP, qp);
        client.streamon();
        bytes(&client.encode(&nv12_frames(352, 288, 10), 0)).len()
    });
    assert!(sizes[0] > 4 * sizes[1], "{sizes:?}");
    // A floor under the quantiser holds against a bitrate that would allow more.
    let mut client = client(352, 288);
    client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 50_000_000);
    client.control(V4L2_CID_MPEG_VIDEO_H264_MIN_QP, 40);
    client.streamon();
    let floor = bytes(&client.encode(&nv12_frames(352, 288, 10), 0)).len();
    assert!(floor < 2 * sizes[1], "{floor} {sizes:?}");
}

/// Noise at more bits than CAPTURE buffers hold, with whatever quality a client asks for: each
/// frame fits, and all decode.
#[test]
fn coded_frames_fit_into_their_buffers() {
    let (width, height, count) = (320, 240, 6);
    let mut noise = noise();
    let frames: Vec<_> = (0..count)
        .map(|_| {
            let mut some = |len| (0..len).map(|_| noise()).collect();
            nv12((some(width * height), some(width * height / 2)))
        })
        .collect();
    let encoder = encoder(Settings::default());
    // Frames per second, bits per second, and other controls that forbid what would be needed.
    let rates = [
        (1, 25_000_000, vec![]),
        (30, 100_000_000, vec![]),
        (30, 100_000_000, vec![(V4L2_CID_MPEG_VIDEO_BITRATE_MODE, 0)]),
        (
            30,
            100_000_000,
            vec![
                (V4L2_CID_MPEG_VIDEO_H264_MIN_QP, 0),
                (V4L2_CID_MPEG_VIDEO_H264_MAX_QP, 4),
                (V4L2_CID_MPEG_VIDEO_HEVC_MAX_QP, 4),
                (V4L2_CID_MPEG_VIDEO_VPX_MIN_QP, 0),
                (V4L2_CID_MPEG_VIDEO_VPX_MAX_QP, 8),
            ],
        ),
        (
            30,
            100_000_000,
            vec![
                (V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE, 0),
                (V4L2_CID_MPEG_VIDEO_H264_P_FRAME_QP, 1),
            ],
        ),
    ];
    for (name, demuxer) in [
        (b"H264", "h264"),
        (b"HEVC", "hevc"),
        (b"VP80", "ivf"),
        (b"VP90", "ivf"),
    ] {
        for (fps, bitrate, controls) in &rates {
            let mut client = Client::new(&encoder);
            if !client.has_codec(name) {
                continue;
            }
            client.s_fmt(CAPTURE, name, 0, 0);
            client.s_fmt(OUTPUT, b"NV12", width as u32, height as u32);
            client.interval(1, *fps);
            client.control(V4L2_CID_MPEG_VIDEO_BITRATE, *bitrate);
            client.control(V4L2_CID_MPEG_VIDEO_GOP_SIZE, 0);
            for (id, value) in controls {
                client.control(*id, *value);
            }
            client.buffers(4, 4);
            client.streamon();
            let coded = client.encode(&frames, 0);
            let what = format!("{}, {fps}/s, {controls:x?}", String::from_utf8_lossy(name));
            for (at, frame) in coded.iter().enumerate() {
                let failed = frame.buffer.flags & V4L2_BUF_FLAG_ERROR != 0;
                assert!(!failed, "{what}: frame {at}");
            }
            let stream = match demuxer {
                "ivf" => ivf(&coded, name, width as u16, height as u16),
                _ => bytes(&coded),
            };
            if let Some(decoded) = decode(&stream, demuxer) {
                assert_eq!(decoded.len(), count * width * height * 3 / 2, "{what}");
            }
            let sizes: Vec<_> = coded.iter().map(|frame| frame.data.len()).collect();
            assert!(sizes.iter().any(|size| *size > 20_000), "{what}: {sizes:?}");
        }
    }
}
