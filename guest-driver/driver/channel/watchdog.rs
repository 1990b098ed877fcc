// SPDX-License-Identifier: GPL-2.0

//! Noticing that a device is dead when nobody asks it anything.
//!
//! A caller notices that its command is not answered in time. But a program that waits for a buffer
//! or polls has sent its commands long ago, and a VMM need not report that its backend is gone. So
//! if there are sessions and the device has sent nothing for a whole period, the driver sends it an
//! ioctl that it must refuse.
//!
//! In each period the watchdog also handles answers that nobody waits for, and notifies the device
//! of all posted buffers.

use super::queues::Channel;
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
pub(in crate::driver) struct Watchdog {
    #[pin]
    timer: HrTimer<Self>,
    channel: Arc<Channel>,
    period: Delta,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Watchdog {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// As long as it lives the timer runs.
pub(in crate::driver) type Running = ArcHrTimerHandle<Watchdog>;

impl Watchdog {
    /// Starts to watch the device.
    pub(in crate::driver) fn start(channel: &Arc<Channel>) -> Result<Running> {
        let period = match channel.timeout() {
            0 => UNLIMITED,
            timeout => i64::from(timeout),
        };
        let period = Delta::from_millis(period);
        let channel = channel.clone();
        let watchdog = Arc::pin_init(
            pin_init!(Self {
                timer <- HrTimer::new(),
                channel,
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
        this.channel.look_after();
        context.forward_now(this.period);
        HrTimerRestart::Restart
    }
}
