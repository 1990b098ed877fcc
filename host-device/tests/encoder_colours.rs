// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Colours: the samples of a stream, and what it says of them, give the colours that went in.

mod encoder_support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use encoder_support::*;
use protocol::wire::v4l2::Format;
use virtio_v4l2d::device::encoder::{Encoder, Settings};
use virtio_v4l2d::v4l2::core::uapi::*;

/// `colorspace`, `xfer_func`, `ycbcr_enc`, `quantization`.
type Fields = (u32, u8, u8, u8);

/// Width of a bar of colour, and height of the picture.
const BAR: u32 = 32;
const BARS: [[u8; 3]; 9] = [
    [255, 255, 255],
    [255, 255, 0],
    [0, 255, 255],
    [0, 255, 0],
    [255, 0, 255],
    [255, 0, 0],
    [0, 0, 255],
    [0, 0, 0],
    [200, 100, 50],
];
const WIDTH: u32 = BAR * BARS.len() as u32;

/// What ffprobe reads out of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    range: String,
    matrix: String,
    transfer: String,
    primaries: String,
}

fn tool(args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(args[0])
        .args(&args[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // ffprobe does not read all of it.
    let _ = writer.join().unwrap();
    assert!(output.status.success(), "{args:?}");
    Some(output.stdout)
}

/// `None` where there is no ffprobe.
fn said(stream: &[u8], demuxer: &str) -> Option<Said> {
    let entries = "stream=color_range,color_space,color_transfer,color_primaries";
    let output = tool(
        &[
            "ffprobe",
            "-v",
            "error",
            "-f",
            demuxer,
            "-show_entries",
            entries,
            "-of",
            "default=nw=1",
            "-i",
            "pipe:0",
        ],
        stream,
    )?;
    let output = String::from_utf8(output).unwrap();
    let field = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {output}"))
            .to_owned()
    };
    Some(Said {
        range: field("color_range="),
        matrix: field("color_space="),
        transfer: field("color_transfer="),
        primaries: field("color_primaries="),
    })
}

/// The samples as they are coded, 4:2:0 in planes: no conversion of range.
fn samples(stream: &[u8], demuxer: &str) -> Option<Vec<u8>> {
    let args = [
        "ffmpeg", "-v", "error", "-f", demuxer, "-i", "pipe:0", "-f", "rawvideo", "pipe:1",
    ];
    tool(&args, stream)
}

/// The middle of each bar in the first picture.
fn bars(samples: &[u8]) -> Vec<[u8; 3]> {
    let (width, height) = (WIDTH as usize, BAR as usize);
    let (luma, chroma) = (width * height, width * height / 4);
    assert_eq!(samples.len() % (luma + 2 * chroma), 0);
    (0..BARS.len())
        .map(|bar| {
            let (x, y) = (bar * height + height / 2, height / 2);
            let at = y / 2 * width / 2 + x / 2;
            [
                samples[y * width + x],
                samples[luma + at],
                samples[luma + chroma + at],
            ]
        })
        .collect()
}

/// R'G'B' of a sample in a stream that says this of itself.
fn rgb([y, u, v]: [u8; 3], said: &Said) -> [f64; 3] {
    let (kr, kb) = match said.matrix.as_str() {
        // VP8 does not say: it has no other.
        "unknown" => (0.299, 0.114),
        "bt709" => (0.2126, 0.0722),
        "smpte170m" | "bt470bg" => (0.299, 0.114),
        "smpte240m" => (0.212, 0.087),
        "bt2020nc" => (0.2627, 0.0593),
        other => panic!("matrix {other}"),
    };
    let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
    let (y, u, v) = match said.range.as_str() {
        "pc" => (y / 255.0, u / 255.0, v / 255.0),
        "tv" | "unknown" => ((y - 16.0) / 219.0, u / 224.0, v / 224.0),
        other => panic!("range {other}"),
    };
    let r = y + 2.0 * (1.0 - kr) * v;
    let b = y + 2.0 * (1.0 - kb) * u;
    let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
    [r, g, b].map(|channel| channel * 255.0)
}

fn stream(
    encoder: &Encoder,
    (raw, coded): (&[u8; 4], &[u8; 4]),
    fields: Fields,
    frame: &[u8],
) -> Vec<u8> {
    let mut client = Client::new(encoder);
    client.s_fmt(CAPTURE, coded, 0, 0);
    let mut format = Format {
        type_: OUTPUT,
        ..Default::default()
    };
    let mut pix = format.pix_mp();
    (pix.pixelformat, pix.width, pix.height) = (fourcc(raw), WIDTH, BAR);
    (
        pix.colorspace,
        pix.xfer_func,
        pix.ycbcr_enc,
        pix.quantization,
    ) = fields;
    format.set_pix_mp(&pix);
    client.session.s_fmt(&mut format).unwrap();
    let answer = format.pix_mp();
    assert_eq!(answer.plane_fmt[0].sizeimage as usize, frame.len());
    if fields.0 != 0 {
        let echo = (
            answer.colorspace,
            answer.xfer_func,
            answer.ycbcr_enc,
            answer.quantization,
        );
        assert_eq!(echo, fields);
    }
    client.buffers(2, 2);
    client.streamon();
    bytes(&client.encode(&[vec![frame.to_vec()]], 0))
}

/// The bars, each pixel made by `pixel` of its R'G'B'.
fn packed(pixel: impl Fn([u8; 3]) -> Vec<u8>) -> Vec<u8> {
    let row: Vec<u8> = BARS
        .iter()
        .flat_map(|bar| pixel(*bar).repeat(BAR as usize))
        .collect();
    row.repeat(BAR as usize)
}

#[track_caller]
fn check_colours(stream: &[u8], demuxer: &str, what: &str) {
    let (Some(said), Some(samples)) = (said(stream, demuxer), samples(stream, demuxer)) else {
        return;
    };
    for (sample, bar) in bars(&samples).into_iter().zip(BARS) {
        let seen = rgb(sample, &said);
        let near = seen
            .iter()
            .zip(bar)
            .all(|(a, b)| (a - f64::from(b)).abs() <= 6.0);
        assert!(
            near,
            "{what}: {bar:?} became {sample:?} in {said:?}, which is {seen:.0?}"
        );
    }
}

/// A format of R'G'B', and how a pixel lies in it.
type Rgb = (&'static [u8; 4], fn([u8; 3]) -> Vec<u8>);

const RGB: [Rgb; 4] = [
    (b"XR24", |[r, g, b]| vec![b, g, r, 0]),
    (b"BGR4", |[r, g, b]| vec![b, g, r, 255]),
    (b"RGB3", |[r, g, b]| vec![r, g, b]),
    (b"BGR3", |[r, g, b]| vec![b, g, r]),
];

/// Every pair of colour space and quantization, with defaults, and with the other fields in turn.
#[test]
fn rgb_comes_out_as_it_went_in() {
    let encoder = encoder(Settings::default());
    let mut cases = Vec::new();
    for colorspace in 0..=12u32 {
        for quantization in 0..=2u8 {
            let n = colorspace as u8 * 3 + quantization;
            cases.push((colorspace, 0, 0, quantization));
            cases.push((colorspace, n % 8, n % 9, quantization));
        }
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(fields) = cases.get(at) else { break };
                    let (name, pixel) = RGB[(at / 2 + at / 8) % RGB.len()];
                    let stream = stream(&encoder, (name, b"H264"), *fields, &packed(pixel));
                    let what = format!("{} {fields:?}", String::from_utf8_lossy(name));
                    check_colours(&stream, "h264", &what);
                }
            });
        }
    });
}

#[test]
fn white_and_black_of_rgb_are_those_of_a_limited_range() {
    let encoder = encoder(Settings::default());
    for (name, pixel) in RGB {
        for quantization in 0..=2 {
            // What GStreamer asks for.
            let fields = (COLORSPACE_SRGB, 2, 0, quantization);
            let stream = stream(&encoder, (name, b"H264"), fields, &packed(pixel));
            let Some(samples) = samples(&stream, "h264") else {
                return;
            };
            let bars = bars(&samples);
            for (bar, luma) in [(0, 235u8), (7, 16)] {
                assert!(
                    bars[bar][0].abs_diff(luma) <= 1,
                    "{name:?}: {:?}",
                    bars[bar]
                );
            }
            assert_ne!(said(&stream, "h264").unwrap().range, "pc");
        }
    }
}

/// Other codecs say less, and the colours hold.
#[test]
fn rgb_keeps_its_colours_in_every_codec() {
    let encoder = encoder(Settings::default());
    let (name, pixel) = RGB[0];
    for fields in [
        (0, 0, 0, 0),
        (COLORSPACE_REC709, 0, 0, 1),
        (COLORSPACE_SRGB, 0, 0, 2),
    ] {
        for (coded, demuxer) in [(b"HEVC", "hevc"), (b"VP80", "ivf"), (b"VP90", "ivf")] {
            if !Client::new(&encoder).has_codec(coded) {
                continue;
            }
            let mut stream = stream(&encoder, (name, coded), fields, &packed(pixel));
            if demuxer == "ivf" {
                stream = ivf(coded, &stream);
            }
            let what = format!("{} {fields:?}", String::from_utf8_lossy(coded));
            check_colours(&stream, demuxer, &what);
        }
    }
}

/// Samples of NV12 for each bar, made up.
fn nv12() -> (Vec<u8>, Vec<[u8; 3]>) {
    let colours: Vec<[u8; 3]> = (0..BARS.len() as u8)
        .map(|n| [2 + n * 31, 30 + n * 20, 220 - n * 19])
        .collect();
    let row: Vec<u8> = colours
        .iter()
        .flat_map(|[y, ..]| vec![*y; BAR as usize])
        .collect();
    let chroma: Vec<u8> = colours
        .iter()
        .flat_map(|[_, u, v]| [*u, *v].repeat(BAR as usize / 2))
        .collect();
    let frame = [row.repeat(BAR as usize), chroma.repeat(BAR as usize / 2)].concat();
    (frame, colours)
}

/// Other ways in which Y'CbCr lies: the samples are the same, of full range and of limited.
#[test]
fn samples_of_every_format_go_in_as_they_are() {
    let encoder = encoder(Settings::default());
    let (nv12, colours) = nv12();
    let (luma, chroma) = nv12.split_at((WIDTH * BAR) as usize);
    let swapped: Vec<u8> = chroma.chunks(2).flat_map(|uv| [uv[1], uv[0]]).collect();
    let pairs = |of: fn([u8; 3]) -> [u8; 4]| {
        let row: Vec<u8> = colours
            .iter()
            .flat_map(|colour| of(*colour).repeat(BAR as usize / 2))
            .collect();
        row.repeat(BAR as usize)
    };
    let frames: [(&[u8; 4], Vec<u8>); 4] = [
        (b"NV21", [luma, &swapped].concat()),
        (b"GREY", luma.to_vec()),
        (b"YUYV", pairs(|[y, u, v]| [y, u, y, v])),
        (b"UYVY", pairs(|[y, u, v]| [u, y, v, y])),
    ];
    for (name, frame) in frames {
        for (quantization, range) in [(0, "tv"), (1, "pc")] {
            let fields = (COLORSPACE_SMPTE170M, 0, 0, quantization);
            let stream = stream(&encoder, (name, b"H264"), fields, &frame);
            let Some(samples) = samples(&stream, "h264") else {
                return;
            };
            assert_eq!(said(&stream, "h264").unwrap().range, range);
            for (seen, [y, u, v]) in bars(&samples).into_iter().zip(&colours) {
                let expected = if name == b"GREY" {
                    [*y, 128, 128]
                } else {
                    [*y, *u, *v]
                };
                let near = seen.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3);
                let name = String::from_utf8_lossy(name);
                assert!(near, "{name} {range}: {expected:?} became {seen:?}");
            }
        }
    }
}

/// Y'CbCr goes in as it is, and the stream says of it what the client stated: no more.
#[test]
fn the_stream_says_what_the_client_stated() {
    let encoder = encoder(Settings::default());
    let (frame, colours) = nv12();
    let cases: [(Fields, [&str; 4]); 12] = [
        ((0, 0, 0, 0), ["unknown"; 4]),
        ((COLORSPACE_RAW, 0, 0, 0), ["unknown"; 4]),
        ((0, 0, 0, 1), ["pc", "unknown", "unknown", "unknown"]),
        (
            (COLORSPACE_REC709, 0, 0, 0),
            ["tv", "bt709", "bt709", "bt709"],
        ),
        (
            (COLORSPACE_REC709, 0, 0, 1),
            ["pc", "bt709", "bt709", "bt709"],
        ),
        (
            (COLORSPACE_REC709, 0, 0, 2),
            ["tv", "bt709", "bt709", "bt709"],
        ),
        (
            (COLORSPACE_SMPTE170M, 0, 0, 0),
            ["tv", "smpte170m", "smpte170m", "smpte170m"],
        ),
        (
            (COLORSPACE_SMPTE170M, 1, 1, 2),
            ["tv", "smpte170m", "smpte170m", "smpte170m"],
        ),
        (
            (COLORSPACE_JPEG, 0, 0, 0),
            ["pc", "smpte170m", "iec61966-2-1", "bt709"],
        ),
        (
            (COLORSPACE_BT2020, 7, 6, 0),
            ["tv", "bt2020nc", "smpte2084", "bt2020"],
        ),
        (
            (COLORSPACE_BT2020, 0, 7, 0),
            ["tv", "bt2020c", "bt2020-10", "bt2020"],
        ),
        (
            (COLORSPACE_SRGB, 0, 0, 0),
            ["tv", "smpte170m", "iec61966-2-1", "bt709"],
        ),
    ];
    for (coded, demuxer) in [(b"H264", "h264"), (b"HEVC", "hevc")] {
        if !Client::new(&encoder).has_codec(coded) {
            continue;
        }
        for (fields, [range, matrix, transfer, primaries]) in cases {
            let stream = stream(&encoder, (b"NV12", coded), fields, &frame);
            let Some(said) = said(&stream, demuxer) else {
                return;
            };
            // x265enc names the range of every stream.
            let range = if coded == b"HEVC" && range == "unknown" {
                "tv"
            } else {
                range
            };
            let expected = Said {
                range: range.to_owned(),
                matrix: matrix.to_owned(),
                transfer: transfer.to_owned(),
                primaries: primaries.to_owned(),
            };
            assert_eq!(said, expected, "{demuxer} {fields:?}");
            let samples = samples(&stream, demuxer).unwrap();
            for (seen, colour) in bars(&samples).into_iter().zip(&colours) {
                let near = seen.iter().zip(colour).all(|(a, b)| a.abs_diff(*b) <= 3);
                assert!(near, "{demuxer} {fields:?}: {colour:?} became {seen:?}");
            }
        }
    }
}

/// One frame of VP8 or VP9 in a file.
fn ivf(codec: &[u8; 4], frame: &[u8]) -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0".to_vec();
    file.extend(codec);
    file.extend((WIDTH as u16).to_le_bytes());
    file.extend((BAR as u16).to_le_bytes());
    for word in [30u32, 1, 1, 0, frame.len() as u32, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(frame);
    file
}
