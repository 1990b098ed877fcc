// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Mappings that the kernel lets this process have, shared between the sessions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

/// What the kernel allows unless it says otherwise (`vm.max_map_count`).
const USUAL: usize = 65530;
/// What is left for libraries, stacks, heaps, guest memory, and GStreamer: at least this.
const RESERVE: usize = 4096;

/// Mappings that the kernel lets this process have. All VMs share it.
#[derive(Debug)]
pub(super) struct Budget {
    /// Most mappings of all sessions together.
    total: usize,
    /// Mappings in use by all sessions.
    used: Mutex<usize>,
}

impl Budget {
    /// What the kernel allows, less a reserve for what else the process maps.
    pub(super) fn of_process() -> Self {
        let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(USUAL);
        Self::new(allowed.saturating_sub(RESERVE.max(allowed / 8)))
    }

    fn new(total: usize) -> Self {
        Self {
            total,
            used: Mutex::new(0),
        }
    }

    fn used(&self) -> MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's part of the budget. It may have as many mappings as it leaves to others.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    /// Mappings in use by the session.
    own: Mutex<usize>,
}

impl Share {
    pub(super) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            own: Mutex::new(0),
        })
    }

    /// Mappings in use by this session.
    fn own(&self) -> MutexGuard<'_, usize> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mappings that a view may have, given back on drop.
#[derive(Debug)]
pub(super) struct MappingCharge {
    share: Arc<Share>,
    count: usize,
}

impl MappingCharge {
    /// A charge of `count` mappings. `ENOMEM` if that is more than the session's fair share of what
    /// others leave.
    pub(super) fn new(share: &Arc<Share>, count: usize) -> Result<Self, Errno> {
        let mut used = share.budget.used();
        let mut own = share.own();
        let left = share.budget.total.saturating_sub(*used);
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

impl Drop for MappingCharge {
    fn drop(&mut self) {
        *self.share.budget.used() -= self.count;
        *self.share.own() -= self.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_leaves_as_much_as_it_takes() {
        let budget = Arc::new(Budget::new(4000));
        let [first, second] = [(); 2].map(|()| Share::new(&budget));
        assert!(MappingCharge::new(&first, 4000).is_err());
        let half = MappingCharge::new(&first, 2000).unwrap();
        assert!(MappingCharge::new(&first, 1).is_err());
        let quarter = MappingCharge::new(&second, 1000).unwrap();
        assert!(MappingCharge::new(&second, 1).is_err());
        assert!(MappingCharge::new(&second, usize::MAX).is_err());
        drop(half);
        assert_eq!(*first.own(), 0);
        drop(MappingCharge::new(&second, 1000).unwrap());
        drop(quarter);
        assert_eq!((*second.own(), *budget.used()), (0, 0));
    }
}
