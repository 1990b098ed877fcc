// SPDX-License-Identifier: GPL-2.0

//! Ioctls: one row each. Most are forwarded as they are.

mod args;
mod buffers;
mod controls;
mod events;
mod expbuf;
mod forward;
mod info;
mod mmap;
mod qbuf;
mod reqbufs;
mod stream;

pub(super) use mmap::map;

use crate::driver::session::{Session, SessionNode};
use crate::media::ioctl::number;
use crate::media::{Handle, Request};
use crate::wire::v4l2::CAP_HW_FREQ_SEEK;
use forward::forward;
use kernel::prelude::*;

/// Runs an ioctl.
///
/// # Errors
///
/// The device's; `ENOTTY` for those that it does not have; as [`Session::check`] and as any
/// command.
pub(super) fn run(handle: &Handle<SessionNode>, mut request: Request<'_>) -> Result {
    let session: &Session = handle;
    match request.number {
        number::QUERYCAP => {
            session.check_alive()?;
            return info::querycap(session, &mut request);
        }
        number::DQBUF => return buffers::dqbuf(session, &mut request),
        _ => session.check()?,
    }
    match request.number {
        number::REQBUFS => reqbufs::reqbufs(handle, &mut request),
        number::CREATE_BUFS => reqbufs::create_bufs(session, &mut request),
        number::REMOVE_BUFS => buffers::remove_bufs(session, &mut request),
        number::QUERYBUF => buffers::querybuf(session, &mut request),
        number::PREPARE_BUF => buffers::prepare_buf(session, &mut request),
        number::QBUF => qbuf::qbuf(handle, &mut request),
        number::EXPBUF => expbuf::expbuf(session, &mut request),
        number::STREAMON => stream::streamon(session, &mut request),
        number::STREAMOFF => stream::streamoff(handle, &mut request),
        number::ENCODER_CMD | number::DECODER_CMD => stream::codec_cmd(handle, &mut request),
        number::SUBSCRIBE_EVENT => events::subscribe(handle, &mut request),
        number::UNSUBSCRIBE_EVENT => events::unsubscribe(handle, &mut request),
        number::G_EXT_CTRLS | number::S_EXT_CTRLS | number::TRY_EXT_CTRLS => {
            controls::run(session, &mut request)
        }
        number::ENUM_FMT => info::enum_fmt(session, &mut request),
        number::G_TUNER | number::G_MODULATOR | number::ENUM_FREQ_BANDS => {
            forward(session, &mut request)?;
            info::without_rds(&mut request)
        }
        number::G_PARM | number::S_PARM => {
            forward(session, &mut request)?;
            info::without_read(&mut request)
        }
        // A seek waits for what it finds.
        number::S_HW_FREQ_SEEK if request.nonblocking && can_seek(session) => Err(EAGAIN),
        _ => forward(session, &mut request),
    }
}

fn can_seek(session: &Session) -> bool {
    session.channel().config().device_caps & CAP_HW_FREQ_SEEK != 0
}
