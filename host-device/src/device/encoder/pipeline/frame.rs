// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Raw frames, wrapped where they lie.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::Setup;
use crate::memory::HostBuffer;

/// Wraps a frame for the encoder, without a copy: `planes` are the memory of each V4L2 plane and where the frame
/// starts in it. `held` is dropped when the encoder has let go of all of it.
///
/// # Errors
///
/// The frame does not lie inside its memory.
pub fn wrap<T: Send + Sync + 'static>(
    setup: &Setup,
    planes: &[(Arc<HostBuffer>, u32)],
    held: T,
) -> Result<gst::Buffer> {
    let held = Arc::new(held);
    let sizes = setup.raw.sizes();
    let mut buffer = gst::Buffer::new();
    let writable = buffer.get_mut().context("a new buffer is not writable")?;
    // Where each plane starts in the buffer as a whole.
    let mut starts = Vec::with_capacity(planes.len());
    let mut total = 0usize;
    for ((memory, offset), size) in planes.iter().zip(&sizes) {
        let start = *offset as usize;
        let end = start.checked_add(*size as usize).context("overflow")?;
        let held = Arc::clone(&held);
        writable.append_memory(memory.gst_memory(start..end, move || drop(held))?);
        starts.push(total);
        total += *size as usize;
    }
    let crop = setup.crop;
    let left_top = (crop.left.unsigned_abs(), crop.top.unsigned_abs());
    let placed = setup.raw.pixel.place(
        &setup.raw.bytesperline,
        setup.raw.height,
        left_top,
        (crop.width, crop.height),
    );
    let mut offsets = Vec::with_capacity(placed.len());
    let mut strides = Vec::with_capacity(placed.len());
    for component in placed {
        let start = starts.get(component.plane).context("a plane is missing")?;
        let size = sizes.get(component.plane).copied().unwrap_or(0);
        anyhow::ensure!(
            component.offset + component.extent <= u64::from(size),
            "the crop reaches over the frame"
        );
        offsets.push(start + component.offset as usize);
        strides.push(i32::try_from(component.stride)?);
    }
    gst_video::VideoMeta::add_full(
        writable,
        gst_video::VideoFrameFlags::empty(),
        setup.raw.pixel.gst,
        crop.width,
        crop.height,
        &offsets,
        &strides,
    )?;
    Ok(buffer)
}
