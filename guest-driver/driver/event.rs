// SPDX-License-Identifier: GPL-2.0

//! What the device sends by itself.

use super::session::SessionHandle;
use crate::media::event::EVENT_SIZE;
use crate::virtio::Completed;
use crate::wire::event::{EventDqbuf, EventError, EventEvent, EventHeader, DQBUF, ERROR, EVENT};
use kernel::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

/// Finds a session and calls something with it.
type Find<'a> = &'a dyn Fn(u32, &dyn Fn(&SessionHandle) -> Result<bool>) -> Result<bool>;

/// Decodes an event and delivers it to its session, which `find` looks up. Returns whether the
/// device should be notified of what it has not been notified of.
///
/// Called in interrupts.
///
/// # Errors
///
/// `EINVAL` or `EIO` if it is no event, or none that the session can have.
pub(super) fn deliver(buffer: &Completed<()>, find: Find<'_>) -> Result<bool> {
    let header = buffer.read::<EventHeader>()?;
    match header.event {
        DQBUF => dqbuf(buffer, header.session_id, find),
        EVENT => event(buffer, header.session_id, find),
        ERROR => {
            let error = buffer.read::<EventError>()?;
            find(header.session_id, &|session| {
                session.lose(error.errno);
                Ok(false)
            })
        }
        _ => Err(EINVAL),
    }
}

// Not inlined: only one of them is to be on the stack.

#[inline(never)]
fn dqbuf(buffer: &Completed<()>, session: u32, find: Find<'_>) -> Result<bool> {
    let mut event = EventDqbuf::new_zeroed();
    buffer.fill(&mut event)?;
    find(session, &|session| {
        session.dequeue(&event.buffer, &event.planes)
    })
}

#[inline(never)]
fn event(buffer: &Completed<()>, session: u32, find: Find<'_>) -> Result<bool> {
    let mut event = EventEvent::new_zeroed();
    buffer.fill(&mut event)?;
    let bytes: &[u8; EVENT_SIZE] = event.event.as_bytes().try_into().map_err(|_| EINVAL)?;
    find(session, &|session| {
        session.event(bytes);
        Ok(false)
    })
}
