// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The crop rectangle of a queue that carries raw frames to the device.

use nix::errno::Errno;
use protocol::wire::v4l2::{Rect, Selection};

use super::format::clamp_step;
use super::uapi::*;

/// Smallest crop, in pixels.
const MIN_CROP: u32 = 16;

/// VIDIOC_G_SELECTION of frames that are `whole`, of which `crop` is used.
///
/// # Errors
///
/// `EINVAL` for anything but the crop of the OUTPUT queue.
pub fn get(selection: &mut Selection, crop: Rect, whole: Rect) -> Result<(), Errno> {
    if !matches!(selection.type_, OUTPUT | OUTPUT_SINGLE) {
        return Err(Errno::EINVAL);
    }
    selection.r = match selection.target {
        V4L2_SEL_TGT_CROP => crop,
        V4L2_SEL_TGT_CROP_DEFAULT | V4L2_SEL_TGT_CROP_BOUNDS => whole,
        _ => return Err(Errno::EINVAL),
    };
    Ok(())
}

/// The crop nearest to what `selection` asks for, of frames that are `whole`.
///
/// # Errors
///
/// `EINVAL` for anything but the crop of the OUTPUT queue. `ERANGE` if the constraint flags forbid
/// what it would be adjusted to.
pub fn nearest(selection: &Selection, whole: Rect) -> Result<Rect, Errno> {
    if !matches!(selection.type_, OUTPUT | OUTPUT_SINGLE) || selection.target != V4L2_SEL_TGT_CROP {
        return Err(Errno::EINVAL);
    }
    let asked = selection.r;
    let width = clamp_step(asked.width, MIN_CROP, whole.width);
    let height = clamp_step(asked.height, MIN_CROP, whole.height);
    let within = |value: i32, max: u32| {
        let value = u32::try_from(value).unwrap_or(0);
        i32::try_from(clamp_step(value, 0, max)).unwrap_or(0)
    };
    let crop = Rect {
        left: within(asked.left, whole.width - width),
        top: within(asked.top, whole.height - height),
        width,
        height,
    };
    let smaller = crop.width < asked.width || crop.height < asked.height;
    let larger = crop.width > asked.width || crop.height > asked.height;
    if (selection.flags & V4L2_SEL_FLAG_GE != 0 && smaller)
        || (selection.flags & V4L2_SEL_FLAG_LE != 0 && larger)
    {
        return Err(Errno::ERANGE);
    }
    Ok(crop)
}
