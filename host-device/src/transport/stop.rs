// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Telling the server to stop, from any thread.

use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

struct Inner {
    set: AtomicBool,
    wake: EventFd,
    /// The connection of the VMM that is being served.
    connection: Mutex<Option<UnixStream>>,
}

/// Tells [`serve`](super::serve) to stop; clones are handles of the same.
#[derive(Clone)]
pub struct Stop(Arc<Inner>);

impl Stop {
    /// Not set.
    ///
    /// # Errors
    ///
    /// The process is out of file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(Arc::new(Inner {
            set: AtomicBool::new(false),
            wake,
            connection: Mutex::default(),
        })))
    }

    /// Stops the server: it disconnects the VMM that it serves, closes its sessions, and returns.
    pub fn set(&self) {
        self.0.set.store(true, Ordering::Release);
        // Cannot fail but for an overflow, and then it is readable as well.
        let _ = self.0.wake.write(1);
        let connection = self.0.connection.lock();
        if let Some(connection) = &*connection.unwrap_or_else(PoisonError::into_inner) {
            // Fails only if the VMM was faster.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    /// Names the connection to cut, or none. Cuts it at once if stop is already set.
    pub(super) fn watch(&self, stream: Option<UnixStream>) {
        let connection = self.0.connection.lock();
        let mut connection = connection.unwrap_or_else(PoisonError::into_inner);
        *connection = stream;
        if self.is_set()
            && let Some(connection) = &*connection
        {
            // Fails only if the VMM was faster.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
