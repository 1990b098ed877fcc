// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A cache of recently imported memory, so that memory which is queued again is not mapped again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use protocol::wire::sg::{SgEntry, Uuid};

use super::ledger::MemoryCharge;
use super::plane::PlaneMemory;

/// What a client names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Pages(Vec<SgEntry>),
    Object(Uuid),
}

/// A plane of a buffer: index and number.
pub(super) type Place = (u32, usize);

#[derive(Debug)]
pub(super) struct Cached {
    /// The plane that it was last queued with.
    pub(super) place: Place,
    pub(super) name: Arc<Name>,
    pub(super) memory: PlaneMemory,
    /// It has the pages that were there when it was made.
    pub(super) pins: bool,
    /// What the name takes.
    pub(super) charge: Arc<MemoryCharge>,
}

/// Memory by what was queued, the last used first.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<VecDeque<Cached>>);

impl Cache {
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Cached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those of which `gone` says so. Mappings go without the lock: that may take long.
    pub(super) fn forget(&self, gone: impl Fn(&Cached) -> bool) {
        drop(forget(&mut self.lock(), gone));
    }
}

/// Takes those out of which `gone` says so.
fn forget(cached: &mut VecDeque<Cached>, gone: impl Fn(&Cached) -> bool) -> Vec<Cached> {
    let mut old = Vec::new();
    for at in (0..cached.len()).rev() {
        if cached.get(at).is_some_and(&gone) {
            old.extend(cached.remove(at));
        }
    }
    old
}

/// All caches of a VM.
#[derive(Debug, Default)]
pub(super) struct Caches(Mutex<Vec<Weak<Cache>>>);

impl Caches {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Cache>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self) -> Arc<Cache> {
        let cache = Arc::new(Cache::default());
        let mut caches = self.lock();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(&cache));
        cache
    }

    /// Forgets all pages: the guest's memory has changed.
    pub(super) fn forget_pages(&self) {
        let caches = self.lock().clone();
        for cache in caches.iter().filter_map(Weak::upgrade) {
            cache.forget(|cached| matches!(*cached.name, Name::Pages(_)));
        }
    }
}

/// Takes out what a plane pins, but for what is called `name`: the guest keeps that no longer.
pub(super) fn forget_pinned(
    cached: &mut VecDeque<Cached>,
    place: Place,
    name: &Name,
) -> Vec<Cached> {
    forget(cached, |cached| {
        cached.pins && cached.place == place && *cached.name != *name
    })
}

/// The memory that was imported under `name`. It is now that plane's, and the last used. What that
/// plane pinned before goes to `old`.
pub(super) fn find(
    cached: &mut VecDeque<Cached>,
    place: Place,
    name: &Name,
    old: &mut Vec<Cached>,
) -> Option<PlaneMemory> {
    // Its own first: that is where it is in a steady stream.
    let at = cached
        .iter()
        .position(|cached| cached.place == place && *cached.name == *name)
        .or_else(|| cached.iter().position(|cached| *cached.name == *name))?;
    let found = cached.get(at)?;
    let memory = found.memory.clone();
    if found.place == place {
        let found = cached.remove(at)?;
        cached.push_front(found);
        return Some(memory);
    }
    let mine = if found.pins {
        // The other plane keeps it, too.
        Cached {
            place,
            name: Arc::clone(&found.name),
            memory: memory.clone(),
            pins: true,
            charge: Arc::clone(&found.charge),
        }
    } else {
        let mut found = cached.remove(at)?;
        found.place = place;
        found
    };
    old.extend(forget_pinned(cached, place, name));
    cached.push_front(mine);
    Some(memory)
}

/// Remembers `new`, and no more than `capacity` that pin nothing. What is not remembered any more
/// is in `old`.
pub(super) fn remember(
    cached: &mut VecDeque<Cached>,
    new: Cached,
    capacity: usize,
    old: &mut Vec<Cached>,
) {
    let mut left = capacity.saturating_sub(1);
    let mut at = 0;
    while !new.pins && at < cached.len() {
        match cached.get(at) {
            Some(cached) if cached.pins => at += 1,
            _ if left > 0 => {
                left -= 1;
                at += 1;
            }
            _ => old.extend(cached.remove(at)),
        }
    }
    cached.push_front(new);
}
