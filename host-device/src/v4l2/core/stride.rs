// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Frames with other strides than the format's.
//!
//! FFmpeg (libavcodec/v4l2_buffers.c) copies each plane of a frame with the linesize that it has in
//! FFmpeg's memory, one after the other, whatever `bytesperline` says: the linesize of a decoder,
//! of a filter, or, after `crop`, of a wider frame. `bytesused` is where its copies end, unless
//! that is more than the buffer's length. So its OUTPUT buffers are [long enough](lengths) for the
//! rows of the widest frame, and [`of_payload`] finds the strides that make up `bytesused`.
//!
//! Only such buffers are read like this. A client is taken for FFmpeg by its S_FMT, which has the
//! sizes of planes that TRY_FMT answered for 0x0 pixels. And only a `bytesused` between `sizeimage`
//! and the length counts: clients that follow `bytesperline` write 0, `sizeimage`, or the length,
//! which is no multiple of the height.

use super::pixel::PixelFormat;

/// Alignments of linesizes in FFmpeg, the likeliest first: `av_cpu_max_align()` of the guest.
pub(crate) const ALIGNMENTS: [u32; 3] = if cfg!(target_arch = "x86_64") {
    [64, 32, 16]
} else {
    [16, 32, 64]
};

/// Bytes more than the rows of the widest frame: less than any height.
const ODD: u32 = 8;

/// Lengths of a buffer's planes that hold `height` rows of a frame `max_width` pixels wide.
pub fn lengths(pixel: &PixelFormat, height: u32, max_width: u32) -> Vec<u32> {
    let planes = 0..pixel.planes();
    planes
        .map(|plane| {
            let widest = pixel.min_bytesperline(plane, max_width);
            pixel.sizeimage(plane, widest, height) + ODD
        })
        .collect()
}

/// Strides of the components of a frame in such a buffer, of which `payload` bytes are used. The
/// format has this width and height, and this `bytesperline` of each plane. `None` if the frame has
/// the strides of the format.
pub fn of_payload(
    pixel: &PixelFormat,
    (width, height): (u32, u32),
    bytesperline: &[u32],
    payload: u32,
) -> Option<Vec<u32>> {
    let sizeimage: u32 = pixel.sizes(bytesperline, height).iter().sum();
    if payload <= sizeimage || !payload.is_multiple_of(height) {
        return None;
    }
    // Bytes of all components for each row of luma.
    let row = payload / height;
    let strides = match pixel.components {
        [_] => vec![row],
        [_, _] => vec![exact(row * 2, 3)?; 2],
        [_, _, _] => planar(width, row)?,
        _ => return None,
    };
    let min = pixel.strides(bytesperline);
    let fits = strides.iter().zip(min).all(|(stride, min)| *stride >= min);
    fits.then_some(strides)
}

/// Strides of luma and both chroma planes that are `row` bytes for each row of luma.
fn planar(width: u32, row: u32) -> Option<Vec<u32>> {
    // Decoders align the width, so that chroma has half the stride of luma.
    if let Some(luma) = exact(row * 2, 3) {
        return Some(vec![luma, luma / 2, luma / 2]);
    }
    // Filters align the stride of each plane: half an odd multiple is rounded up.
    let candidates = ALIGNMENTS.iter().filter_map(|align| {
        let luma = exact(row.checked_sub(align / 2)? * 2, 3)?;
        (luma >= width && luma % (2 * align) == *align).then_some((luma, *align))
    });
    let of_this_width = |(luma, align): &(u32, u32)| *luma == width.next_multiple_of(*align);
    let (luma, align) = candidates
        .clone()
        .find(of_this_width)
        .or_else(|| candidates.clone().next())?;
    let chroma = (luma + align) / 2;
    Some(vec![luma, chroma, chroma])
}

/// A quotient without remainder.
fn exact(dividend: u32, divisor: u32) -> Option<u32> {
    dividend.is_multiple_of(divisor).then(|| dividend / divisor)
}
