// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a queue was lent of late, so that memory which comes again is not mapped again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use protocol::wire::sg::{SgEntry, Uuid};

use super::import::Import;
use super::object::Object;
use super::plane::PlaneMemory;
use super::view::{Access, Form};
use super::vm::Vm;

/// What a client names.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Pages(Vec<SgEntry>),
    Object(Uuid),
}

#[derive(Debug)]
struct Cached {
    /// The buffer that it was last queued with.
    index: u32,
    name: Name,
    memory: PlaneMemory,
}

/// Memory by what was queued, the last used first.
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

    /// Forgets all pages: the guest's memory has changed.
    pub(super) fn forget_pages(&self) {
        let caches = self.lock().clone();
        for cache in caches.iter().filter_map(Weak::upgrade) {
            cache
                .lock()
                .retain(|cached| matches!(cached.name, Name::Object(_)));
        }
    }
}

/// Memory that clients lend to one queue.
#[derive(Debug)]
pub struct Lending {
    vm: Vm,
    access: Access,
    form: Form,
    cache: Arc<Cache>,
}

impl Lending {
    /// Nothing lent yet, of memory of `vm`. Pages are to have that form.
    pub fn new(vm: &Vm, access: Access, form: Form) -> Self {
        Self {
            vm: vm.clone(),
            access,
            form,
            cache: vm.caches().add(),
        }
    }

    /// What the queue does with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The pages that `entries` name, in one run, for buffer `index`. They are mapped unless they are among the last `room`
    /// that were lent.
    ///
    /// # Errors
    ///
    /// As [`Vm::view`].
    pub fn pages(
        &self,
        index: u32,
        entries: Vec<SgEntry>,
        room: usize,
    ) -> Result<PlaneMemory, Errno> {
        let name = Name::Pages(entries);
        // Held while a view is made: when the guest's memory changes meanwhile, it is forgotten after that.
        let mut cached = self.cache.lock();
        if let Some(memory) = find(&mut cached, index, &name) {
            return Ok(memory);
        }
        let Name::Pages(entries) = &name else {
            return Err(Errno::EINVAL);
        };
        let view = match self.vm.view(entries, self.access, self.form) {
            Err(Errno::ENOMEM) if !cached.is_empty() => {
                cached.clear();
                self.vm.view(entries, self.access, self.form)
            }
            view => view,
        }?;
        let memory = PlaneMemory::View(view);
        keep(&mut cached, room, index, name, &memory);
        Ok(memory)
    }

    /// The object `uuid`, of at least `least` bytes, for buffer `index`. One that is not ours is looked up and mapped
    /// unless it is among the last `room` that were lent.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such object, it is too small, or cannot be mapped.
    pub fn object(
        &self,
        index: u32,
        uuid: Uuid,
        least: u32,
        room: usize,
    ) -> Result<PlaneMemory, Errno> {
        let name = Name::Object(uuid);
        let known = find(&mut self.cache.lock(), index, &name);
        let memory = match known {
            Some(memory) => memory,
            // Nothing is held while the VMM is asked: it may be waiting for an answer of ours.
            None => match self.vm.object(uuid)? {
                Object::Own(buffer) => PlaneMemory::Shared(buffer),
                Object::Foreign(fd) => {
                    let import = Import::new(fd, self.access, &self.vm)?;
                    let memory = PlaneMemory::Import(import);
                    keep(&mut self.cache.lock(), room, index, name, &memory);
                    memory
                }
            },
        };
        if memory.len() < least as usize {
            return Err(Errno::EINVAL);
        }
        Ok(memory)
    }

    /// Forgets what buffers of these indices were last queued with.
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

/// What was lent under `name`, which is now the last used.
fn find(cached: &mut VecDeque<Cached>, index: u32, name: &Name) -> Option<PlaneMemory> {
    let at = cached.iter().position(|cached| cached.name == *name)?;
    let mut found = cached.remove(at)?;
    found.index = index;
    let memory = found.memory.clone();
    cached.push_front(found);
    Some(memory)
}

fn keep(cached: &mut VecDeque<Cached>, room: usize, index: u32, name: Name, memory: &PlaneMemory) {
    cached.truncate(room.saturating_sub(1));
    cached.push_front(Cached {
        index,
        name,
        memory: memory.clone(),
    });
}
