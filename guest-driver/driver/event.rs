// SPDX-License-Identifier: GPL-2.0

//! What the device sends by itself.

use super::session::SessionHandle;
use crate::media::event::EVENT_SIZE;
use crate::wire::event::{EventDqbuf, EventError, EventEvent, EventHeader, DQBUF, ERROR, EVENT};
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// Decodes an event and delivers it to its session, which `find` looks up. Returns whether the device should be told
/// of what it has not been told of.
///
/// Called in interrupts. The bytes are a copy that the device no longer writes to, but come as they are from it.
///
/// # Errors
///
/// `EINVAL` if it is no event, or none that the session can have.
pub(super) fn deliver(
    bytes: &[u8],
    find: impl Fn(u32, &dyn Fn(&SessionHandle) -> Result<bool>) -> Result<bool>,
) -> Result<bool> {
    let header = read::<EventHeader>(bytes)?;
    match header.event {
        DQBUF => {
            let event = read::<EventDqbuf>(bytes)?;
            find(header.session_id, &|session| {
                session.dequeue(&event.buffer, &event.planes)
            })
        }
        EVENT => {
            let event = read::<EventEvent>(bytes)?;
            find(header.session_id, &|session| {
                let bytes: &[u8; EVENT_SIZE] =
                    event.event.as_bytes().try_into().map_err(|_| EINVAL)?;
                session.event(bytes);
                Ok(false)
            })
        }
        ERROR => {
            let event = read::<EventError>(bytes)?;
            find(header.session_id, &|session| {
                session.lose(event.errno);
                Ok(false)
            })
        }
        _ => Err(EINVAL),
    }
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<T> {
    T::read_from_prefix(bytes)
        .map(|(value, _)| value)
        .map_err(|_| EINVAL)
}
