// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2 payloads that the driver or the device must look into, in the 64-bit layout of
//! `linux/videodev2.h`.
//!
//! Unions are kept as raw bytes or as their widest member, with accessors that name the member. All
//! other payloads pass through as bytes of the size that [`ioctl`](super::ioctl) states.

use core::mem::offset_of;
use zerocopy::{FromBytes as _, IntoBytes as _};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod constants;

pub use constants::*;
pub use payloads::*;

/// Whether buffers of `buf_type` (`V4L2_BUF_TYPE_*`) are described by an array of planes.
pub const fn is_multiplanar(buf_type: u32) -> bool {
    buf_type == BUF_TYPE_VIDEO_CAPTURE_MPLANE || buf_type == BUF_TYPE_VIDEO_OUTPUT_MPLANE
}

/// Whether buffers of `buf_type` carry data to the device: `V4L2_TYPE_IS_OUTPUT`.
pub const fn is_output(buf_type: u32) -> bool {
    matches!(
        buf_type,
        BUF_TYPE_VIDEO_OUTPUT
            | BUF_TYPE_VIDEO_OVERLAY
            | BUF_TYPE_VBI_OUTPUT
            | BUF_TYPE_SLICED_VBI_OUTPUT
            | BUF_TYPE_VIDEO_OUTPUT_OVERLAY
            | BUF_TYPE_VIDEO_OUTPUT_MPLANE
            | BUF_TYPE_SDR_OUTPUT
            | BUF_TYPE_META_OUTPUT
    )
}

macro_rules! v4l2 {
    ($(#[$doc:meta])* $name:ident = $c:literal, $size:literal { $($field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[doc = concat!("`struct ", $c, "`.")]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(C)]
        #[allow(missing_docs)]
        pub struct $name { $(pub $field: $ty,)* }

        const _: () = assert!(size_of::<$name>() == $size);

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    };
}

// After the macro, which it uses.
mod payloads;

v4l2!(Timeval = "timeval", 16 { tv_sec: i64, tv_usec: i64, });
v4l2!(Timespec = "timespec", 16 { tv_sec: i64, tv_nsec: i64, });
v4l2!(Fract = "v4l2_fract", 8 { numerator: u32, denominator: u32, });
v4l2!(Rect = "v4l2_rect", 16 { left: i32, top: i32, width: u32, height: u32, });

v4l2!(Timecode = "v4l2_timecode", 16 {
    type_: u32, flags: u32, frames: u8, seconds: u8, minutes: u8, hours: u8, userbits: [u8; 4],
});

v4l2! {
    /// `m` is `m.offset`, `m.userptr`, `m.planes` or `m.fd`, by `memory` and `type_`.
    Buffer = "v4l2_buffer", 88 {
        index: u32, type_: u32, bytesused: u32, flags: u32, field: u32, pad0: u32,
        timestamp: Timeval, timecode: Timecode, sequence: u32, memory: u32, m: u64, length: u32,
        reserved2: u32, request_fd: i32, pad1: u32,
    }
}

v4l2! {
    /// `m` is `m.mem_offset`, `m.userptr` or `m.fd`, by the buffer's `memory`.
    Plane = "v4l2_plane", 64 {
        bytesused: u32, length: u32, m: u64, data_offset: u32, reserved: [u32; 11],
    }
}

v4l2! {
    /// `fmt` is `fmt.pix`, `fmt.pix_mp` and so on, by `type_`.
    Format = "v4l2_format", 208 { type_: u32, pad: u32, fmt: [u8; 200], }
}

v4l2!(PixFormat = "v4l2_pix_format", 48 {
    width: u32, height: u32, pixelformat: u32, field: u32, bytesperline: u32, sizeimage: u32,
    colorspace: u32, priv_: u32, flags: u32, ycbcr_enc: u32, quantization: u32, xfer_func: u32,
});

v4l2!(PlanePixFormat = "v4l2_plane_pix_format", 20 {
    sizeimage: u32, bytesperline: u32, reserved: [u16; 6],
});

v4l2!(PixFormatMplane = "v4l2_pix_format_mplane", 192 {
    width: u32, height: u32, pixelformat: u32, field: u32, colorspace: u32,
    plane_fmt: [PlanePixFormat; VIDEO_MAX_PLANES],
    num_planes: u8, flags: u8, ycbcr_enc: u8, quantization: u8, xfer_func: u8, reserved: [u8; 7],
});

impl Format {
    /// Where `fmt.win`, which overlays use, has `clips`, `clipcount` and `bitmap`, one behind the
    /// other: in bytes from the start of `fmt`.
    pub const WINDOW_POINTERS: core::ops::Range<usize> =
        offset_of!(Window, clips)..offset_of!(Window, global_alpha);

    /// Sets the pointers in the format of an overlay to zero: they mean nothing but to who made
    /// them.
    pub fn drop_pointers(&mut self) {
        if matches!(
            self.type_,
            BUF_TYPE_VIDEO_OVERLAY | BUF_TYPE_VIDEO_OUTPUT_OVERLAY
        ) {
            if let Some(pointers) = self.fmt.get_mut(Self::WINDOW_POINTERS) {
                pointers.fill(0);
            }
        }
    }

    /// `fmt.pix`, which single-planar types use.
    pub fn pix(&self) -> PixFormat {
        PixFormat::read_from_prefix(&self.fmt).map_or_else(|_| PixFormat::default(), |(pix, _)| pix)
    }

    /// Sets `fmt.pix`, and the rest of the union to zero.
    pub fn set_pix(&mut self, pix: &PixFormat) {
        self.fmt = [0; 200];
        // Cannot fail: 48 bytes into 200.
        let _ = pix.write_to_prefix(&mut self.fmt);
    }

    /// `fmt.pix_mp`, which multi-planar types use.
    pub fn pix_mp(&self) -> PixFormatMplane {
        PixFormatMplane::read_from_prefix(&self.fmt)
            .map_or_else(|_| PixFormatMplane::default(), |(pix, _)| pix)
    }

    /// Sets `fmt.pix_mp`, and the rest of the union to zero.
    pub fn set_pix_mp(&mut self, pix: &PixFormatMplane) {
        self.fmt = [0; 200];
        // Cannot fail: 192 bytes into 200.
        let _ = pix.write_to_prefix(&mut self.fmt);
    }
}

v4l2!(FmtDesc = "v4l2_fmtdesc", 64 {
    index: u32, type_: u32, flags: u32, description: [u8; 32], pixelformat: u32, mbus_code: u32,
    reserved: [u32; 3],
});

v4l2! {
    /// `stepwise` is min, max and step of width, then of height; a discrete size stands in its
    /// first two.
    FrmSizeEnum = "v4l2_frmsizeenum", 44 {
        index: u32, pixel_format: u32, type_: u32, stepwise: [u32; 6], reserved: [u32; 2],
    }
}

v4l2! {
    /// `stepwise` is min, max and step; a discrete interval stands in its first.
    FrmIvalEnum = "v4l2_frmivalenum", 52 {
        index: u32, pixel_format: u32, width: u32, height: u32, type_: u32, stepwise: [Fract; 3],
        reserved: [u32; 2],
    }
}

v4l2! {
    /// `capability` to `buffers` are the members of `parm.capture` and `parm.output`, which agree
    /// in layout.
    StreamParm = "v4l2_streamparm", 204 {
        type_: u32, capability: u32, mode: u32, timeperframe: Fract, extendedmode: u32,
        buffers: u32, reserved: [u32; 4], rest: [[u32; 8]; 5],
    }
}

v4l2!(Selection = "v4l2_selection", 64 {
    type_: u32, target: u32, flags: u32, r: Rect, reserved: [u32; 9],
});

v4l2!(RequestBuffers = "v4l2_requestbuffers", 20 {
    count: u32, type_: u32, memory: u32, capabilities: u32, flags: u8, reserved: [u8; 3],
});

v4l2!(CreateBuffers = "v4l2_create_buffers", 256 {
    index: u32, count: u32, memory: u32, pad: u32, format: Format, capabilities: u32, flags: u32,
    max_num_buffers: u32, reserved: [u32; 5],
});

v4l2!(RemoveBuffers = "v4l2_remove_buffers", 64 {
    index: u32, count: u32, type_: u32, reserved: [u32; 13],
});

v4l2!(ExportBuffer = "v4l2_exportbuffer", 64 {
    type_: u32, index: u32, plane: u32, flags: u32, fd: i32, reserved: [u32; 11],
});

v4l2!(Control = "v4l2_control", 8 { id: u32, value: i32, });

v4l2! {
    /// The union (`value`, `value64`, pointers) stands in `value` as low and high half: the C
    /// structure is packed, so a `u64` would be misaligned.
    ExtControl = "v4l2_ext_control", 20 {
        id: u32, size: u32, reserved2: u32, value: [u32; 2],
    }
}

impl ExtControl {
    /// `value`, for controls of 32 bits.
    pub const fn value(&self) -> i32 {
        self.value[0] as i32
    }

    /// Sets `value`; the upper half of the union becomes zero.
    pub const fn set_value(&mut self, value: i32) {
        self.value = [value as u32, 0];
    }

    /// `value64`, or a pointer's number.
    pub const fn value64(&self) -> i64 {
        (self.value[0] as u64 | (self.value[1] as u64) << 32) as i64
    }

    /// Sets `value64`.
    pub const fn set_value64(&mut self, value: i64) {
        self.value = [value as u32, (value >> 32) as u32];
    }
}

v4l2! {
    /// `controls` is the pointer; the array follows the payload.
    ExtControls = "v4l2_ext_controls", 32 {
        which: u32, count: u32, error_idx: u32, request_fd: i32, reserved: u32, pad: u32,
        controls: u64,
    }
}

v4l2!(QueryCtrl = "v4l2_queryctrl", 68 {
    id: u32, type_: u32, name: [u8; 32], minimum: i32, maximum: i32, step: i32, default_value: i32,
    flags: u32, reserved: [u32; 2],
});

v4l2!(QueryExtCtrl = "v4l2_query_ext_ctrl", 232 {
    id: u32, type_: u32, name: [u8; 32], minimum: i64, maximum: i64, step: u64, default_value: i64,
    flags: u32, elem_size: u32, elems: u32, nr_of_dims: u32, dims: [u32; 4], reserved: [u32; 32],
});

v4l2! {
    /// `name` holds the union; an integer menu's `value` is in its first eight bytes.
    QueryMenu = "v4l2_querymenu", 44 { id: u32, index: u32, name: [u8; 32], reserved: u32, }
}

v4l2! {
    /// `edid` is the pointer; `blocks` times 128 bytes follow the payload.
    Edid = "v4l2_edid", 40 {
        pad: u32, start_block: u32, blocks: u32, reserved: [u32; 5], edid: u64,
    }
}

v4l2!(EncoderCmd = "v4l2_encoder_cmd", 40 { cmd: u32, flags: u32, raw: [u32; 8], });

v4l2!(EventSubscription = "v4l2_event_subscription", 32 {
    type_: u32, id: u32, flags: u32, reserved: [u32; 5],
});

v4l2! {
    /// `u` holds the union: an [`EventCtrl`] for `V4L2_EVENT_CTRL`.
    Event = "v4l2_event", 136 {
        type_: u32, pad0: u32, u: [u8; 64], pending: u32, sequence: u32, timestamp: Timespec,
        id: u32, reserved: [u32; 8], pad1: u32,
    }
}

v4l2!(EventCtrl = "v4l2_event_ctrl", 40 {
    changes: u32, type_: u32, value: i64, flags: u32, minimum: i32, maximum: i32, step: i32,
    default_value: i32, pad: u32,
});
