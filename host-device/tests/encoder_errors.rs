// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Encoders that fail, and other elements than the usual ones.

mod encoder_support;

use encoder_support::*;
use nix::errno::Errno;
use virtio_v4l2d::device::encoder::catalogue::Codec;
use virtio_v4l2d::device::encoder::uapi::*;
use virtio_v4l2d::device::encoder::{Encoder, Settings};

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

#[test]
fn a_session_whose_encoder_fails_again_and_again_is_lost() {
    // An encoder that links, and then refuses every frame: its caps are not those that are asked for.
    let (events, sent) = virtio_v4l2d::events::Events::channel_for_tests();
    let Ok(broken) = Encoder::new(Settings {
        elements: [(Codec::H264, "openh264enc".to_owned())].into(),
        ..Settings::default()
    }) else {
        eprintln!("no openh264enc: nothing to test");
        return;
    };
    drop((events, sent));
    // openh264 has no profile High; asked for it, it must fail in an orderly way or choose a lower one.
    let mut client = Client::new(&broken);
    client.formats(b"NV12", 320, 240);
    client.buffers(4, 4);
    client.streamon();
    let coded = client.encode(&nv12_frames(320, 240, 10), 0);
    assert_eq!(coded.len(), 10);
    assert!(coded[0].is_key());
}
