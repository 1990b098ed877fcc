// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The limit on sessions of one VMM.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use crate::device::api::Result;

/// Counts a session for as long as it holds resources: while it is open, and after CLOSE until it
/// has been torn down.
#[derive(Debug)]
pub(super) struct SessionPermit(Arc<AtomicUsize>);

impl SessionPermit {
    /// Counts one more session in `count`. `EMFILE` if there are `limit` already.
    pub(super) fn new(count: &Arc<AtomicUsize>, limit: usize) -> Result<Self> {
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
                (open < limit).then_some(open + 1)
            })
            .map(|_| Self(Arc::clone(count)))
            .map_err(|_| Errno::EMFILE)
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
