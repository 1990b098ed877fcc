// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How many sessions of a device are open.

use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use super::Result;

/// Number of sessions that are open, given back on drop.
#[derive(Debug)]
pub struct Open(Arc<Mutex<usize>>);

impl Open {
    /// Counts one more, up to `max`.
    ///
    /// # Errors
    ///
    /// `EMFILE` when there are that many.
    pub fn new(count: &Arc<Mutex<usize>>, max: usize) -> Result<Self> {
        let mut open = count.lock().unwrap_or_else(PoisonError::into_inner);
        if *open >= max {
            tracing::warn!("{max} sessions are open: no more (option sessions=N)");
            return Err(Errno::EMFILE);
        }
        *open += 1;
        Ok(Self(Arc::clone(count)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
