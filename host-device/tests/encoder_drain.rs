// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Draining, stopping, starting again, and clients that are slow.

mod encoder_support;

use std::time::Duration;

use encoder_support::*;
use nix::errno::Errno;
use protocol::wire::v4l2::EncoderCmd;
use virtio_v4l2d::device::encoder::Settings;
use virtio_v4l2d::v4l2::core::uapi::*;

fn client(output: u32, capture: u32) -> Client {
    let mut client = Client::new(&encoder(Settings::default()));
    client.formats(b"NV12", 176, 144);
    client.buffers(output, capture);
    client
}

const NOTHING: Duration = Duration::from_millis(200);

#[test]
fn ten_drains_lose_no_frame() {
    let mut client = client(4, 4);
    client.subscribe(V4L2_EVENT_EOS, 0, 0).unwrap();
    client.streamon();
    let frames = nv12_frames(176, 144, 13);
    let mut all = Vec::new();
    for round in 0..10 {
        let mut coded = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            client.feed(round * 13 + at, frame);
            client.collect(&mut coded);
        }
        client.cmd(V4L2_ENC_CMD_STOP).unwrap();
        assert_eq!(client.drain(&mut coded), 1, "EOS events before LAST");
        assert_eq!(coded.len(), 13, "round {round}");
        for (at, frame) in coded.iter().enumerate() {
            assert_eq!(frame.buffer.timestamp, stamp(round * 13 + at));
        }
        all.extend(coded);
        client.cmd(V4L2_ENC_CMD_START).unwrap();
    }
    // One stream throughout: an encoder without delay need not start anew.
    if let Some(decoded) = decode(&bytes(&all), "h264") {
        assert_eq!(decoded.len(), 130 * 176 * 144 * 3 / 2);
    }
    assert_eq!(
        all.iter().filter(|c| c.is_key()).count(),
        3,
        "IDRs at 0, 60, 120"
    );
}

#[test]
fn ten_restarts_give_headers_and_idr() {
    let mut client = client(4, 4);
    let frames = nv12_frames(176, 144, 7);
    for round in 0..10 {
        client.streamon();
        let coded = client.encode(&frames, round);
        assert_eq!(coded.len(), 7);
        let types = nals(&coded[0].data);
        assert!(types.contains(&7) && types.contains(&8) && types.contains(&5));
        assert_eq!(coded[0].buffer.sequence, 0, "sequences restart at 0");
        assert_eq!(coded[6].buffer.sequence, 6);
        client.streamoff();
        client.got.clear();
        while client.next(Duration::ZERO).is_some() {}
        client.remember(4, 4);
        for index in 0..4 {
            client.queue_capture(index).unwrap();
        }
    }
}

#[test]
fn restart_of_either_queue_gives_headers_and_idr() {
    let frames = nv12_frames(176, 144, 5);
    for queue in [OUTPUT, CAPTURE] {
        let mut client = client(4, 4);
        client.streamon();
        client.encode(&frames, 0);
        client.session.streamoff(queue).unwrap();
        client.session.streamoff(queue).unwrap();
        while client.next(Duration::ZERO).is_some() {}
        client.got.clear();
        client.free_output = (0..4).collect();
        if queue == CAPTURE {
            for index in 0..4 {
                client.queue_capture(index).unwrap();
            }
        } else {
            client.cmd(V4L2_ENC_CMD_START).unwrap();
        }
        client.session.streamon(queue).unwrap();
        let coded = client.encode(&frames, 10);
        assert_eq!(coded.len(), 5, "queue {queue}");
        assert!(coded[0].is_key() && nals(&coded[0].data).contains(&7));
    }
}

#[test]
fn stop_follows_the_state() {
    let mut client = client(2, 2);
    client.subscribe(V4L2_EVENT_EOS, 0, 0).unwrap();
    // Not streaming: nothing.
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    client.session.streamon(OUTPUT).unwrap();
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    client.session.streamoff(OUTPUT).unwrap();
    assert!(client.next(NOTHING).is_none());
    for cmd in [2, 3, 99] {
        assert_eq!(client.cmd(cmd), Err(Errno::EINVAL));
    }
    let mut cmd = EncoderCmd {
        cmd: V4L2_ENC_CMD_STOP,
        flags: u32::MAX,
        ..Default::default()
    };
    client.session.try_encoder_cmd(&mut cmd).unwrap();
    assert_eq!(cmd.flags, 0);

    client.streamon();
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    assert_eq!(
        client.drain(&mut Vec::new()),
        0,
        "no frame, no end of stream to tell of"
    );
    // Stopped: once more does nothing, frames wait for START.
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    client.feed(5, &nv12(picture(176, 144, 0)));
    assert!(client.next(NOTHING).is_none());
    client.cmd(V4L2_ENC_CMD_START).unwrap();
    let stamp_of = client.until(|got| match got {
        Got::Coded(buffer, _) => Some(buffer.timestamp),
        _ => None,
    });
    assert_eq!(stamp_of, stamp(5));
    // A drain without a new frame is a drain.
    client.got.clear();
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    assert_eq!(client.drain(&mut Vec::new()), 1);
    client.cmd(V4L2_ENC_CMD_START).unwrap();
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    assert_eq!(client.drain(&mut Vec::new()), 1);
}

#[test]
fn a_drain_waits_for_a_capture_buffer() {
    let mut client = client(2, 1);
    client.subscribe(V4L2_EVENT_EOS, 0, 0).unwrap();
    client.streamon();
    // The only CAPTURE buffer comes back with data; EOS and LAST wait for it.
    client.feed(0, &nv12(picture(176, 144, 0)));
    let index = client.until(|got| match got {
        Got::Coded(buffer, _) => Some(buffer.index),
        _ => None,
    });
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    assert_eq!(client.cmd(V4L2_ENC_CMD_STOP), Err(Errno::EBUSY));
    assert_eq!(client.cmd(V4L2_ENC_CMD_START), Err(Errno::EBUSY));
    while client.next(NOTHING).is_some() {}
    client.got.clear();
    client.queue_capture(index).unwrap();
    assert_eq!(client.drain(&mut Vec::new()), 1);
}

#[test]
fn streamoff_ends_a_drain() {
    // OUTPUT: an empty LAST completes it.
    let mut client = client(4, 1);
    client.subscribe(V4L2_EVENT_EOS, 0, 0).unwrap();
    client.streamon();
    for number in 0..4 {
        client.feed(number, &nv12(picture(176, 144, number)));
    }
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    client.session.streamoff(OUTPUT).unwrap();
    let mut coded = Vec::new();
    assert_eq!(client.drain(&mut coded), 1);
    assert!(coded.len() <= 2);
    // CAPTURE: it is off, and frames are encoded again.
    client.free_output = (0..4).collect();
    client.session.streamon(OUTPUT).unwrap();
    client.cmd(V4L2_ENC_CMD_START).unwrap();
    for number in 0..4 {
        client.feed(number, &nv12(picture(176, 144, number)));
    }
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    client.session.streamoff(CAPTURE).unwrap();
    while client.next(NOTHING).is_some() {}
    client.got.clear();
    client.session.streamoff(OUTPUT).unwrap();
    client.queue_capture(0).unwrap();
    client.free_output = (0..4).collect();
    client.streamon();
    assert_eq!(client.encode(&nv12_frames(176, 144, 3), 0).len(), 3);
}

#[test]
fn a_slow_consumer_recovers_without_loss() {
    let mut client = client(16, 4);
    client.streamon();
    let frames = nv12_frames(176, 144, 16);
    for (at, frame) in frames.iter().enumerate() {
        client.feed(at, frame);
    }
    // It holds all four.
    let mut held = Vec::new();
    while let Some(got) = client.next(Duration::from_millis(500)) {
        if let Got::Coded(buffer, data) = got {
            held.push((buffer, data));
        }
    }
    assert_eq!(held.len(), 4);
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    assert!(client.next(NOTHING).is_none());
    let mut coded: Vec<Coded> = Vec::new();
    for (buffer, data) in held {
        client.queue_capture(buffer.index).unwrap();
        coded.push(Coded { buffer, data });
    }
    client.drain(&mut coded);
    assert_eq!(coded.len(), 16);
    for (at, frame) in coded.iter().enumerate() {
        assert_eq!(frame.buffer.timestamp, stamp(at));
    }
}

/// FFmpeg that has nothing to encode: STOP, STREAMON of both queues, and it waits for the end.
/// There is no EOS event, which v4l2-compliance would take for the next stream's.
#[test]
fn a_stream_that_was_stopped_before_it_began_ends() {
    for frames_after in [0, 1] {
        let mut client = Client::new(&encoder(Settings::default()));
        client.formats(b"NV12", 176, 144);
        client.buffers(4, 4);
        client.subscribe(V4L2_EVENT_EOS, 0, 0).unwrap();
        client.cmd(V4L2_ENC_CMD_STOP).unwrap();
        if frames_after > 0 {
            client.feed(0, &nv12(picture(176, 144, 0)));
        }
        client.streamon();
        let mut coded = Vec::new();
        if frames_after > 0 {
            // That STOP was not for this stream.
            client.until_idle();
            client.cmd(V4L2_ENC_CMD_STOP).unwrap();
        }
        let eos = client.drain(&mut coded);
        assert_eq!((coded.len(), eos), (frames_after, frames_after));
        client.streamoff();
    }
}

/// x264 has no way to make it fit with the quantiser that is asked for: it gets another one.
#[test]
fn a_frame_too_large_is_encoded_once_more() {
    let mut client = Client::new(&encoder(Settings::default()));
    client.formats(b"NV12", 512, 512);
    // Noise at the finest quantiser does not fit.
    client.control(V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE, 0);
    client.control(V4L2_CID_MPEG_VIDEO_H264_MIN_QP, 0);
    client.control(V4L2_CID_MPEG_VIDEO_H264_P_FRAME_QP, 1);
    client.buffers(3, 2);
    client.streamon();
    let mut seed = 1u32;
    let noise: Vec<u8> = (0..512 * 512 * 3 / 2)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect();
    let flat = vec![100; 512 * 512 * 3 / 2];
    let coded = client.encode(&[vec![flat.clone()], vec![noise], vec![flat]], 0);
    assert_eq!(coded.len(), 3);
    for (at, frame) in coded.iter().enumerate() {
        assert_eq!(frame.buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
        assert_eq!(frame.buffer.timestamp, stamp(at));
        assert!(frame.data.len() <= 512 * 512);
    }
    assert!(coded[1].data.len() > 100_000, "it is the noise");
    assert!(coded[1].is_key() && !coded[2].is_key());
    if let Some(decoded) = decode(&bytes(&coded), "h264") {
        assert_eq!(decoded.len(), 3 * 512 * 512 * 3 / 2);
    }
}

#[test]
fn sessions_end_with_frames_inside() {
    for _ in 0..20 {
        let mut client = client(8, 2);
        client.streamon();
        for number in 0..8 {
            client.feed(number, &nv12(picture(176, 144, number)));
        }
        // Dropped here, whatever the encoder is doing.
    }
}

#[test]
fn streamoff_gives_all_buffers_back() {
    let mut client = client(8, 2);
    client.streamon();
    for number in 0..8 {
        client.feed(number, &nv12(picture(176, 144, number)));
    }
    client.session.streamoff(OUTPUT).unwrap();
    while client.next(Duration::ZERO).is_some() {}
    for index in 0..8 {
        let (buffer, _) = client.querybuf(OUTPUT, index).unwrap();
        assert_eq!(buffer.flags & V4L2_BUF_FLAG_QUEUED, 0);
        client.queue_output(index, stamp(0)).unwrap();
    }
    client.session.streamoff(OUTPUT).unwrap();
    assert!(client.next(NOTHING).is_none(), "STREAMOFF sends no buffers");
}
