// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The event queue: buffers that the guest provides for events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::EventFd;

use super::chain::Writable;
use super::ring::Ring;
use super::turn::Turn;
use crate::events::{Guest, Outbox, Put};

/// The guest as the outbox knows it.
pub(super) struct EventQueue {
    pub(super) ring: Arc<Ring>,
    /// Stopped, and it is not known yet whether the device was reset or the VM paused: events wait.
    pub(super) undecided: Arc<AtomicBool>,
    /// Makes the ring thread go on where a turn has ended.
    pub(super) more: Arc<EventFd>,
}

impl Guest for EventQueue {
    /// Sends what the outbox holds for as long as the guest has buffers for it, or the turn lasts.
    /// Runs in any thread.
    fn deliver(&self, outbox: &Outbox) {
        if self.undecided.load(Ordering::Acquire) {
            return;
        }
        let mut writable = Writable::default();
        let mut turn = Turn::new();
        loop {
            let mut starved = false;
            outbox.drain(|bytes| {
                if self.ring.deliver(bytes, &mut writable, &mut turn) {
                    Put::Done
                } else {
                    starved = true;
                    Put::Full
                }
            });
            if starved && turn.is_over() {
                // Fails only when it is readable anyway.
                let _ = self.more.write(1);
                break;
            }
            // Only a starved queue needs a kick. Look again: the guest may have added a buffer
            // before it knew.
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
