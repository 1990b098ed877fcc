// SPDX-License-Identifier: GPL-2.0

//! The node: what the V4L2 core calls.

use super::caps::direction;
use super::device::MediaDevice;
use super::ioctl;
use super::session::{Session, SessionHandle, SessionNode};
use crate::media::{self, Handle, Node, Request, Vma};
use crate::wire::config::{Config, DeviceType};
use crate::wire::v4l2;
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Capabilities that are not the host's to promise: the driver has no `read(2)` and `write(2)`, by
/// which RDS blocks travel, and the node is no part of a media controller's graph.
const NOT_OURS: u32 = v4l2::CAP_READWRITE
    | v4l2::CAP_RDS_CAPTURE
    | v4l2::CAP_RDS_OUTPUT
    | v4l2::CAP_IO_MC
    | v4l2::CAP_DEVICE_CAPS
    | v4l2::CAP_EXT_PIX_FORMAT;

/// What node the device's configuration asks for.
///
/// # Errors
///
/// `EINVAL`: no kind of node that the kernel has, or no capabilities.
pub(super) fn node(config: &Config) -> Result<Node> {
    let kind = match DeviceType::try_from(config.device_type) {
        Ok(DeviceType::Subdev) | Err(_) => {
            pr_err!(
                "the device says it is a node of type {}\n",
                config.device_type
            );
            return Err(EINVAL);
        }
        Ok(kind) => kind as u32,
    };
    let device_caps = config.device_caps & !NOT_OURS;
    if device_caps == 0 {
        pr_err!("the device has no capabilities\n");
        return Err(EINVAL);
    }
    Ok(Node {
        name: config.card,
        kind,
        direction: direction(device_caps),
        device_caps,
    })
}

impl media::Driver for SessionNode {
    type Data = Arc<MediaDevice>;
    type File = Session;

    fn open(device: &Arc<MediaDevice>) -> Result<impl PinInit<Session, Error>> {
        Session::open(device.memory())
    }

    fn opened(device: &Arc<MediaDevice>, handle: &SessionHandle) -> Result {
        device.sessions().add(handle).inspect_err(|error| {
            if *error == EIO {
                handle
                    .channel()
                    .complain(c_str!("it opened a session twice"));
                // The ID belongs to another session: it is not for this one to close.
                drop(handle.take_close());
            }
        })
    }

    fn release(device: &Arc<MediaDevice>, handle: SessionHandle) {
        device.sessions().remove(&handle);
        if let Some(close) = handle.take_close() {
            let channel = handle.channel().clone();
            channel.close(close, handle);
        }
    }

    fn ioctl(handle: &Handle<Self>, request: Request<'_>) -> Result {
        ioctl::run(handle, request)
    }

    fn log_status(handle: &Handle<Self>) {
        handle.channel().log_stats();
    }

    fn take_event(
        handle: &Handle<Self>,
        nonblocking: bool,
        take: &mut dyn FnMut() -> isize,
    ) -> Result<isize> {
        loop {
            if !nonblocking && !handle.has_events() {
                handle.wait_until(|| handle.has_events())?;
            }
            // Nobody else takes the event that is seen now.
            let _taking = handle.events().pass()?;
            if handle.has_events() {
                return Ok(take());
            }
            if nonblocking {
                return Err(ENOENT);
            }
        }
    }

    fn poll(handle: &Handle<Self>, requested: u32) -> u32 {
        let ready = handle.ready(requested);
        if ready & requested == 0 {
            // The program may wait for a buffer that the device has not been notified of.
            handle.channel().announce();
        }
        ready
    }

    fn mmap(handle: &Handle<Self>, vma: &mut Vma<'_>) -> Result {
        ioctl::map(handle, vma).inspect_err(|error| {
            if *error == EIO {
                handle
                    .channel()
                    .complain(c_str!("it mapped a buffer where it cannot be"));
            }
        })
    }
}
