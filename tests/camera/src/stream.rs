// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The stream: what host and camera agree on (probe and commit), and how a frame is cut into
//! payloads.

use std::time::{Duration, Instant};

use crate::frames::{DEFAULT_INTERVAL, Format, Frames, INTERVALS, SIZES};

/// The length of the structure that probe and commit exchange (UVC 1.1), in bytes.
pub const PARAMETERS: usize = 34;
/// The most of a payload, header included, in bytes: what `uvcvideo` takes in one transfer (32
/// packets of 512).
pub const MAX_PAYLOAD: usize = 16 << 10;
/// The header of each payload: its own length, and flags.
const HEADER: usize = 2;
const FRAME_ID: u8 = 0x01;
const END_OF_FRAME: u8 = 0x02;
const END_OF_HEADER: u8 = 0x80;

/// What is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The pixel format.
    pub format: Format,
    /// An index of [`SIZES`].
    pub size: usize,
    /// In units of 100 ns, one of [`INTERVALS`].
    pub interval: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            format: Format::Mjpeg,
            size: 0,
            interval: DEFAULT_INTERVAL,
        }
    }
}

impl Parameters {
    /// What the host asks for, or what the camera has that is nearest.
    pub fn nearest(asked: &[u8]) -> Option<Self> {
        let interval = u32::from_le_bytes(*asked.get(4..)?.first_chunk()?);
        Some(Self {
            format: if asked[2] == 2 {
                Format::Yuyv
            } else {
                Format::Mjpeg
            },
            size: usize::from(asked[3].clamp(1, SIZES.len() as u8)) - 1,
            interval: INTERVALS
                .into_iter()
                .min_by_key(|known| known.abs_diff(interval))
                .unwrap_or(DEFAULT_INTERVAL),
        })
    }

    /// As the host gets it.
    pub fn to_bytes(self) -> [u8; PARAMETERS] {
        let mut bytes = [0; PARAMETERS];
        // The host chooses the interval, the rest follows.
        bytes[0] = 1;
        bytes[2] = if self.format == Format::Yuyv { 2 } else { 1 };
        bytes[3] = self.size as u8 + 1;
        bytes[4..8].copy_from_slice(&self.interval.to_le_bytes());
        bytes[18..22].copy_from_slice(&(SIZES[self.size].bytes() as u32).to_le_bytes());
        bytes[22..26].copy_from_slice(&(MAX_PAYLOAD as u32).to_le_bytes());
        // Payloads say where a frame begins and ends.
        bytes[30] = FRAME_ID | END_OF_FRAME;
        bytes
    }
}

/// A stream that runs. Frames keep their distance, but none is left out when the host is late.
pub struct Stream {
    parameters: Parameters,
    /// Of the frame that is sent, or will be.
    number: u32,
    due: Instant,
    /// What is left of the frame that is sent: its bytes, and how many of them are gone.
    frame: Option<(Vec<u8>, usize)>,
}

impl Stream {
    /// Begins with frame 0, now.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            number: 0,
            due: Instant::now(),
            frame: None,
        }
    }

    /// When the next payload may be sent.
    pub fn due(&self) -> Option<Instant> {
        self.frame.is_none().then_some(self.due)
    }

    /// Appends a payload for a transfer of `length` bytes to `payload`, or nothing when the next
    /// frame is not due.
    pub fn payload(
        &mut self,
        frames: &Frames,
        length: usize,
        now: Instant,
        payload: &mut Vec<u8>,
    ) -> bool {
        if self.frame.is_none() {
            if now < self.due {
                return false;
            }
            let frame = frames.get(self.parameters.format, self.parameters.size, self.number);
            self.frame = Some((frame.into_owned(), 0));
            let interval = Duration::from_nanos(u64::from(self.parameters.interval) * 100);
            // A host that is late gets no burst.
            self.due = (self.due + interval).max(now + interval * 3 / 4);
        }
        let Some((frame, sent)) = &mut self.frame else {
            return false;
        };
        // A payload ends with a short transfer, or at its greatest length.
        let room = if length >= MAX_PAYLOAD {
            MAX_PAYLOAD
        } else {
            length.saturating_sub(1)
        };
        let end = frame.len().min(*sent + room.saturating_sub(HEADER));
        let last = end == frame.len();
        let id = (self.number & 1) as u8 * FRAME_ID;
        payload.extend_from_slice(&[
            HEADER as u8,
            END_OF_HEADER | id | if last { END_OF_FRAME } else { 0 },
        ]);
        payload.extend_from_slice(&frame[*sent..end]);
        *sent = end;
        if last {
            self.frame = None;
            self.number = self.number.wrapping_add(1);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_finds_the_nearest() {
        let ask = |format, frame, interval: u32| {
            let mut bytes = [0; PARAMETERS];
            (bytes[2], bytes[3]) = (format, frame);
            bytes[4..8].copy_from_slice(&interval.to_le_bytes());
            Parameters::nearest(&bytes).unwrap()
        };
        assert_eq!(ask(1, 1, 1_100_000), Parameters::default());
        assert_eq!(
            ask(2, 2, 700_000),
            Parameters {
                format: Format::Yuyv,
                size: 1,
                interval: 666_666
            }
        );
        assert_eq!(
            ask(0, 0, 0),
            Parameters {
                interval: 333_333,
                ..Parameters::default()
            }
        );
        assert_eq!(
            ask(9, 200, u32::MAX),
            Parameters {
                format: Format::Mjpeg,
                size: 1,
                interval: 2_000_000
            }
        );
        assert_eq!(Parameters::nearest(&[1, 0, 1]), None);
    }

    #[test]
    fn parameters_survive_the_way() {
        for format in [Format::Mjpeg, Format::Yuyv] {
            for (size, pixels) in SIZES.iter().enumerate() {
                let parameters = Parameters {
                    format,
                    size,
                    interval: INTERVALS[2],
                };
                let bytes = parameters.to_bytes();
                assert_eq!(Parameters::nearest(&bytes), Some(parameters));
                assert_eq!(bytes[18..22], (pixels.bytes() as u32).to_le_bytes());
            }
        }
    }

    #[test]
    fn payloads_make_the_frame() {
        let frames = Frames::of(vec![
            vec![7; 40_000],
            vec![8; MAX_PAYLOAD - HEADER],
            vec![9; 1],
        ]);
        for length in [MAX_PAYLOAD, 512] {
            let mut stream = Stream::new(Parameters::default());
            let mut now = Instant::now();
            for number in 0..4u32 {
                let mut frame = Vec::new();
                loop {
                    let mut payload = Vec::new();
                    assert!(stream.payload(&frames, length, now, &mut payload));
                    assert_eq!(payload[0], 2);
                    assert_eq!(u32::from(payload[1] & FRAME_ID), number & 1);
                    // The host sees its end.
                    assert!(payload.len() < length || payload.len() == MAX_PAYLOAD);
                    frame.extend_from_slice(&payload[HEADER..]);
                    if payload[1] & END_OF_FRAME != 0 {
                        break;
                    }
                }
                assert_eq!(frame, frames.cycle(0)[number as usize % 3]);
                // The next one is not before its time, and none is left out when it is long past.
                assert!(!stream.payload(&frames, length, now, &mut Vec::new()));
                now = stream.due().unwrap() + Duration::from_secs(number.into());
            }
        }
    }
}
