// SPDX-License-Identifier: GPL-2.0

//! Noticing that a device is dead when nobody asks it anything.
//!
//! A command that is not answered in time is noticed by whoever sent it. But a program that waits for a buffer or
//! polls has sent its commands long ago, and a VMM need not tell when its backend is gone. So while there are
//! sessions and the device says nothing for a whole period, it is sent an ioctl that it must refuse.
//!
//! In each period it also looks at answers that nobody waits for, and tells the device of all that it should know.

use super::command::{ping_request, CommandRequest};
use super::device::MediaDevice;
use crate::virtio::sync::{new_irq_lock, IrqLock};
use kernel::impl_has_hr_timer;
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::time::hrtimer::{
    ArcHrTimerHandle, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer,
    HrTimerRestart, RelativeMode,
};
use kernel::time::{Delta, Monotonic};

/// The period if commands may take for ever, in milliseconds.
const UNLIMITED: i64 = 1000;

/// The timer of a device.
#[pin_data]
pub(super) struct Watchdog {
    #[pin]
    timer: HrTimer<Self>,
    device: Arc<MediaDevice>,
    period: Delta,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Watchdog {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// As long as it lives the timer runs.
pub(super) type Running = ArcHrTimerHandle<Watchdog>;

impl Watchdog {
    /// Starts to watch the device.
    pub(super) fn start(device: &Arc<MediaDevice>) -> Result<Running> {
        let period = match device.timeout() {
            0 => UNLIMITED,
            timeout => i64::from(timeout),
        };
        let period = Delta::from_millis(period);
        let device = device.clone();
        let watchdog = Arc::pin_init(
            pin_init!(Self {
                timer <- HrTimer::new(),
                device,
                period,
            }),
            GFP_KERNEL,
        )?;
        Ok(watchdog.start(period))
    }
}

impl HrTimerCallback for Watchdog {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        this.device.look_after();
        context.forward_now(this.period);
        HrTimerRestart::Restart
    }
}

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
            state <- new_irq_lock!(State { heard: true, beats: 0, ping, asked: false }, "virtio_v4l2_pulse"),
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
