// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A fair mutex: a thread that waits gets it before the one that had it last.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex whose waiters get it before the thread that has just released it gets it again.
///
/// With a plain `Mutex` a thread that takes it again and again, as the ring thread does for as long
/// as the guest has work for it, can keep others waiting without bound: the lock is free for an
/// instant only, and whoever is woken for that comes too late.
#[derive(Debug, Default)]
pub(crate) struct FairMutex<T> {
    /// Held while a thread waits for `value`, so that others queue behind it.
    line: Mutex<()>,
    value: Mutex<T>,
}

impl<T> FairMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            line: Mutex::new(()),
            value: Mutex::new(value),
        }
    }

    /// Waits for the lock. A panic of who had it before changes nothing: users keep their values
    /// whole at each step.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let _line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_comes_before_who_had_it() {
        let mutex = FairMutex::new(Vec::new());
        std::thread::scope(|scope| {
            let had = mutex.lock();
            scope.spawn(|| mutex.lock().push("waits"));
            // Until the other stands in line.
            while mutex.line.try_lock().is_ok() {
                std::thread::yield_now();
            }
            drop(had);
            mutex.lock().push("had");
        });
        assert_eq!(*mutex.lock(), ["waits", "had"]);
    }
}
