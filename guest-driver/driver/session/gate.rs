// SPDX-License-Identifier: GPL-2.0

//! A lock that lets one task through at a time, and may be waited for with signals.

use kernel::prelude::*;
use kernel::sync::{new_condvar, new_mutex, CondVar, Mutex};

/// Lets one task at a time through, and may be waited for with signals.
#[pin_data]
pub(in crate::driver) struct Gate {
    #[pin]
    taken: Mutex<bool>,
    #[pin]
    free: CondVar,
}

/// Nobody else passes the [`Gate`] until this is dropped.
pub(in crate::driver) struct Passing<'a>(&'a Gate);

impl Gate {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            taken <- new_mutex!(false),
            free <- new_condvar!(),
        })
    }

    /// # Errors
    ///
    /// `ERESTARTSYS`: there is a signal.
    pub(in crate::driver) fn pass(&self) -> Result<Passing<'_>> {
        let mut taken = self.taken.lock();
        while *taken {
            if self.free.wait_interruptible(&mut taken) {
                // The wake-up may have been for this task alone.
                self.free.notify_one();
                return Err(ERESTARTSYS);
            }
        }
        *taken = true;
        Ok(Passing(self))
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.free.notify_one();
    }
}
