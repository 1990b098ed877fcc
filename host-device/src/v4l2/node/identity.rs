// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Identity of a node: driver, card, bus, capabilities.

use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat, major, minor};
use protocol::wire::config::DeviceType;
use v4l2r::bindings::{V4L2_CAP_DEVICE_CAPS, v4l2_capability};
use v4l2r::ioctl::{QueryCapError, querycap};

/// Major number of all V4L2 nodes.
const VIDEO_MAJOR: u64 = 81;

/// What VIDIOC_QUERYCAP says of a node, and of what kind it is. Two nodes with the same are the
/// same device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the host's driver.
    pub driver: String,
    /// Name of the device.
    pub card: String,
    /// Where it is plugged in.
    pub bus_info: String,
    /// `V4L2_CAP_*` of this node.
    pub device_caps: u32,
    /// Kind of the node.
    pub kind: DeviceType,
}

/// A NUL-terminated field of a structure.
pub(super) fn text(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The kind of node that has this name in `/dev`. `None` for one that has no meaning to a guest.
fn kind(name: &str) -> Option<DeviceType> {
    [
        ("video", DeviceType::Video),
        ("vbi", DeviceType::Vbi),
        ("radio", DeviceType::Radio),
        ("swradio", DeviceType::Sdr),
        ("v4l-touch", DeviceType::Touch),
    ]
    .into_iter()
    .find(|(prefix, _)| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
    })
    .map(|(_, kind)| kind)
}

impl Identity {
    /// Of the open node `fd`, which was found at `path`.
    ///
    /// # Errors
    ///
    /// `ENOTTY` if it is no V4L2 node, or one for a sub-device; or what VIDIOC_QUERYCAP fails with.
    pub(super) fn of(fd: BorrowedFd<'_>, path: &Path) -> Result<Self, Errno> {
        let stat = fstat(fd)?;
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let is_device = SFlag::from_bits_truncate(stat.st_mode).contains(SFlag::S_IFCHR);
        if !is_device || major != VIDEO_MAJOR {
            return Err(Errno::ENOTTY);
        }
        // The path may be a link of any name. Only the kernel knows; without sysfs, the name may
        // tell.
        let uevent = std::fs::read_to_string(format!("/sys/dev/char/{major}:{minor}/uevent"));
        let name = uevent.ok().and_then(|uevent| {
            let name = uevent
                .lines()
                .find_map(|line| line.strip_prefix("DEVNAME="))?;
            Some(name.to_owned())
        });
        let name = name
            .or_else(|| Some(path.file_name()?.to_str()?.to_owned()))
            .unwrap_or_default();
        let kind = kind(&name).ok_or(Errno::ENOTTY)?;
        let caps: v4l2_capability = querycap(&fd)
            .map_err(|QueryCapError::IoctlError(errno)| Errno::from_raw(errno as i32))?;
        Ok(Self {
            driver: text(&caps.driver),
            card: text(&caps.card),
            bus_info: text(&caps.bus_info),
            device_caps: if caps.capabilities & V4L2_CAP_DEVICE_CAPS != 0 {
                caps.device_caps
            } else {
                caps.capabilities
            },
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert_eq!(kind("video12"), Some(DeviceType::Video));
        assert_eq!(kind("vbi0"), Some(DeviceType::Vbi));
        assert_eq!(kind("radio1"), Some(DeviceType::Radio));
        assert_eq!(kind("swradio0"), Some(DeviceType::Sdr));
        assert_eq!(kind("v4l-touch3"), Some(DeviceType::Touch));
        for none in ["v4l-subdev0", "media0", "video", "videoX", ""] {
            assert_eq!(kind(none), None, "{none}");
        }
    }

    #[test]
    fn text_of_fields() {
        assert_eq!(text(b"vivid\0\0junk"), "vivid");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(b"\xff\0"), "\u{fffd}");
    }

    #[test]
    fn other_files_are_none() {
        use std::os::fd::AsFd;
        for path in ["/dev/null", "/proc/self/maps"] {
            let file = std::fs::File::open(path).unwrap();
            assert_eq!(
                Identity::of(file.as_fd(), Path::new(path)),
                Err(Errno::ENOTTY)
            );
        }
    }
}
