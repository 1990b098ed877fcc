// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How much memory buffers of a format take.

use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::v4l2::{
    BUF_TYPE_META_CAPTURE as META_CAPTURE, BUF_TYPE_META_OUTPUT as META_OUTPUT,
    BUF_TYPE_SDR_CAPTURE as SDR_CAPTURE, BUF_TYPE_SDR_OUTPUT as SDR_OUTPUT,
    BUF_TYPE_SLICED_VBI_CAPTURE as SLICED_VBI_CAPTURE,
    BUF_TYPE_SLICED_VBI_OUTPUT as SLICED_VBI_OUTPUT, BUF_TYPE_VBI_CAPTURE as VBI_CAPTURE,
    BUF_TYPE_VBI_OUTPUT as VBI_OUTPUT, BUF_TYPE_VIDEO_CAPTURE as VIDEO_CAPTURE,
    BUF_TYPE_VIDEO_OUTPUT as VIDEO_OUTPUT, Format, is_multiplanar,
};

use crate::memory::{Ledger, MemoryCharge, PAGE_SIZE};

/// Most buffers of a guest's queue. Codecs and cameras stop at 32 or 64, vivid's VBI at 32768.
pub const MAX_BUFFERS: u32 = 1024;

/// How many of `count` buffers a queue gets that has `existing` ones.
///
/// # Errors
///
/// `ENOBUFS` if it has as many as there may be.
pub fn bounded(count: u32, existing: u32) -> Result<u32, Errno> {
    match count.min(MAX_BUFFERS.saturating_sub(existing)) {
        0 if count > 0 => Err(Errno::ENOBUFS),
        bounded => Ok(bounded),
    }
}

/// Bytes of a plane, in whole pages.
pub fn pages(length: u32) -> usize {
    (length as usize).next_multiple_of(PAGE_SIZE)
}

/// Bytes that a buffer of this format takes, in whole pages for each plane. A driver may take more.
pub fn of_buffer(format: &Format) -> usize {
    let word = |at: usize| {
        let bytes = format.fmt.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    };
    match format.type_ {
        multi if is_multiplanar(multi) => {
            let pix = format.pix_mp();
            let planes = pix.plane_fmt.iter().take(pix.num_planes.into());
            planes.map(|plane| pages(plane.sizeimage)).sum()
        }
        VIDEO_CAPTURE | VIDEO_OUTPUT => pages(format.pix().sizeimage),
        // `samples_per_line`, and `count` of both fields.
        VBI_CAPTURE | VBI_OUTPUT => {
            let lines = word(24).saturating_add(word(28));
            pages(word(8).saturating_mul(lines))
        }
        // `io_size`.
        SLICED_VBI_CAPTURE | SLICED_VBI_OUTPUT => pages(word(100)),
        // `buffersize`.
        SDR_CAPTURE | SDR_OUTPUT | META_CAPTURE | META_OUTPUT => pages(word(4)),
        _ => 0,
    }
}

/// Charges `ledger` for as many of `count` buffers of `bytes` each as the limit allows, and says
/// how many.
///
/// # Errors
///
/// `ENOMEM` if there is none for a single one.
pub fn reserve(
    ledger: &Arc<Ledger>,
    mut count: u32,
    bytes: usize,
) -> Result<(u32, MemoryCharge), Errno> {
    loop {
        let charge = (count as usize)
            .checked_mul(bytes)
            .ok_or(Errno::ENOMEM)
            .and_then(|bytes| ledger.charge(bytes));
        match charge {
            Ok(charge) => return Ok((count, charge)),
            Err(errno) if count <= 1 => {
                tracing::warn!("no room for a buffer of {bytes} bytes (--max-memory)");
                return Err(errno);
            }
            Err(_) => count /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::v4l2::{PixFormat, PixFormatMplane};

    #[test]
    fn of_every_kind() {
        let mut format = Format {
            type_: VIDEO_CAPTURE,
            ..Format::default()
        };
        format.set_pix(&PixFormat {
            sizeimage: 5000,
            ..PixFormat::default()
        });
        assert_eq!(of_buffer(&format), 8192);
        let mut pix = PixFormatMplane {
            num_planes: 2,
            ..PixFormatMplane::default()
        };
        for (plane, size) in pix.plane_fmt.iter_mut().zip([4096, 1, 99]) {
            plane.sizeimage = size;
        }
        format.type_ = 9;
        format.set_pix_mp(&pix);
        assert_eq!(of_buffer(&format), 8192);
        pix.num_planes = 255;
        format.set_pix_mp(&pix);
        assert_eq!(of_buffer(&format), 3 * 4096);
        let set = |format: &mut Format, at: usize, value: u32| {
            format.fmt[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        let mut vbi = Format {
            type_: VBI_CAPTURE,
            ..Format::default()
        };
        set(&mut vbi, 8, 1440);
        set(&mut vbi, 24, 12);
        set(&mut vbi, 28, 12);
        assert_eq!(of_buffer(&vbi), pages(1440 * 24));
        set(&mut vbi, 28, u32::MAX);
        assert_eq!(of_buffer(&vbi), 1 << 32);
        let mut meta = Format {
            type_: META_CAPTURE,
            ..Format::default()
        };
        set(&mut meta, 4, 16);
        assert_eq!(of_buffer(&meta), 4096);
    }

    #[test]
    fn as_many_as_there_is_room_for() {
        let ledger = Ledger::new(4 << 30, None);
        let (count, charge) = reserve(&ledger, 3, 4096).unwrap();
        assert_eq!((count, charge.bytes()), (3, 3 * 4096));
        let (count, charge) = reserve(&ledger, 1024, 5 << 20).unwrap();
        // Half: 5 GiB are more than the limit.
        assert_eq!(count, 512);
        assert_eq!(charge.bytes(), count as usize * (5 << 20));
        assert!(reserve(&ledger, 1, usize::MAX).is_err());
        assert!(reserve(&ledger, 2, usize::MAX).is_err());
    }

    #[test]
    fn there_is_a_most() {
        assert_eq!(bounded(3, 0), Ok(3));
        assert_eq!(bounded(0, MAX_BUFFERS), Ok(0));
        assert_eq!(bounded(u32::MAX, 4), Ok(MAX_BUFFERS - 4));
        assert_eq!(bounded(1, MAX_BUFFERS), Err(Errno::ENOBUFS));
    }
}
