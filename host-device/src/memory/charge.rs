// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The limit on what guests can make the host allocate.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

/// Memory of all buffers that live, in bytes, and the most it may become.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(4 << 30);

/// Sets the limit on the memory of all MMAP buffers of the process together, in bytes.
pub fn set_limit(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// A share of the limit, given back on drop.
#[derive(Debug)]
pub struct Charge(usize);

impl Charge {
    /// A share of `bytes`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that would exceed the limit.
    pub fn new(bytes: usize) -> Result<Self, Errno> {
        let limit = LIMIT.load(Ordering::Relaxed);
        IN_USE
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .map(|_| Self(bytes))
            .map_err(|_| Errno::ENOMEM)
    }

    /// A share of `bytes` that are taken already, whatever the limit is.
    pub fn forced(bytes: usize) -> Self {
        // Wraps around at 2^64 bytes.
        IN_USE.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes)
    }

    /// How large it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.0
    }

    /// Takes `bytes` out of it, or what there is.
    pub fn split(&mut self, bytes: usize) -> Self {
        let part = bytes.min(self.0);
        self.0 -= part;
        Self(part)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        IN_USE.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut whole = Charge::new(10).unwrap();
        let part = whole.split(7);
        let rest = whole.split(7);
        assert_eq!((whole.bytes(), part.bytes(), rest.bytes()), (0, 7, 3));
        assert!(Charge::new(usize::MAX).is_err());
    }
}
