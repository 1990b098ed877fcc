// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! An open node.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::libc;
use protocol::wire::ioctl::{self, Attached, Ioctl};
use protocol::wire::v4l2::{CreateBuffers, Format};
use v4l2r::bindings::v4l2_capability;
use zerocopy::{FromBytes, IntoBytes};

use super::identity::Identity;
use super::layout::FRAMEBUFFER_BASE;
use super::request;

/// An open V4L2 node of the host. Its file does not block: DQBUF and DQEVENT answer `EAGAIN` and
/// `ENOENT`.
#[derive(Debug)]
pub struct Node {
    file: File,
    identity: Identity,
    /// Calls that are being made of the same device.
    calls: Arc<AtomicUsize>,
}

/// A call that is being made. It may hold the device's lock, for which others wait.
pub(super) struct Calling<'a>(&'a AtomicUsize);

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Node {
    /// Opens the node at `path`. Calls of it are counted in `calls` while they are made, but for
    /// DQBUF and DQEVENT: those are short.
    ///
    /// # Errors
    ///
    /// What `open(2)` or VIDIOC_QUERYCAP fail with; `ENOTTY` if it is no V4L2 node that a guest can
    /// use.
    pub fn open(path: &Path, calls: Arc<AtomicUsize>) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let identity = Identity::of(file.as_fd(), path)?;
        Ok(Arc::new(Self {
            file,
            identity,
            calls,
        }))
    }

    /// The call is being made for as long as the result lives.
    pub(super) fn calling(&self, ioctl: &Ioctl) -> Option<Calling<'_>> {
        let is_short = matches!(ioctl.code, ioctl::DQBUF | ioctl::DQEVENT);
        (!is_short).then(|| {
            self.calls.fetch_add(1, Ordering::AcqRel);
            Calling(&self.calls)
        })
    }

    /// What it was when it was opened.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether its device is no longer there.
    pub fn is_gone(&self) -> bool {
        request::entry(ioctl::QUERYCAP).is_ok_and(|ioctl| {
            self.call_bytes(ioctl, &mut [0; size_of::<v4l2_capability>()]) == Err(Errno::ENODEV)
        })
    }

    /// Makes a call whose payload is all that there is to it.
    ///
    /// # Errors
    ///
    /// As [`call_bytes`](Self::call_bytes).
    pub fn call<T: FromBytes + IntoBytes>(
        &self,
        ioctl: &'static Ioctl,
        payload: &mut T,
    ) -> Result<(), Errno> {
        self.call_bytes(ioctl, payload.as_mut_bytes())
    }

    /// Makes a call whose payload is all that there is to it. Clips and bitmap of an overlay's
    /// window are dropped from it: those are pointers.
    ///
    /// # Errors
    ///
    /// What the kernel answers. `ENOTTY`, without asking it, for an ioctl with pointers or files in
    /// its payload. `EINVAL` if `payload` is not of the ioctl's size.
    pub fn call_bytes(&self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result<(), Errno> {
        let _calling = self.calling(ioctl);
        Self::plain(self.as_fd(), ioctl, payload)
    }

    /// As [`call_bytes`](Self::call_bytes), on a file of its own that may block: S_HW_FREQ_SEEK
    /// refuses others.
    ///
    /// # Errors
    ///
    /// As [`call_bytes`](Self::call_bytes); and what opening the node once more fails with.
    pub fn call_blocking(&self, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result<(), Errno> {
        // By what is open: the path may lead elsewhere by now.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENXIO) => Errno::ENODEV,
            errno => errno.unwrap_or(Errno::EIO),
        })?;
        let _calling = self.calling(ioctl);
        Self::plain(file.as_fd(), ioctl, payload)
    }

    fn plain(fd: BorrowedFd<'_>, ioctl: &'static Ioctl, payload: &mut [u8]) -> Result<(), Errno> {
        if ioctl.attached != Attached::Nothing || ioctl.code == ioctl::S_FBUF {
            return Err(Errno::ENOTTY);
        }
        if payload.len() != ioctl.size {
            return Err(Errno::EINVAL);
        }
        drop_window_pointers(ioctl, payload)?;
        // SAFETY: `payload` has the ioctl's size. The structures with pointers or files in them are
        // `v4l2_buffer`, `v4l2_ext_controls`, `v4l2_edid` and `v4l2_exportbuffer`, refused above;
        // `v4l2_framebuffer`, which G_FBUF writes only; and `v4l2_window`, whose pointers are zero
        // now.
        unsafe { request::call(fd, ioctl, payload.as_mut_ptr()) }?;
        if ioctl.code == ioctl::G_FBUF
            && let Some(base) = payload.get_mut(FRAMEBUFFER_BASE)
        {
            // An address of the host.
            base.fill(0);
        }
        Ok(())
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Sets the pointers in the format of an overlay to zero.
fn drop_window_pointers(ioctl: &Ioctl, payload: &mut [u8]) -> Result<(), Errno> {
    let at = match ioctl.code {
        ioctl::G_FMT | ioctl::S_FMT | ioctl::TRY_FMT => 0,
        ioctl::CREATE_BUFS => offset_of!(CreateBuffers, format),
        _ => return Ok(()),
    };
    let bytes = payload.get_mut(at..).ok_or(Errno::EINVAL)?;
    let (mut format, _) = Format::read_from_prefix(bytes).map_err(|_| Errno::EINVAL)?;
    format.drop_pointers();
    format.write_to_prefix(bytes).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::ioctl::lookup;
    use protocol::wire::v4l2::{
        BUF_TYPE_VIDEO_CAPTURE, BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT_OVERLAY,
        BUF_TYPE_VIDEO_OVERLAY,
    };
    use v4l2r::bindings::v4l2_window;

    #[test]
    fn windows_lose_their_pointers() {
        for (code, at) in [
            (ioctl::S_FMT, 0),
            (ioctl::CREATE_BUFS, offset_of!(CreateBuffers, format)),
        ] {
            let ioctl = lookup(code).unwrap();
            for (buf_type, has_window) in [
                (BUF_TYPE_VIDEO_OVERLAY, true),
                (BUF_TYPE_VIDEO_OUTPUT_OVERLAY, true),
                (BUF_TYPE_VIDEO_CAPTURE, false),
                (BUF_TYPE_VIDEO_CAPTURE_MPLANE, false),
            ] {
                let mut payload = vec![0xa5; ioctl.size];
                payload[at..at + 4].copy_from_slice(&buf_type.to_le_bytes());
                let before = payload.clone();
                drop_window_pointers(ioctl, &mut payload).unwrap();
                if has_window {
                    let fmt = at + offset_of!(Format, fmt);
                    let pointers = fmt + offset_of!(v4l2_window, clips)
                        ..fmt + offset_of!(v4l2_window, global_alpha);
                    assert!(payload[pointers.clone()].iter().all(|byte| *byte == 0));
                    payload[pointers.clone()].copy_from_slice(&before[pointers]);
                }
                assert_eq!(payload, before);
            }
        }
    }

    fn no_node() -> Node {
        Node {
            file: File::open("/dev/null").unwrap(),
            identity: Identity {
                driver: String::new(),
                card: String::new(),
                bus_info: String::new(),
                device_caps: 0,
                kind: protocol::wire::config::DeviceType::Video,
            },
            calls: Arc::default(),
        }
    }

    #[test]
    fn ids_with_bits_of_queries_have_no_payload_to_travel_by() {
        let node = no_node();
        let mut capacity = 100;
        assert!(node.payload(0x0098_0900, 4, &mut capacity).is_ok());
        for bits in [1 << 28, 1 << 30, 1 << 31] {
            let payload = node.payload(0x0098_0900 | bits, 4, &mut capacity);
            assert_eq!(payload.err(), Some(Errno::EINVAL), "{bits:#x}");
        }
    }

    #[test]
    fn calls_with_pointers_are_not_plain() {
        let node = no_node();
        for ioctl in ioctl::TABLE {
            let mut payload = vec![0x41; ioctl.size + 1];
            let result = node.call_bytes(ioctl, &mut payload);
            let plain = ioctl.attached == Attached::Nothing && ioctl.code != ioctl::S_FBUF;
            let expected = if plain { Errno::EINVAL } else { Errno::ENOTTY };
            assert_eq!(result, Err(expected), "{}", ioctl.name);
        }
        // And the kernel is asked: this is no V4L2 node.
        let mut input = 0_u32;
        let ioctl = lookup(ioctl::G_INPUT).unwrap();
        assert_eq!(node.call(ioctl, &mut input), Err(Errno::ENOTTY));
    }
}
