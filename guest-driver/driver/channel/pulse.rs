// SPDX-License-Identifier: GPL-2.0

//! Whether the device has said anything lately.

use super::message::ping_request;
use super::pending::CommandRequest;
use crate::virtio::sync::{new_irq_lock, IrqLock};
use kernel::prelude::*;

/// What is known since the last look.
#[pin_data]
pub(super) struct Pulse {
    #[pin]
    state: IrqLock<State>,
}

struct State {
    /// The device has said something.
    heard: bool,
    /// How often.
    beats: u64,
    /// The question; not here while the device has it.
    ping: Option<CommandRequest>,
    /// The device had the question when this period began.
    asked: bool,
}

/// What is to be done about a device.
pub(super) enum Verdict {
    /// Nothing: it lives, or has been asked and may still answer.
    Wait,
    /// Ask.
    Ask(CommandRequest),
    /// It had a whole period to answer.
    Dead,
}

impl Pulse {
    pub(super) fn new() -> Result<impl PinInit<Self>> {
        let ping = Some(ping_request()?);
        Ok(pin_init!(Self {
            state <- new_irq_lock!(
                State { heard: true, beats: 0, ping, asked: false },
                "virtio_v4l2_pulse"
            ),
        }))
    }

    /// The device has been reset: `ping` is for the question that it may have had.
    pub(super) fn restart(&self, ping: CommandRequest) {
        let mut state = self.state.lock();
        let old = state.ping.replace(ping);
        state.heard = true;
        state.asked = false;
        drop(state);
        drop(old);
    }

    /// The device has said something.
    pub(super) fn hear(&self) {
        let mut state = self.state.lock();
        state.heard = true;
        state.beats += 1;
    }

    /// How often the device has said something.
    pub(super) fn beats(&self) -> u64 {
        self.state.lock().beats
    }

    /// The question, unless the device has it.
    pub(super) fn take_ping(&self) -> Option<CommandRequest> {
        self.state.lock().ping.take()
    }

    /// The question has been answered.
    pub(super) fn answered(&self, ping: CommandRequest) {
        self.state.lock().ping = Some(ping);
    }

    /// A period is over.
    pub(super) fn judge(&self) -> Verdict {
        let mut state = self.state.lock();
        let asked = core::mem::replace(&mut state.asked, true);
        if core::mem::replace(&mut state.heard, false) {
            state.asked = state.ping.is_none();
            return Verdict::Wait;
        }
        match state.ping.take() {
            Some(ping) => Verdict::Ask(ping),
            None if asked => Verdict::Dead,
            None => Verdict::Wait,
        }
    }
}
