// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Raw formats: how the pixels of a frame lie in memory.

/// A component of a raw format: luma, chroma, or all of a packed format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// The V4L2 plane that it lies in. Each plane has memory of its own.
    pub plane: usize,
    /// `bytesperline` of the V4L2 plane divided by this is the stride of the component.
    pub stride_div: u32,
    /// Rows are the height divided by this.
    pub rows_div: u32,
    /// Bytes of one sample or pair of samples.
    pub bytes: u32,
    /// Pixels across that such a group stands for.
    pub pixels: u32,
}

/// A raw format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    /// `V4L2_PIX_FMT_*`.
    pub fourcc: u32,
    /// What the kernel calls it in VIDIOC_ENUM_FMT.
    pub description: &'static str,
    /// Its fourcc in `drm_fourcc.h`.
    pub drm_fourcc: u32,
    /// Bits of each sample.
    pub depth: u8,
    /// It is R'G'B', rather than Y'CbCr.
    pub rgb: bool,
    /// Components, in the order of the format's name: Y, U, V, or one that has all of it.
    pub components: &'static [Component],
}

/// Where a component of a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// V4L2 plane.
    pub plane: usize,
    /// Offset of the first sample in the plane, in bytes.
    pub offset: u64,
    /// Distance of rows, in bytes.
    pub stride: u32,
    /// Bytes from the first sample to the end of the last row.
    pub extent: u64,
}

impl PixelFormat {
    /// Its four letters.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.fourcc.to_le_bytes()).into_owned()
    }

    /// Number of V4L2 planes.
    pub fn planes(&self) -> usize {
        self.components
            .iter()
            .map(|c| c.plane + 1)
            .max()
            .unwrap_or(1)
    }

    /// Smallest `bytesperline` of a V4L2 plane for frames `width` pixels wide.
    pub fn min_bytesperline(&self, plane: usize, width: u32) -> u32 {
        self.components
            .iter()
            .filter(|c| c.plane == plane)
            .map(|c| (width / c.pixels) * c.bytes * c.stride_div)
            .max()
            .unwrap_or(0)
    }

    /// `sizeimage` of a V4L2 plane: its components one after the other, without padding.
    pub fn sizeimage(&self, plane: usize, bytesperline: u32, height: u32) -> u32 {
        self.components
            .iter()
            .filter(|c| c.plane == plane)
            .map(|c| (bytesperline / c.stride_div) * (height / c.rows_div))
            .sum()
    }

    /// `sizeimage` of each V4L2 plane.
    pub fn sizes(&self, bytesperline: &[u32], height: u32) -> Vec<u32> {
        let planes = bytesperline.iter().enumerate();
        planes
            .map(|(plane, bytesperline)| self.sizeimage(plane, *bytesperline, height))
            .collect()
    }

    /// Smallest `bytesperline` of each V4L2 plane for frames `width` pixels wide.
    pub fn min_strides(&self, width: u32) -> Vec<u32> {
        (0..self.planes())
            .map(|plane| self.min_bytesperline(plane, width))
            .collect()
    }

    /// Strides of the components, in bytes, for these `bytesperline`s.
    pub fn strides(&self, bytesperline: &[u32]) -> Vec<u32> {
        self.components
            .iter()
            .map(|c| bytesperline.get(c.plane).copied().unwrap_or(0) / c.stride_div)
            .collect()
    }

    /// Where the components of a rectangle lie: `width` by `height` pixels at (`left`, `top`) of a
    /// frame that is `frame_height` rows high and has these `strides`. Coordinates must be even.
    pub fn place(
        &self,
        strides: &[u32],
        frame_height: u32,
        (left, top): (u32, u32),
        (width, height): (u32, u32),
    ) -> Vec<Placed> {
        let mut before = (usize::MAX, 0u64);
        self.components
            .iter()
            .zip(strides)
            .map(|(c, stride)| {
                let stride = *stride;
                let start = if before.0 == c.plane { before.1 } else { 0 };
                before = (
                    c.plane,
                    start + u64::from(stride) * u64::from(frame_height / c.rows_div),
                );
                let row = u64::from(width / c.pixels) * u64::from(c.bytes);
                let rows = u64::from((height / c.rows_div).max(1));
                Placed {
                    plane: c.plane,
                    offset: start
                        + u64::from(top / c.rows_div) * u64::from(stride)
                        + u64::from(left / c.pixels) * u64::from(c.bytes),
                    stride,
                    extent: (rows - 1) * u64::from(stride) + row,
                }
            })
            .collect()
    }
}
