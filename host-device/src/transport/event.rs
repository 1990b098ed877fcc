// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The event queue: buffers that the guest left for events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chain::Writable;
use super::ring::Ring;
use crate::events::{Guest, Outbox, Put};

/// The guest as the outbox knows it.
pub(super) struct EventQueue {
    pub(super) ring: Arc<Ring>,
    /// Stopped, and it is not known yet whether the device was reset or the VM paused: events wait.
    pub(super) undecided: Arc<AtomicBool>,
}

impl Guest for EventQueue {
    /// Sends what the outbox holds for as long as the guest has buffers for it. Runs in any thread.
    fn deliver(&self, outbox: &Outbox) {
        if self.undecided.load(Ordering::Acquire) {
            return;
        }
        let mut unread = Vec::new();
        let mut writable = Writable::default();
        loop {
            let mut starved = false;
            outbox.drain(|bytes| {
                if self.ring.deliver(bytes, &mut unread, &mut writable) {
                    Put::Done
                } else {
                    starved = true;
                    Put::Full
                }
            });
            // Only a starved queue needs a kick. Look again: the guest may have added a buffer before it knew.
            if !starved || !self.ring.ask_for_kick() {
                break;
            }
            self.ring.suppress_kicks();
        }
    }

    fn signal(&self) {
        self.ring.signal();
    }
}
