// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use super::*;

const H264: Bounds = Bounds {
    most_qp: 51,
    qp_step: 6,
    macroblock: 400,
};
const VP9: Bounds = Bounds {
    most_qp: 127,
    qp_step: 16,
    macroblock: 640,
};

fn params(bounds: Bounds, bitrate: u32, framerate: (u32, u32), capacity: u32) -> Params {
    Params {
        bounds,
        width: 1920,
        height: 1080,
        framerate,
        bitrate,
        capacity,
        vui: Vui {
            primaries: 2,
            transfer: 2,
            matrix: 2,
            full_range: false,
        },
        constant: true,
        rate_control: true,
        quantizer: 26,
        min_qp: 10,
        max_qp: 24,
        gop: 60,
        profile: "high",
        level: "4",
        threads: 1,
        preset: None,
        controls: Controls::new(std::iter::empty()),
    }
}

#[test]
fn a_buffer_model_is_not_larger_than_a_coded_buffer() {
    let capacity = 1920 * 1080;
    for (bitrate, framerate) in [
        (4_000_000, (30, 1)),
        (100_000_000, (30, 1)),
        (14_000_000, (1, 1)),
        (200_000, (1, 60)),
    ] {
        let params = params(H264, bitrate, framerate, capacity);
        for most in [600, 10_000] {
            let bits = u64::from(params.model_ms(most)) * u64::from(params.kbits());
            assert!(bits <= u64::from(capacity) * 8, "{bits} bits at {bitrate}");
        }
        let (kbits, rate) = params.frame_model();
        assert!(kbits * 1000 <= u64::from(capacity) * 8);
        assert!(rate >= u64::from(params.kbits()));
    }
    // The usual is left as it is.
    let usual = params(H264, 4_000_000, (30, 1), 1280 * 720);
    assert_eq!((usual.model_ms(600), usual.tight()), (600, false));
    assert!(params(H264, 25_000_000, (1, 1), capacity).tight());
    // Nothing is larger than that.
    let large = params(H264, 25_000_000, (1, 1), 1920 * 1088 * 2);
    assert_eq!((large.model_ms(600), large.tight()), (600, false));
}

#[test]
fn bitrates_are_what_buffers_hold() {
    assert_eq!(most_bitrate(1_000_000, (1, 1)), 7_200_000);
    assert_eq!(most_bitrate(1_000_000, (30, 1)), 216_000_000);
    assert_eq!(most_bitrate(1_000_000, (1, 60)), 120_000);
    assert_eq!(most_bitrate(0, (1, 0)), 0);
}

#[test]
fn steps_to_smaller_frames_end() {
    for (bounds, last) in [(H264, 51), (VP9, 127)] {
        for rate_control in [true, false] {
            let mut now = Params {
                rate_control,
                ..params(bounds, 4_000_000, (30, 1), 1000)
            };
            let mut steps = 0;
            while let Some(next) = now.tighter() {
                assert_eq!(next.max_qp, last, "whatever the client set");
                assert!(next.min_qp > now.min_qp || next.quantizer > now.quantizer);
                now = next;
                steps += 1;
            }
            assert_eq!(now.min_qp, last);
            assert!(rate_control || now.quantizer == 50);
            assert!(steps <= 8, "{steps} steps");
        }
    }
}
