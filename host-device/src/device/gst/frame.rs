// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Raw frames, wrapped where they lie.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use gstreamer as gst;
use gstreamer_video as gst_video;

use protocol::wire::v4l2::Rect;

use super::formats::video_format;
use super::memory;
use crate::memory::PlaneMemory;
use crate::v4l2::core::format::RawFormat;

/// Wraps the `crop` of a `raw` frame for an element, without a copy: `planes` are the memory of
/// each V4L2 plane, where the frame starts in it, and `bytesused`. `held` is dropped when the
/// element has let go of all of the frame.
///
/// # Errors
///
/// The frame does not lie inside its memory.
pub fn wrap<T: Send + Sync + 'static>(
    (raw, crop): (&RawFormat, Rect),
    planes: &[(PlaneMemory, u32, u32)],
    held: T,
) -> Result<gst::Buffer> {
    let held = Arc::new(held);
    let (sizes, strides) = layout(raw, planes);
    let mut buffer = gst::Buffer::new();
    let writable = buffer.get_mut().context("a new buffer is not writable")?;
    // Where each plane starts in the buffer as a whole.
    let mut starts = Vec::with_capacity(planes.len());
    let mut total = 0usize;
    for ((plane, offset, _), size) in planes.iter().zip(&sizes) {
        let start = *offset as usize;
        let end = start.checked_add(*size as usize).context("overflow")?;
        anyhow::ensure!(end <= plane.len(), "the frame reaches over its memory");
        let held = Arc::clone(&held);
        writable.append_memory(memory::wrap(plane, start..end, move || drop(held))?);
        starts.push(total);
        total += *size as usize;
    }
    let left_top = (crop.left.unsigned_abs(), crop.top.unsigned_abs());
    let placed = raw
        .pixel
        .place(&strides, raw.height, left_top, (crop.width, crop.height));
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
        video_format(raw.pixel),
        crop.width,
        crop.height,
        &offsets,
        &strides,
    )?;
    Ok(buffer)
}

/// Bytes that a frame takes in each V4L2 plane, and strides of its components.
fn layout(raw: &RawFormat, planes: &[(PlaneMemory, u32, u32)]) -> (Vec<u32>, Vec<u32>) {
    let sizes = raw.sizes();
    // Only oversized buffers of our own hold frames with other strides than the format.
    match planes {
        [(PlaneMemory::Own(_), offset, bytesused)] if raw.oversized => {
            let payload = bytesused.saturating_sub(*offset);
            let size = sizes.iter().sum::<u32>().max(payload);
            (vec![size], raw.strides(payload))
        }
        _ => (sizes, raw.strides(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use gst_video::prelude::*;

    use super::*;
    use crate::device::gst::formats;
    use crate::memory::HostBuffer;
    use crate::v4l2::core::format::RawFormat;
    use crate::v4l2::core::uapi::fourcc;

    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn raw(name: &[u8; 4]) -> RawFormat {
        gst::init().unwrap();
        let mut formats = formats::all();
        let pixel = formats.find(|format| format.fourcc == fourcc(name));
        RawFormat::new(pixel.unwrap(), 1280, 720)
    }

    /// A plane of which all is used.
    fn plane(len: usize, offset: u32) -> (PlaneMemory, u32, u32) {
        (HostBuffer::new(len).unwrap().into(), offset, len as u32)
    }

    /// The addresses that an encoder reads are those of the mapping: nothing is copied on the way.
    #[test]
    fn the_encoder_sees_the_mapping_itself() {
        let crop = Rect {
            left: 16,
            top: 8,
            width: 640,
            height: 480,
        };
        for name in [b"NV12", b"NM12", b"YM12", b"YUYV"] {
            let raw = raw(name);
            let planes: Vec<_> = raw
                .sizes()
                .iter()
                .map(|size| plane(*size as usize + 64, 64))
                .collect();
            let starts: Vec<usize> = planes
                .iter()
                .map(|(memory, offset, _)| {
                    let whole = memory::wrap(memory, 0..memory.len(), || ()).unwrap();
                    whole.map_readable().unwrap().as_ptr() as usize + *offset as usize
                })
                .collect();
            let released = Arc::new(AtomicUsize::new(0));
            let buffer = wrap((&raw, crop), &planes, Counted(Arc::clone(&released))).unwrap();
            let info = gst_video::VideoInfo::builder(video_format(raw.pixel), 640, 480)
                .build()
                .unwrap();
            let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(&buffer, &info).unwrap();
            let placed = raw
                .pixel
                .place(&raw.strides(0), raw.height, (16, 8), (640, 480));
            for (at, placed) in placed.iter().enumerate() {
                let seen = frame.plane_data(at as u32).unwrap().as_ptr() as usize;
                assert_eq!(seen, starts[placed.plane] + placed.offset as usize);
                assert_eq!(frame.plane_stride()[at], placed.stride as i32);
            }
            drop(frame);
            assert_eq!(released.load(Ordering::SeqCst), 0);
            drop(buffer);
            assert_eq!(released.load(Ordering::SeqCst), 1, "once for all planes");
        }
    }

    #[test]
    fn a_frame_outside_its_memory_is_refused() {
        let whole = Rect {
            left: 0,
            top: 0,
            width: 1280,
            height: 720,
        };
        let raw = raw(b"NV12");
        let size = raw.sizes()[0] as usize;
        let released = Arc::new(AtomicUsize::new(0));
        for (len, offset) in [(size - 1, 0), (size, 1), (size, u32::MAX)] {
            let held = Counted(Arc::clone(&released));
            assert!(wrap((&raw, whole), &[plane(len, offset)], held).is_err());
        }
        assert_eq!(released.load(Ordering::SeqCst), 3);
    }
}
