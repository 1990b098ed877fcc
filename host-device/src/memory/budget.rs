// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Mappings that the kernel lets this process have, shared between the sessions.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::errno::Errno;

/// What the kernel allows unless it says otherwise (`vm.max_map_count`).
const USUAL: usize = 65530;
/// What is left for libraries, stacks, heaps, guest memory, and GStreamer: at least this.
const RESERVE: usize = 4096;

/// Mappings in use by all sessions.
static USED: Mutex<usize> = Mutex::new(0);

fn used() -> MutexGuard<'static, usize> {
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most mappings for all sessions together.
fn total() -> usize {
    static TOTAL: OnceLock<usize> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(USUAL);
        allowed.saturating_sub(RESERVE.max(allowed / 8))
    })
}

/// One session's part of the budget: it may have as many mappings as it leaves to others.
#[derive(Debug, Default)]
pub(super) struct Share(Mutex<usize>);

impl Share {
    /// Mappings in use by this session.
    fn own(&self) -> MutexGuard<'_, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mappings that a view may have, given back on drop.
#[derive(Debug)]
pub(super) struct Charge {
    share: Arc<Share>,
    count: usize,
}

impl Charge {
    /// A charge of `count` mappings. `ENOMEM` if that is more than the session's fair share of what others leave.
    pub(super) fn new(share: &Arc<Share>, count: usize) -> Result<Self, Errno> {
        let mut used = used();
        let mut own = share.own();
        let left = total().saturating_sub(*used);
        let after = own.saturating_add(count);
        // What is left for the others is to be no less than what this one has.
        if after > left.saturating_sub(count) {
            return Err(Errno::ENOMEM);
        }
        *used += count;
        *own = after;
        Ok(Self {
            share: Arc::clone(share),
            count,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        *used() -= self.count;
        *self.share.own() -= self.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_leaves_as_much_as_it_takes() {
        let [first, second] = [(); 2].map(|()| Arc::new(Share::default()));
        assert!(Charge::new(&first, total()).is_err());
        // Other tests of this process use a few.
        let half = Charge::new(&first, total() / 2 - 1000).unwrap();
        assert!(Charge::new(&first, 1100).is_err());
        let quarter = Charge::new(&second, total() / 4 - 1000).unwrap();
        assert!(Charge::new(&second, 2000).is_err());
        assert!(Charge::new(&second, usize::MAX).is_err());
        drop(half);
        assert_eq!(*first.own(), 0);
        drop(Charge::new(&second, 2000).unwrap());
        drop(quarter);
        assert_eq!(*second.own(), 0);
    }
}
