// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Streams: what goes in comes out, once, in order, and decodes to the same pictures.

mod encoder_support;

use encoder_support::*;
use virtio_v4l2d::device::encoder::Settings;
use virtio_v4l2d::device::encoder::uapi::*;

/// One access unit for each frame, with its timestamp, that decodes to the picture.
fn check(coded: &[Coded], frames: &[Vec<Vec<u8>>], first: usize) {
    assert_eq!(coded.len(), frames.len());
    for (at, frame) in coded.iter().enumerate() {
        assert_eq!(frame.buffer.timestamp, stamp(first + at));
        assert_eq!(frame.buffer.sequence as usize, at + first);
        assert_eq!(frame.buffer.flags & V4L2_BUF_FLAG_ERROR, 0);
        let types = (V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_BFRAME)
            & frame.buffer.flags;
        assert!(types == V4L2_BUF_FLAG_KEYFRAME || types == V4L2_BUF_FLAG_PFRAME);
        assert_eq!(frame.buffer.field, FIELD_NONE);
    }
    let raw: Vec<u8> = frames.iter().flatten().flatten().copied().collect();
    if let Some(decoded) = decode(&bytes(coded), "h264") {
        assert_eq!(decoded.len(), raw.len());
        let psnr = psnr(&decoded, &raw);
        assert!(psnr > 35.0, "PSNR {psnr}");
    }
}

#[test]
fn encodes_frames_that_decode_to_the_same_pictures() {
    let encoder = encoder(Settings::default());
    for (width, height) in [(176, 144), (1296, 972), (1920, 1080)] {
        let mut client = Client::new(&encoder);
        client.formats(b"NV12", width, height);
        client.buffers(4, 4);
        client.streamon();
        client.control(V4L2_CID_MPEG_VIDEO_BITRATE, 20_000_000);
        let frames = nv12_frames(width, height, 10);
        let coded = client.encode(&frames, 0);
        check(&coded, &frames, 0);
        assert!(coded[0].is_key());
        let types = nals(&coded[0].data);
        assert!(
            types.contains(&7) && types.contains(&8) && types.contains(&5),
            "{types:?}"
        );
    }
}
