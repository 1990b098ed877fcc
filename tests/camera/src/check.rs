// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Is a recording what the camera sent, to the byte and without a gap?

use std::io::Read;

use crate::frames::{Frames, SIZES, yuyv, yuyv_number};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Frames of YUYV, one after the other; returns how many.
///
/// # Errors
///
/// The first frame that differs, or no frame at all.
pub fn yuyv_recording(recording: &mut dyn Read, size: usize) -> Result<u32> {
    let size = SIZES[size];
    let mut frame = vec![0; size.bytes()];
    let (mut first, mut count) = (None, 0);
    while fill(recording, &mut frame)? {
        let first =
            *first.get_or_insert(yuyv_number(&frame).ok_or("frame 0 of the file has no number")?);
        same(
            &frame,
            &yuyv(size, first + count),
            count,
            yuyv_number(&frame).map(|has| (has, first + count)),
        )?;
        count += 1;
    }
    some(count)
}

/// Frames of MJPEG, one after the other; returns how many.
///
/// # Errors
///
/// As [`yuyv_recording`].
pub fn mjpeg(recording: &mut dyn Read, frames: &Frames, size: usize) -> Result<u32> {
    let mut bytes = Vec::new();
    recording.read_to_end(&mut bytes)?;
    let cycle = frames.cycle(size);
    let first = cycle
        .iter()
        .position(|frame| bytes.starts_with(frame))
        .ok_or("it begins with no frame of the camera")?;
    let (mut rest, mut count) = (&bytes[..], 0);
    while !rest.is_empty() {
        let wanted = &cycle[(first + count as usize) % cycle.len()];
        let length = wanted.len().min(rest.len());
        same(&rest[..length], wanted, count, None)?;
        rest = &rest[length..];
        count += 1;
    }
    some(count)
}

/// Fills `frame`; false at the end of the recording.
fn fill(recording: &mut dyn Read, frame: &mut [u8]) -> Result<bool> {
    let mut filled = 0;
    while filled < frame.len() {
        match recording.read(&mut frame[filled..])? {
            0 if filled == 0 => return Ok(false),
            0 => {
                return Err(format!(
                    "the last frame has {filled} bytes instead of {}",
                    frame.len()
                )
                .into());
            }
            length => filled += length,
        }
    }
    Ok(true)
}

fn same(frame: &[u8], wanted: &[u8], index: u32, numbers: Option<(u32, u32)>) -> Result<()> {
    if frame == wanted {
        return Ok(());
    }
    let at = frame
        .iter()
        .zip(wanted)
        .position(|(a, b)| a != b)
        .unwrap_or(frame.len());
    let numbers = numbers.map_or(String::new(), |(has, wants)| {
        format!(" (its number is {has}, not {wants})")
    });
    Err(format!("frame {index} of the file is not the camera's from byte {at} on{numbers}").into())
}

fn some(count: u32) -> Result<u32> {
    if count == 0 {
        Err("no frame at all".into())
    } else {
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_wrong_bytes_are_seen() {
        let recording = |numbers: &[u32]| {
            numbers
                .iter()
                .flat_map(|n| yuyv(SIZES[1], *n))
                .collect::<Vec<u8>>()
        };
        assert_eq!(
            yuyv_recording(&mut &recording(&[5, 6, 7])[..], 1).unwrap(),
            3
        );
        assert!(yuyv_recording(&mut &recording(&[5, 7])[..], 1).is_err());
        assert!(yuyv_recording(&mut &recording(&[5, 5])[..], 1).is_err());
        assert!(yuyv_recording(&mut &[][..], 1).is_err());
        let mut wrong = recording(&[5, 6]);
        assert!(yuyv_recording(&mut &wrong[1..], 1).is_err());
        *wrong.last_mut().unwrap() ^= 1;
        assert!(yuyv_recording(&mut &wrong[..], 1).is_err());
    }

    #[test]
    fn files_follow_each_other() {
        let frames = Frames::of(vec![vec![1, 1], vec![2], vec![3, 3, 3]]);
        assert_eq!(
            mjpeg(&mut &[2, 3, 3, 3, 1, 1, 2][..], &frames, 0).unwrap(),
            4
        );
        assert!(mjpeg(&mut &[2, 1, 1][..], &frames, 0).is_err());
        assert!(mjpeg(&mut &[2, 3, 3][..], &frames, 0).is_err());
        assert!(mjpeg(&mut &[][..], &frames, 0).is_err());
    }
}
