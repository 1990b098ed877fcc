// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a VM may make the host spend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use super::arena::Arena;

/// The memory that one VM makes the host spend, in bytes, and the most that it may become.
///
/// Whoever spends memory on behalf of a guest charges it here first.
#[derive(Debug)]
pub struct Ledger {
    limit: usize,
    used: AtomicUsize,
    arena: Option<Arc<Arena>>,
}

impl Ledger {
    /// Nothing spent yet, of at most `limit` bytes. MMAP buffers are parts of `arena`, for as long as there is room.
    pub fn new(limit: usize, arena: Option<Arc<Arena>>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            arena,
        })
    }

    /// Where MMAP buffers are.
    pub fn arena(&self) -> Option<&Arc<Arena>> {
        self.arena.as_ref()
    }

    /// Bytes that are charged, and those that the guest has put into the arena where no buffer is.
    pub fn used(&self) -> usize {
        let excess = self.arena.as_ref().map_or(0, |arena| arena.excess());
        self.used.load(Ordering::Relaxed).saturating_add(excess)
    }

    /// Charges `bytes`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that would exceed the limit.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge, Errno> {
        let limit = match &self.arena {
            Some(arena) => self.limit.saturating_sub(arena.excess()),
            None => self.limit,
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .map_err(|_| Errno::ENOMEM)?;
        Ok(self.part(bytes))
    }

    /// Charges `bytes` that are spent already, whatever the limit is.
    pub fn force(self: &Arc<Self>, bytes: usize) -> Charge {
        // Wraps around at 2^64 bytes.
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.part(bytes)
    }

    fn part(self: &Arc<Self>, bytes: usize) -> Charge {
        Charge {
            ledger: Some(Arc::clone(self)),
            bytes,
        }
    }
}

/// Bytes on a ledger, given back on drop. By default none.
#[derive(Debug, Default)]
pub struct Charge {
    ledger: Option<Arc<Ledger>>,
    bytes: usize,
}

impl Charge {
    /// How large it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes` out of it, or what there is.
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            ledger: self.ledger.clone(),
            bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let ledger = Ledger::new(100, None);
        let mut whole = ledger.charge(10).unwrap();
        let part = whole.split(7);
        let rest = whole.split(7);
        assert_eq!((whole.bytes(), part.bytes(), rest.bytes()), (0, 7, 3));
        assert_eq!(ledger.used(), 10);
        assert_eq!(ledger.charge(usize::MAX).unwrap_err(), Errno::ENOMEM);
        assert_eq!(ledger.charge(91).unwrap_err(), Errno::ENOMEM);
        let forced = ledger.force(1000);
        assert_eq!(ledger.charge(1).unwrap_err(), Errno::ENOMEM);
        drop((whole, part, rest, forced));
        assert_eq!(ledger.used(), 0);
        drop(ledger.charge(100).unwrap());
        drop(Charge::default().split(3));
    }
}
