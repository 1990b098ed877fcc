// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The views that a queue has used of late, so that a buffer which comes again is not mapped again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use protocol::wire::sg::SgEntry;

use super::view::{Access, View};
use super::vm::Vm;

#[derive(Debug)]
struct Cached {
    /// The buffer that it was last queued with.
    index: u32,
    entries: Vec<SgEntry>,
    view: Arc<View>,
}

/// Views by what was queued, the last used first.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<VecDeque<Cached>>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Cached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All caches of a VM.
#[derive(Debug, Default)]
pub(super) struct Caches(Mutex<Vec<Weak<Cache>>>);

impl Caches {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Cache>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) -> Arc<Cache> {
        let cache = Arc::new(Cache::default());
        let mut caches = self.lock();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(&cache));
        cache
    }

    /// Forgets all views: the guest's memory has changed.
    pub(super) fn clear(&self) {
        let caches = self.lock().clone();
        for cache in caches.iter().filter_map(Weak::upgrade) {
            let views = std::mem::take(&mut *cache.lock());
            drop(views);
        }
    }
}

/// Lent memory of one queue.
#[derive(Debug)]
pub struct Views {
    vm: Vm,
    access: Access,
    cache: Arc<Cache>,
}

impl Views {
    /// No views yet, of memory of `vm`.
    pub fn new(vm: &Vm, access: Access) -> Self {
        Self {
            vm: vm.clone(),
            access,
            cache: vm.caches().add(),
        }
    }

    /// The view of what `entries` name, for buffer `index`. It is made unless it is one of the last `room` that were
    /// used.
    ///
    /// # Errors
    ///
    /// As [`Vm::view`].
    pub fn get(&self, index: u32, entries: Vec<SgEntry>, room: usize) -> Result<Arc<View>, Errno> {
        // Held while a view is made: when memory changes meanwhile, it is forgotten after that.
        let mut cached = self.cache.lock();
        let known = cached.iter().position(|cached| cached.entries == entries);
        let mut found = match known.and_then(|at| cached.remove(at)) {
            Some(found) => found,
            None => {
                let view = match self.vm.view(&entries, self.access) {
                    Err(Errno::ENOMEM) if !cached.is_empty() => {
                        cached.clear();
                        self.vm.view(&entries, self.access)
                    }
                    view => view,
                }?;
                Cached {
                    index,
                    entries,
                    view,
                }
            }
        };
        found.index = index;
        let view = Arc::clone(&found.view);
        cached.truncate(room.saturating_sub(1));
        cached.push_front(found);
        Ok(view)
    }

    /// Forgets the views that buffers of these indices were last queued with.
    pub fn forget(&self, indices: Range<u32>) {
        self.cache
            .lock()
            .retain(|cached| !indices.contains(&cached.index));
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.cache.lock().clear();
    }
}
