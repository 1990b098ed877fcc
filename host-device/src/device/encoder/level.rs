// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Levels of H.264: the least that a stream needs (ITU-T H.264, table A-1).

/// Limits of a level.
struct Level {
    /// As caps name it.
    name: &'static str,
    /// Macroblocks per second.
    rate: u64,
    /// Macroblocks per frame.
    size: u64,
    /// kbit/s in Baseline and Main; High may have a quarter more.
    kbits: u64,
}

const fn level(name: &'static str, rate: u64, size: u64, kbits: u64) -> Level {
    Level {
        name,
        rate,
        size,
        kbits,
    }
}

/// In the order of `enum v4l2_mpeg_video_h264_level`.
const LEVELS: [Level; 20] = [
    level("1", 1485, 99, 64),
    level("1b", 1485, 99, 128),
    level("1.1", 3000, 396, 192),
    level("1.2", 6000, 396, 384),
    level("1.3", 11880, 396, 768),
    level("2", 11880, 396, 2000),
    level("2.1", 19800, 792, 4000),
    level("2.2", 20250, 1620, 4000),
    level("3", 40500, 1620, 10000),
    level("3.1", 108_000, 3600, 14000),
    level("3.2", 216_000, 5120, 20000),
    level("4", 245_760, 8192, 20000),
    level("4.1", 245_760, 8192, 50000),
    level("4.2", 522_240, 8704, 50000),
    level("5", 589_824, 22080, 135_000),
    level("5.1", 983_040, 36864, 240_000),
    level("5.2", 2_073_600, 36864, 240_000),
    level("6", 4_177_920, 139_264, 240_000),
    level("6.1", 8_355_840, 139_264, 480_000),
    level("6.2", 16_711_680, 139_264, 800_000),
];

/// What a stream needs of its level.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Pixels across.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second, as a fraction.
    pub framerate: (u32, u32),
    /// Bits per second.
    pub bitrate: u32,
    /// Profile High.
    pub high: bool,
}

/// Name of the level that `wanted` (`enum v4l2_mpeg_video_h264_level`) becomes: the next one that
/// suffices.
pub fn h264(wanted: i32, needs: &Needs) -> &'static str {
    let across = u64::from(needs.width.div_ceil(16));
    let down = u64::from(needs.height.div_ceil(16));
    let size = across * down;
    let (n, d) = needs.framerate;
    let rate = (size * u64::from(n)).div_ceil(u64::from(d.max(1)));
    let kbits = u64::from(needs.bitrate).div_ceil(1000);
    let kbits = if needs.high { kbits * 4 / 5 } else { kbits };
    let enough = |level: &&Level| {
        size <= level.size
            && rate <= level.rate
            && kbits <= level.kbits
            // No side may be longer than the root of eight frames' worth of macroblocks.
            && across * across <= 8 * level.size
            && down * down <= 8 * level.size
    };
    LEVELS
        .iter()
        .skip(usize::try_from(wanted).unwrap_or(0))
        .find(enough)
        .map_or("6.2", |level| level.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(width: u32, height: u32, fps: u32, bitrate: u32) -> Needs {
        Needs {
            width,
            height,
            framerate: (fps, 1),
            bitrate,
            high: true,
        }
    }

    #[test]
    fn a_level_too_low_is_raised_and_a_higher_one_kept() {
        assert_eq!(h264(0, &needs(176, 144, 15, 64_000)), "1");
        assert_eq!(h264(0, &needs(1280, 720, 30, 4_000_000)), "3.1");
        assert_eq!(h264(0, &needs(1920, 1080, 30, 4_000_000)), "4");
        assert_eq!(h264(0, &needs(1920, 1080, 60, 4_000_000)), "4.2");
        assert_eq!(h264(0, &needs(4096, 2304, 30, 4_000_000)), "5.2");
        assert_eq!(h264(11, &needs(176, 144, 15, 64_000)), "4");
        assert_eq!(h264(0, &needs(640, 480, 30, 2_000_000_000)), "6.2");
    }
}
