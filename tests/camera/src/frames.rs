// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the camera shows: files for MJPEG, a moving pattern for YUYV.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Pixels of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In pixels, even.
    pub width: u16,
    /// In pixels.
    pub height: u16,
}

impl Size {
    /// The length of a YUYV frame in bytes, which is also the most that an MJPEG frame may have.
    pub const fn bytes(self) -> usize {
        self.width as usize * self.height as usize * 2
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The sizes of each format, the default first.
pub const SIZES: [Size; 2] = [
    Size {
        width: 640,
        height: 360,
    },
    Size {
        width: 320,
        height: 180,
    },
];

/// Times between two frames, in units of 100 ns: 30, 15, 10 and 5 frames a second.
pub const INTERVALS: [u32; 4] = [333_333, 666_666, 1_000_000, 2_000_000];

/// What a host gets that asks for none: a reader in a slow VM keeps up with it.
pub const DEFAULT_INTERVAL: u32 = INTERVALS[2];

/// The format of a stream, by its index in the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 1
    Mjpeg,
    /// 2
    Yuyv,
}

/// The MJPEG frames, for each of [`SIZES`].
pub struct Frames {
    mjpeg: Vec<Vec<Vec<u8>>>,
}

impl Frames {
    /// Reads DIR/WIDTHxHEIGHT/*.jpg.
    ///
    /// # Errors
    ///
    /// When a size has no frame, or one that is larger than an uncompressed one.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mjpeg = SIZES
            .iter()
            .map(|size| read_size(dir, *size))
            .collect::<io::Result<_>>()?;
        Ok(Self { mjpeg })
    }

    /// Frame `number` of a stream; `size` is an index of [`SIZES`].
    pub fn get(&self, format: Format, size: usize, number: u32) -> Cow<'_, [u8]> {
        match format {
            Format::Mjpeg => {
                Cow::Borrowed(&self.cycle(size)[number as usize % self.cycle(size).len()])
            }
            Format::Yuyv => Cow::Owned(yuyv(SIZES[size], number)),
        }
    }

    /// The MJPEG frames of a size, which are shown again and again.
    pub fn cycle(&self, size: usize) -> &[Vec<u8>] {
        &self.mjpeg[size]
    }

    #[cfg(test)]
    pub fn of(mjpeg: Vec<Vec<u8>>) -> Self {
        Self {
            mjpeg: vec![mjpeg; SIZES.len()],
        }
    }
}

fn read_size(dir: &Path, size: Size) -> io::Result<Vec<Vec<u8>>> {
    let dir = dir.join(size.to_string());
    let about =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(&dir).map_err(about)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jpg") {
            paths.push(path);
        }
    }
    paths.sort();
    let frames = paths.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
    if frames.is_empty() || frames.iter().any(|frame| frame.len() > size.bytes()) {
        let what = format!(
            "{}: wanted are *.jpg of at most {} bytes",
            dir.display(),
            size.bytes()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(frames)
}

/// The pattern repeats after this many pixels (even, so that U and V keep their places).
const PERIOD: usize = 220;
/// Pixels at the start of the first row that hold the bits of the frame number, the lowest first.
const BITS: usize = 32;
const ZERO: u8 = 16;
const ONE: u8 = 235;

/// Frame `number` of the pattern: slanted ramps that move, and the number itself in the first row.
pub fn yuyv(size: Size, number: u32) -> Vec<u8> {
    let width = size.width as usize;
    let line: Vec<u8> = (0..width + PERIOD)
        .flat_map(|x| {
            let ramp = (x % PERIOD) as u8;
            let chroma = if x % 2 == 0 {
                64 + ramp / 2
            } else {
                200 - ramp / 2
            };
            [16 + ramp, chroma]
        })
        .collect();
    let mut frame = Vec::with_capacity(size.bytes());
    for y in 0..size.height as usize {
        let shift = 2 * (y + number as usize % PERIOD) % PERIOD;
        frame.extend_from_slice(&line[2 * shift..2 * (shift + width)]);
    }
    for bit in 0..BITS {
        frame[2 * bit] = if number >> bit & 1 == 1 { ONE } else { ZERO };
    }
    frame
}

/// The number that a frame of the pattern says it has.
pub fn yuyv_number(frame: &[u8]) -> Option<u32> {
    (0..BITS).try_fold(0, |number, bit| match *frame.get(2 * bit)? {
        ZERO => Some(number),
        ONE => Some(number | 1 << bit),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_has_its_number_and_moves() {
        for size in SIZES {
            for number in [0, 1, 109, 110, 219, 299, u32::MAX] {
                let frame = yuyv(size, number);
                assert_eq!(frame.len(), size.bytes());
                assert_eq!(yuyv_number(&frame), Some(number));
            }
            assert_ne!(yuyv(size, 0)[64..], yuyv(size, 1)[64..]);
        }
    }

    #[test]
    fn what_is_not_the_pattern_has_no_number() {
        assert_eq!(yuyv_number(&[128; 64]), None);
        assert_eq!(yuyv_number(&[ZERO; 8]), None);
    }
}
