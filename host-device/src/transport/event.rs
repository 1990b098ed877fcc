// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The event queue: buffers that the guest left for events.

use super::chain::Writable;
use super::ring::Ring;
use crate::events::{Outbox, Put};

/// Sends what the outbox holds for as long as the guest has buffers for it. Runs in any thread.
pub(super) fn flush(outbox: &Outbox, ring: &Ring) {
    let mut unread = Vec::new();
    let mut writable = Writable::default();
    loop {
        let mut starved = false;
        outbox.drain(|bytes| {
            if ring.deliver(bytes, &mut unread, &mut writable) {
                Put::Done
            } else {
                starved = true;
                Put::Full
            }
        });
        // Only a starved queue needs a kick. Look again: the guest may have added a buffer before it knew.
        if !starved || !ring.ask_for_kick() {
            break;
        }
        ring.suppress_kicks();
    }
    ring.signal();
}
