// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The device configuration space.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of the feature bit by which the driver promises to keep the pages behind a plane where
/// they are for as long as the device may remember them.
///
/// That is for a plane of a USERPTR or DMABUF buffer, and of an MMAP buffer that travels as
/// `SHARED_PAGES`, until the device has answered a command that makes it forget them: a QBUF or
/// PREPARE_BUF of the same buffer with other memory that it accepts, REQBUFS, REMOVE_BUFS or CLOSE;
/// or until it has been reset.
pub const VIRTIO_V4L2_F_PINNED_WHILE_CACHED: u32 = 56;

/// `struct virtio_media_config`, read-only for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// `V4L2_CAP_*` flags, as in `device_caps` of `struct v4l2_capability`.
    pub device_caps: u32,
    /// Kind of the node: the number of an [`DeviceType`].
    pub device_type: u32,
    /// Name of the device, UTF-8; NUL-terminated only when shorter than the field.
    pub card: [u8; 32],
}

const _: () = assert!(size_of::<Config>() == 40);

/// Kinds of device node: the kernel's `enum vfl_devnode_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceType {
    /// `/dev/videoX`: capture, output, codec.
    Video = 0,
    /// `/dev/vbiX`.
    Vbi = 1,
    /// `/dev/radioX`.
    Radio = 2,
    /// `/dev/v4l-subdevX`; has no meaning as a Media Device.
    Subdev = 3,
    /// `/dev/swradioX`.
    Sdr = 4,
    /// `/dev/v4l-touchX`.
    Touch = 5,
}

impl TryFrom<u32> for DeviceType {
    type Error = u32;

    /// Fails with the number itself when no kind has it.
    fn try_from(value: u32) -> Result<Self, u32> {
        Ok(match value {
            0 => Self::Video,
            1 => Self::Vbi,
            2 => Self::Radio,
            3 => Self::Subdev,
            4 => Self::Sdr,
            5 => Self::Touch,
            other => return Err(other),
        })
    }
}
