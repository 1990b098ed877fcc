// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Encoders that fail, and other elements than the usual ones.

mod encoder_support;

use encoder_support::*;
use nix::errno::Errno;
use virtio_v4l2d::device::encoder::Settings;
use virtio_v4l2d::v4l2::core::uapi::*;

/// x265 takes no frame smaller than its coding tree unit.
#[test]
fn an_encoder_that_does_not_start_fails_streamon_and_nothing_else() {
    let mut client = Client::new(&encoder(Settings::default()));
    if !client.has_codec(b"HEVC") {
        eprintln!("no x265enc: nothing to test");
        return;
    }
    client.s_fmt(CAPTURE, b"HEVC", 0, 0);
    client.s_fmt(OUTPUT, b"NV12", 640, 480);
    client.crop(0, 0, 16, 16);
    client.buffers(2, 2);
    client.session.streamon(OUTPUT).unwrap();
    match client.session.streamon(CAPTURE) {
        // It refused to start.
        Err(errno) => assert_eq!(errno, Errno::EIO),
        // This x265 starts and fails on the frame: it is accounted for all the same.
        Ok(()) => {
            client.feed(0, &nv12(picture(640, 480, 0)));
            let buffer = client.until(|got| match got {
                Got::Coded(buffer, _) => Some(*buffer),
                _ => None,
            });
            eprintln!("x265enc took 16x16: flags {:#x}", buffer.flags);
        }
    }
    // The session goes on.
    client.streamoff();
    client.crop(0, 0, 640, 480);
    while client.next(std::time::Duration::ZERO).is_some() {}
    client.got.clear();
    client.remember(2, 2);
    for index in 0..2 {
        client.queue_capture(index).unwrap();
    }
    client.streamon();
    assert_eq!(client.encode(&nv12_frames(640, 480, 3), 0).len(), 3);
}

fn client_of(element: &str) -> Client {
    fake::register();
    let mut client = Client::new(&encoder(Settings {
        elements: [("h264", element.to_owned())].into(),
        ..Settings::default()
    }));
    client.formats(b"NV12", 64, 64);
    client.subscribe(V4L2_EVENT_EOS, 0, 0).unwrap();
    client.buffers(8, 4);
    client.streamon();
    client
}

fn feed(client: &mut Client, numbers: std::ops::Range<usize>) -> Vec<Coded> {
    let mut coded = Vec::new();
    for number in numbers {
        client.feed(number, &nv12(picture(64, 64, number)));
        client.collect(&mut coded);
    }
    coded
}

#[test]
fn a_drain_waits_for_frames_inside_the_encoder() {
    let mut client = client_of(fake::slow::NAME);
    for round in 0..10 {
        let mut coded = feed(&mut client, round * 7..round * 7 + 7);
        client.cmd(V4L2_ENC_CMD_STOP).unwrap();
        assert_eq!(client.drain(&mut coded), 1);
        assert_eq!(coded.len(), 7, "round {round}");
        for (at, frame) in coded.iter().enumerate() {
            assert_eq!(frame.buffer.timestamp, stamp(round * 7 + at));
            assert_eq!(frame.buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
        }
        // It gave out all that it held, so it starts anew.
        assert!(coded[0].is_key());
        client.cmd(V4L2_ENC_CMD_START).unwrap();
    }
}

#[test]
fn frames_inside_the_encoder_are_freed_with_the_session() {
    for queue in [OUTPUT, CAPTURE] {
        let mut client = client_of(fake::slow::NAME);
        feed(&mut client, 0..5);
        client.session.streamoff(queue).unwrap();
        for index in 0..8 {
            let (buffer, _) = client.querybuf(queue, index % 4).unwrap();
            assert_eq!(buffer.flags & V4L2_BUF_FLAG_QUEUED, 0);
        }
    }
    let mut client = client_of(fake::slow::NAME);
    feed(&mut client, 0..5);
}

#[test]
fn a_frame_that_the_encoder_drops_comes_back_with_an_error() {
    let mut client = client_of(fake::dropping::NAME);
    let mut coded = feed(&mut client, 0..10);
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    assert_eq!(client.drain(&mut coded), 1);
    assert_eq!(coded.len(), 10, "one CAPTURE buffer for each frame");
    for (at, frame) in coded.iter().enumerate() {
        assert_eq!(frame.buffer.timestamp, stamp(at), "in order");
        let failed = frame.buffer.flags & V4L2_BUF_FLAG_ERROR != 0;
        assert_eq!(failed, at % 4 == 3, "frame {at}");
    }
    assert!(coded.iter().all(|c| !c.data.is_empty()), "never empty");
}

#[test]
fn an_encoder_that_fails_is_replaced_and_its_frames_accounted_for() {
    // It fails on every third frame, counted from its start.
    let mut client = client_of(fake::failing::NAME);
    let mut coded = feed(&mut client, 0..9);
    client.cmd(V4L2_ENC_CMD_STOP).unwrap();
    assert_eq!(client.drain(&mut coded), 1);
    assert_eq!(coded.len(), 9);
    for (at, frame) in coded.iter().enumerate() {
        assert_eq!(frame.buffer.timestamp, stamp(at));
        let failed = frame.buffer.flags & V4L2_BUF_FLAG_ERROR != 0;
        assert_eq!(failed, at % 3 == 2, "frame {at}");
        assert!(!frame.data.is_empty());
    }
}

#[test]
fn a_session_whose_encoder_fails_again_and_again_is_lost() {
    let mut client = client_of(fake::dead::NAME);
    for number in 0..3 {
        client.feed(number, &nv12(picture(64, 64, number)));
    }
    assert_eq!(client.until_lost(), Errno::EIO);
    // It can still be closed, and told to stop.
    client.streamoff();
}

#[test]
fn another_element_encodes_in_place_of_the_usual_one() {
    if gstreamer::init().is_err() || gstreamer::ElementFactory::find("openh264enc").is_none() {
        eprintln!("no openh264enc: nothing to test");
        return;
    }
    let mut client = Client::new(&encoder(Settings {
        elements: [("h264", "openh264enc".to_owned())].into(),
        ..Settings::default()
    }));
    client.formats(b"NV12", 320, 240);
    client.buffers(4, 4);
    client.streamon();
    let coded = client.encode(&nv12_frames(320, 240, 10), 0);
    assert_eq!(coded.len(), 10);
    assert!(coded[0].is_key());
    if let Some(decoded) = decode(&bytes(&coded), "h264") {
        assert_eq!(decoded.len(), 10 * 320 * 240 * 3 / 2);
    }
}
