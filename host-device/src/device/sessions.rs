// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The limit on open sessions of one device.

use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use super::api::Result;

/// A session that counts as open; dropped, it no longer does.
#[derive(Debug)]
pub(crate) struct OpenSession(Arc<Mutex<usize>>);

impl OpenSession {
    /// Counts one more in `count`, which all sessions of the device share.
    ///
    /// # Errors
    ///
    /// `EMFILE` when `max` sessions are open.
    pub(crate) fn new(count: &Arc<Mutex<usize>>, max: usize) -> Result<Self> {
        let mut open = count.lock().unwrap_or_else(PoisonError::into_inner);
        if *open >= max {
            tracing::warn!("{max} sessions are open: no more (option sessions=N)");
            return Err(Errno::EMFILE);
        }
        *open += 1;
        Ok(Self(Arc::clone(count)))
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
