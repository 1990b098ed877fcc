// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Every ioctl through the proxy answers what the host's node answers: values, errors, bytes.

mod common;

use common::proxy::{Both, VIDEO_CAPTURE, VIVID, node};
use frontend::Host;
use nix::errno::Errno;
use protocol::wire::config::DeviceType;
use protocol::wire::ioctl::{self, Attached, Ioctl, TABLE};
use protocol::wire::v4l2::{
    EDID_BLOCK, Edid, FmtDesc, Format, FrmIvalEnum, FrmSizeEnum, StreamParm,
};
use v4l2r::bindings;
use zerocopy::{FromBytes, IntoBytes};

fn nodes() -> impl Iterator<Item = &'static str> {
    VIVID.into_iter().chain(["VICODEC_ENC", "VICODEC_DEC"])
}

/// What a node says of itself: driver, card, bus, and capabilities.
fn capability(host: &Host) -> (Vec<u8>, u32) {
    let mut bytes = [0; 104];
    host.bytes(ioctl::QUERYCAP, &mut bytes).unwrap();
    let caps = u32::from_le_bytes(bytes[88..92].try_into().unwrap());
    (bytes[16..48].to_vec(), caps)
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn configuration() {
    let unknown = bindings::V4L2_CAP_READWRITE
        | bindings::V4L2_CAP_IO_MC
        | bindings::V4L2_CAP_EXT_PIX_FORMAT
        | bindings::V4L2_CAP_DEVICE_CAPS;
    for name in nodes() {
        let mut both = Both::open(name);
        let config = both.pair.link.config().unwrap();
        let (card, caps) = capability(&both.host);
        // The guest's driver masks more, by what it can do.
        assert_eq!(config.device_caps, caps & !unknown, "{name}: of {caps:#x}");
        let file = node(name);
        let kind = file.file_name().unwrap().to_str().unwrap();
        let kind = match kind.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "video" => DeviceType::Video,
            "vbi" => DeviceType::Vbi,
            "radio" => DeviceType::Radio,
            "swradio" => DeviceType::Sdr,
            "v4l-touch" => DeviceType::Touch,
            other => panic!("{other}"),
        };
        assert_eq!(config.device_type, kind as u32, "{name}");
        assert_eq!(config.card[..], card, "{name}");
        both.works();
    }
}

/// Not compared by payloads of all kinds: they change what the device does, or have tests of their
/// own.
const ELSEWHERE: [u32; 25] = [
    ioctl::REQBUFS,
    ioctl::CREATE_BUFS,
    ioctl::REMOVE_BUFS,
    ioctl::EXPBUF,
    ioctl::STREAMON,
    ioctl::STREAMOFF,
    ioctl::SUBSCRIBE_EVENT,
    ioctl::UNSUBSCRIBE_EVENT,
    ioctl::ENCODER_CMD,
    ioctl::DECODER_CMD,
    ioctl::S_CTRL,
    ioctl::S_FMT,
    ioctl::S_INPUT,
    ioctl::S_OUTPUT,
    ioctl::S_STD,
    ioctl::S_DV_TIMINGS,
    ioctl::S_HW_FREQ_SEEK,
    ioctl::S_PARM,
    ioctl::S_PRIORITY,
    // Never passed on.
    ioctl::G_FBUF,
    ioctl::S_FBUF,
    ioctl::OVERLAY,
    ioctl::DBG_S_REGISTER,
    ioctl::DBG_G_REGISTER,
    ioctl::DBG_G_CHIP_INFO,
];

fn compared() -> impl Iterator<Item = &'static Ioctl> {
    TABLE.iter().filter(|ioctl| {
        ioctl.forwarded && ioctl.attached == Attached::Nothing && !ELSEWHERE.contains(&ioctl.code)
    })
}

/// One ioctl with these bytes on both.
fn same_bytes(
    both: &mut Both,
    ioctl: &Ioctl,
    payload: &[u8],
    what: &str,
) -> Result<Vec<u8>, Errno> {
    let mut there = payload.to_vec();
    let theirs = both.host.bytes(ioctl.code, &mut there).map(|()| there);
    let reply = both
        .pair
        .ioctl_raw(both.session, ioctl.code, payload, &[], &[]);
    let ours = match reply.status().unwrap() {
        0 if ioctl.direction.to_driver() => Ok(reply.written()[8..].to_vec()),
        0 => Ok(payload.to_vec()),
        status => Err(Errno::from_raw(status.cast_signed())),
    };
    assert_eq!(
        ours,
        theirs,
        "{} of {what}, {payload:?}, at {}",
        ioctl.name,
        both.path.display()
    );
    ours
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn all_ioctls_answer_as_on_the_host() {
    for name in nodes() {
        let mut both = Both::open(name);
        let mut good = 0;
        for ioctl in compared() {
            let mut payload = vec![0; ioctl.size];
            let first = same_bytes(&mut both, ioctl, &payload, name);
            if first == Err(Errno::ENOTTY) {
                // The device has none of that.
                continue;
            }
            // Types, indices, first words at the edge of things.
            for first in (0..16).chain([31, 0x8000_0000, u32::MAX]) {
                for second in [0, 1, u32::MAX] {
                    for (bytes, word) in payload.chunks_exact_mut(4).zip([first, second]) {
                        bytes.copy_from_slice(&u32::to_ne_bytes(word));
                    }
                    good += u32::from(same_bytes(&mut both, ioctl, &payload, name).is_ok());
                }
            }
        }
        println!("{name}: {good} answers without error");
        assert!(good > 10, "{name}: too few calls worked: {good}");
        both.works();
    }
}

/// All of an enumeration that begins with `first`; the index is at its start.
fn enumerate<T>(both: &mut Both, code: u32, first: &T) -> Vec<T>
where
    T: FromBytes
        + IntoBytes
        + zerocopy::Immutable
        + zerocopy::KnownLayout
        + Clone
        + std::fmt::Debug,
{
    let mut all = Vec::new();
    for index in 0..200u32 {
        let mut next = first.clone();
        next.as_mut_bytes()[..4].copy_from_slice(&index.to_ne_bytes());
        match both.same(code, &next) {
            Ok(next) => all.push(next),
            Err(_) => break,
        }
    }
    all
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn formats_sizes_intervals() {
    for name in nodes() {
        let mut both = Both::open(name);
        let mut intervals = 0;
        for type_ in 1..=14 {
            let formats = enumerate(
                &mut both,
                ioctl::ENUM_FMT,
                &FmtDesc {
                    type_,
                    ..FmtDesc::default()
                },
            );
            for format in formats {
                let first = FrmSizeEnum {
                    pixel_format: format.pixelformat,
                    ..FrmSizeEnum::default()
                };
                for size in enumerate(&mut both, ioctl::ENUM_FRAMESIZES, &first) {
                    let first = FrmIvalEnum {
                        pixel_format: format.pixelformat,
                        width: size.stepwise[0],
                        height: size.stepwise[1],
                        ..FrmIvalEnum::default()
                    };
                    intervals += enumerate(&mut both, ioctl::ENUM_FRAMEINTERVALS, &first).len();
                }
                // Set, as far as it can be: what both make of it is the same, also for the other.
                let mut wanted = Format {
                    type_,
                    ..Format::default()
                };
                if both.same(ioctl::G_FMT, &wanted).is_ok() {
                    wanted.fmt[8..12].copy_from_slice(&format.pixelformat.to_ne_bytes());
                    let _ = both.same(ioctl::TRY_FMT, &wanted);
                    let _ = both.same(ioctl::S_FMT, &wanted);
                    both.same(
                        ioctl::G_FMT,
                        &Format {
                            type_,
                            ..Format::default()
                        },
                    )
                    .unwrap();
                }
            }
        }
        println!("{name}: {intervals} frame intervals");
        both.works();
    }
}

/// Inputs, and what depends on them: standards, timings, EDID.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn inputs_and_outputs() {
    for (name, enumeration, set, get) in [
        (
            "VIVID_CAP",
            ioctl::ENUMINPUT,
            ioctl::S_INPUT,
            ioctl::G_INPUT,
        ),
        (
            "VIVID_OUT",
            ioctl::ENUMOUTPUT,
            ioctl::S_OUTPUT,
            ioctl::G_OUTPUT,
        ),
    ] {
        let mut both = Both::open(name);
        let mut seen = [0; 3];
        for index in 0..8u32 {
            let mut first = [0; 80];
            first[..4].copy_from_slice(&index.to_ne_bytes());
            let entry = if name == "VIVID_CAP" {
                both.same(enumeration, &first).map(drop)
            } else {
                let first: [u8; 72] = *first.first_chunk().unwrap();
                both.same(enumeration, &first).map(drop)
            };
            assert_eq!(both.same(set, &index).is_ok(), entry.is_ok());
            both.same(get, &0u32).unwrap();
            seen[0] += u32::from(both.same(ioctl::G_STD, &0u64).is_ok());
            for standard in [0x00ff, 0xb000, 0x0f_0000, 0, u64::MAX] {
                let _ = both.same(ioctl::S_STD, &standard);
                let _ = both.same(ioctl::G_STD, &0u64);
            }
            let _ = both.same(ioctl::QUERYSTD, &0u64);
            let timings = enumerate(&mut both, ioctl::ENUM_DV_TIMINGS, &[0u8; 148]);
            seen[1] += timings.len() as u32;
            for timing in timings.iter().take(4) {
                let timing: [u8; 132] = *timing[16..].first_chunk().unwrap();
                let _ = both.same(ioctl::S_DV_TIMINGS, &timing);
                let _ = both.same(ioctl::G_DV_TIMINGS, &[0u8; 132]);
                let _ = both.same(ioctl::QUERY_DV_TIMINGS, &[0u8; 132]);
            }
            let _ = both.same(ioctl::DV_TIMINGS_CAP, &[0u8; 144]);
            seen[2] += edid(&mut both, index);
            for standard in enumerate(&mut both, ioctl::ENUMSTD, &[0u8; 72]) {
                let id: [u8; 8] = *standard[8..].first_chunk().unwrap();
                let _ = both.same(ioctl::S_STD, &id);
            }
        }
        assert!(
            seen[0] > 0 || name == "VIVID_OUT",
            "no input has a standard"
        );
        assert!(seen[1] > 0, "{name}: no timings");
        // An output tells the EDID of what it is connected to.
        assert!(seen[2] > 0 || name == "VIVID_OUT", "no input has an EDID");
        both.same(set, &0u32).unwrap();
        both.works();
    }
}

/// G_EDID and S_EDID of pad `pad`: how many blocks it has.
fn edid(both: &mut Both, pad: u32) -> u32 {
    let mut most = 0;
    for (start, count) in [(0, 0), (0, 1), (0, 2), (1, 1), (0, 256), (2, 2), (300, 1)] {
        let query = Edid {
            pad,
            start_block: start,
            blocks: count,
            ..Edid::default()
        };
        let (mut header, mut blocks) = (query, vec![0; 256 * EDID_BLOCK]);
        let theirs = both.host.edid(ioctl::G_EDID, &mut header, &mut blocks);
        let array = vec![0; count as usize * EDID_BLOCK];
        let reply = both
            .pair
            .ioctl_raw(both.session, ioctl::G_EDID, query.as_bytes(), &array, &[]);
        let status = reply.status().unwrap();
        assert_eq!(
            status,
            theirs.err().map_or(0, |errno| errno as u32),
            "{query:?}"
        );
        if status == 0 {
            let (ours, rest) = Edid::read_from_prefix(&reply.written()[8..]).unwrap();
            assert_eq!(ours, header, "{query:?}");
            let len = header.blocks.min(count) as usize * EDID_BLOCK;
            assert_eq!(rest[..len], blocks[..len]);
            most = most.max(header.blocks);
            if start == 0 && count > 0 {
                let array = &rest[..len];
                let reply =
                    both.pair
                        .ioctl_raw(both.session, ioctl::S_EDID, ours.as_bytes(), array, &[]);
                let theirs = both.host.edid(ioctl::S_EDID, &mut header, &mut blocks);
                assert_eq!(
                    reply.status().unwrap(),
                    theirs.err().map_or(0, |errno| errno as u32)
                );
            }
        }
    }
    most
}

#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn radio() {
    let mut both = Both::open("VIVID_RADIO_RX");
    let bands = enumerate_bands(&mut both);
    assert!(bands > 1);
    // struct v4l2_frequency: tuner, type (1: radio), frequency in units of 62.5 Hz.
    for frequency in [95_000 * 16, 1, 87_500 * 16, u32::MAX, 100_000 * 16] {
        let wanted = [0, 1, frequency, 0, 0, 0, 0, 0, 0, 0, 0];
        let _ = both.same(ioctl::S_FREQUENCY, &wanted);
        both.same(ioctl::G_FREQUENCY, &[0u32; 11]).unwrap();
        both.same(ioctl::G_TUNER, &[0u8; 84]).unwrap();
    }
    // struct v4l2_hw_freq_seek: the same answer in both directions, and at the end of the band. A
    // program on the host waits for it.
    let host = Host::open_blocking(&both.path).unwrap();
    for (start, upward, expected) in [
        (95_000, 0, Ok(())),
        (95_000, 1, Ok(())),
        (108_000, 1, Err(Errno::ENODATA)),
    ] {
        let start = [0, 1, start * 16, 0, 0, 0, 0, 0, 0, 0, 0];
        let seek = [0, 1, upward, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        host.call(ioctl::S_FREQUENCY, &mut start.clone()).unwrap();
        let theirs = host.call(ioctl::S_HW_FREQ_SEEK, &mut seek.clone());
        assert_eq!(theirs, expected);
        let mut there = [0u32; 11];
        host.call(ioctl::G_FREQUENCY, &mut there).unwrap();
        host.call(ioctl::S_FREQUENCY, &mut start.clone()).unwrap();
        let _ = both.like(ioctl::S_HW_FREQ_SEEK, &seek, theirs.map(|()| seek));
        assert_eq!(both.same(ioctl::G_FREQUENCY, &[0u32; 11]), Ok(there));
    }
    both.works();
    drop(both);
    let mut both = Both::open("VIVID_RADIO_TX");
    both.same(ioctl::G_MODULATOR, &[0u8; 68]).unwrap();
    both.works();
}

fn enumerate_bands(both: &mut Both) -> usize {
    (0..20)
        .take_while(|index| {
            let band = [0, 1, *index, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0u32];
            both.same(ioctl::ENUM_FREQ_BANDS, &band).is_ok()
        })
        .count()
}

/// What changes the state of the one file, or of the device.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn parameters() {
    let mut both = Both::open("VIVID_CAP");
    for (numerator, denominator) in [(1, 25), (1, 10), (0, 0), (1, 1000), (7, 3)] {
        let mut parm = StreamParm {
            type_: VIDEO_CAPTURE,
            ..StreamParm::default()
        };
        (parm.timeperframe.numerator, parm.timeperframe.denominator) = (numerator, denominator);
        both.same(ioctl::S_PARM, &parm).unwrap();
        both.same(
            ioctl::G_PARM,
            &StreamParm {
                type_: VIDEO_CAPTURE,
                ..StreamParm::default()
            },
        )
        .unwrap();
    }
    both.works();
}

/// What reaches into the kernel or the machine never gets there.
#[test]
#[ignore = "needs a V4L2 device: cargo xtask test nested runs it"]
fn never_passed_on() {
    for name in ["VIVID_CAP", "VIVID_OUT"] {
        let mut both = Both::open(name);
        for code in [
            ioctl::S_FBUF,
            ioctl::OVERLAY,
            ioctl::DBG_S_REGISTER,
            ioctl::DBG_G_REGISTER,
        ] {
            let size = ioctl::lookup(code).unwrap().size;
            let reply = both
                .pair
                .ioctl_raw(both.session, code, &vec![0; size], &[], &[]);
            let status = reply.status().unwrap();
            let refused = [Errno::EPERM as u32, Errno::ENOTTY as u32];
            assert!(refused.contains(&status), "{code}: {status}");
        }
        both.works();
    }
}
