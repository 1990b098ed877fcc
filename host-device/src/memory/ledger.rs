// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The account of the memory that a VM makes the host spend, with its limit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;

use super::arena::Arena;
use super::budget::Budget;
use super::mapping::PAGE_SIZE;

/// What one VM makes the host spend through all of its devices, and the limits on that: bytes of
/// memory, and mappings. A daemon serves one VM, so it has one account.
#[derive(Debug)]
pub struct Account {
    /// Most bytes.
    limit: usize,
    /// Among how many devices the arenas are shared out.
    devices: usize,
    used: AtomicUsize,
    /// Mappings, which sessions share.
    mappings: Arc<Budget>,
    /// One for each device that a VMM is connected to.
    arenas: Mutex<Vec<Weak<Arena>>>,
}

impl Account {
    /// Nothing spent yet, of at most `limit` bytes, by `devices` devices, and of as many mappings
    /// as the kernel lets the process have.
    pub fn new(limit: usize, devices: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            devices: devices.max(1),
            used: AtomicUsize::new(0),
            mappings: Arc::new(Budget::of_process()),
            arenas: Mutex::default(),
        })
    }

    /// Most bytes for the arena of one device, in whole pages: a guest can fill the arenas whenever
    /// it likes, and all of them together are to be no more than the limit.
    pub fn arena_limit(&self) -> usize {
        self.limit / self.devices / PAGE_SIZE * PAGE_SIZE
    }

    fn arenas(&self) -> MutexGuard<'_, Vec<Weak<Arena>>> {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `arena` from now on, until it is dropped.
    fn add(&self, arena: &Arc<Arena>) {
        let mut arenas = self.arenas();
        arenas.retain(|arena| arena.strong_count() > 0);
        arenas.push(Arc::downgrade(arena));
    }

    /// Bytes that guests have put into arenas where no buffer is.
    fn excess(&self) -> usize {
        let arenas = self.arenas();
        arenas
            .iter()
            .filter_map(Weak::upgrade)
            .fold(0, |sum, arena| sum.saturating_add(arena.excess()))
    }
}

/// What one device of a VM spends, on the account of the VM.
///
/// Whoever spends memory on behalf of a guest charges it here first.
#[derive(Debug)]
pub struct Ledger {
    account: Arc<Account>,
    arena: Option<Arc<Arena>>,
}

impl Ledger {
    /// On an account of its own, of at most `limit` bytes.
    pub fn new(limit: usize, arena: Option<Arc<Arena>>) -> Arc<Self> {
        Self::on(Account::new(limit, 1), arena)
    }

    /// On `account`. MMAP buffers are parts of `arena`, unless that is full.
    pub fn on(account: Arc<Account>, arena: Option<Arc<Arena>>) -> Arc<Self> {
        if let Some(arena) = &arena {
            account.add(arena);
        }
        Arc::new(Self { account, arena })
    }

    /// Where MMAP buffers are.
    pub fn arena(&self) -> Option<&Arc<Arena>> {
        self.arena.as_ref()
    }

    /// The mappings that its sessions share.
    pub(super) fn mappings(&self) -> &Arc<Budget> {
        &self.account.mappings
    }

    /// Bytes that the VM is charged with, and those that it has put into arenas where no buffer is.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        let charged = self.account.used.load(Ordering::Relaxed);
        charged.saturating_add(self.account.excess())
    }

    /// Charges `bytes`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that would exceed the limit.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Result<MemoryCharge, Errno> {
        let limit = self.account.limit.saturating_sub(self.account.excess());
        self.account
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .map_err(|_| Errno::ENOMEM)?;
        Ok(self.part(bytes))
    }

    /// Charges `bytes` that are spent already, whatever the limit is.
    pub fn force(self: &Arc<Self>, bytes: usize) -> MemoryCharge {
        // Wraps around at 2^64 bytes.
        self.account.used.fetch_add(bytes, Ordering::Relaxed);
        self.part(bytes)
    }

    fn part(self: &Arc<Self>, bytes: usize) -> MemoryCharge {
        MemoryCharge {
            ledger: Some(Arc::clone(self)),
            bytes,
        }
    }
}

/// Bytes on a ledger, given back on drop. By default none.
#[derive(Debug, Default)]
pub struct MemoryCharge {
    ledger: Option<Arc<Ledger>>,
    bytes: usize,
}

impl MemoryCharge {
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

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_vm_share_an_account() {
        let account = Account::new(8 * PAGE_SIZE, 2);
        assert_eq!(account.arena_limit(), 4 * PAGE_SIZE);
        let arena = Arena::new(account.arena_limit()).unwrap();
        let first = Ledger::on(Arc::clone(&account), Some(arena));
        let second = Ledger::on(Arc::clone(&account), None);
        let charge = first.charge(6 * PAGE_SIZE).unwrap();
        assert_eq!(second.used(), 6 * PAGE_SIZE);
        assert_eq!(
            second.charge(3 * PAGE_SIZE).unwrap_err(),
            Errno::ENOMEM,
            "the other device has spent it"
        );
        drop(charge);
        drop(first);
        drop(second.charge(8 * PAGE_SIZE).unwrap());
        let third = Ledger::on(account, Arena::new(PAGE_SIZE).ok());
        assert_eq!(
            third.account.arenas().len(),
            1,
            "an arena that is gone is no longer counted"
        );
    }

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
        drop(MemoryCharge::default().split(3));
    }
}
