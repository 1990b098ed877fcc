// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What a queue was lent of late, so that memory which comes again is not mapped again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use protocol::wire::sg::{SgEntry, Uuid};

use super::import::Import;
use super::ledger::Charge;
use super::object::Object;
use super::plane::PlaneMemory;
use super::view::{Access, Form, View};
use super::vm::Vm;

/// Bytes of memory that may be mapped and unmapped while others wait: that takes less than a millisecond however many
/// pieces it is in.
const SMALL: usize = 256 << 10;

/// What a client names.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Pages(Vec<SgEntry>),
    Object(Uuid),
}

/// A plane of a buffer: index and number.
pub type Place = (u32, usize);

#[derive(Debug)]
struct Cached {
    /// The plane that it was last queued with.
    place: Place,
    name: Arc<Name>,
    memory: PlaneMemory,
    /// It has the pages that were there when it was made.
    pins: bool,
    /// What the name takes.
    charge: Arc<Charge>,
}

/// Memory by what was queued, the last used first.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<VecDeque<Cached>>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Cached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those of which `gone` says so. Mappings go without the lock: that may take long.
    fn forget(&self, gone: impl Fn(&Cached) -> bool) {
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
            cache.forget(|cached| matches!(*cached.name, Name::Pages(_)));
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

    /// Whether pages are remembered. If not, whoever gets them pins them, and by the next QBUF the guest may have others there.
    fn remembers(&self) -> bool {
        self.form == Form::Any || self.vm.keeps_pages()
    }

    /// The pages that `entries` name, in one run, for a plane. They are mapped unless they are known; `room` is as many
    /// pieces of memory as the queue keeps.
    ///
    /// # Errors
    ///
    /// As [`Vm::view`].
    pub fn pages(
        &self,
        place: Place,
        mut entries: Vec<SgEntry>,
        room: usize,
    ) -> Result<PlaneMemory, Errno> {
        entries.shrink_to_fit();
        let name = Name::Pages(entries);
        let mut old = Vec::new();
        // Held while a view is made: when the guest's memory changes meanwhile, it is forgotten after that.
        let mut cached = self.cache.lock();
        if let Some(memory) = find(&mut cached, place, &name, &mut old) {
            drop(cached);
            return Ok(memory);
        }
        let Name::Pages(entries) = &name else {
            return Err(Errno::EINVAL);
        };
        // Before the new one is made: it makes room.
        drop(forget_pinned(&mut cached, place, &name));
        let (view, charge) = match self.new_view(entries) {
            Err(Errno::ENOMEM) if !cached.is_empty() => {
                cached.clear();
                self.new_view(entries)
            }
            view => view,
        }?;
        let pins = self.form != Form::Any || view.pins();
        let memory = PlaneMemory::View(view);
        if self.remembers() {
            let new = Cached {
                place,
                name: Arc::new(name),
                memory: memory.clone(),
                pins,
                charge: Arc::new(charge),
            };
            remember(&mut cached, new, room, &mut old);
        }
        drop(cached);
        Ok(memory)
    }

    /// Whether the pages of a buffer's planes are known, or so few that to map them is no matter.
    pub fn is_quick(&self, index: u32, planes: &[Vec<SgEntry>]) -> bool {
        let cached = self.cache.lock();
        // A new one may take the place of any.
        let small = cached.iter().all(|cached| cached.memory.len() <= SMALL);
        planes.iter().enumerate().all(|(plane, entries)| {
            let bytes: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
            if small && bytes <= SMALL as u64 {
                return true;
            }
            let is_it =
                |cached: &Cached| matches!(&*cached.name, Name::Pages(known) if known == entries);
            let mut known = cached.iter().filter(|cached| is_it(cached));
            known.any(|found| found.place == (index, plane))
                || cached.iter().any(|found| is_it(found) && !found.pins)
                    && !cached
                        .iter()
                        .any(|other| other.pins && other.place == (index, plane))
        })
    }

    /// A view of `entries`, and what it takes to remember them.
    fn new_view(&self, entries: &[SgEntry]) -> Result<(Arc<View>, Charge), Errno> {
        let bytes = if self.remembers() {
            size_of_val(entries)
        } else {
            0
        };
        let charge = self.vm.ledger().charge(bytes)?;
        Ok((self.vm.view(entries, self.access, self.form)?, charge))
    }

    /// The object `uuid`, of at least `least` bytes, for a plane. One that is not ours is looked up and mapped unless it is
    /// known; `room` is as many pieces of memory as the queue keeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such object, it is too small, or cannot be mapped; `ENOMEM` if it would exceed the limit.
    pub fn object(
        &self,
        place: Place,
        uuid: Uuid,
        least: u32,
        room: usize,
    ) -> Result<PlaneMemory, Errno> {
        let name = Name::Object(uuid);
        let mut old = Vec::new();
        let known = find(&mut self.cache.lock(), place, &name, &mut old);
        let memory = match known {
            Some(memory) => memory,
            None => {
                let pinned = forget_pinned(&mut self.cache.lock(), place, &name);
                drop(pinned);
                // Nothing is held while the VMM is asked: it may be waiting for an answer of ours.
                match self.vm.object(uuid)? {
                    Object::Own(buffer) => PlaneMemory::Shared(buffer),
                    Object::Foreign(fd) => {
                        let memory = PlaneMemory::Import(Import::new(fd, self.access, &self.vm)?);
                        let new = Cached {
                            place,
                            name: Arc::new(name),
                            memory: memory.clone(),
                            pins: false,
                            charge: Arc::default(),
                        };
                        remember(&mut self.cache.lock(), new, room, &mut old);
                        memory
                    }
                }
            }
        };
        if memory.len() < least as usize {
            return Err(Errno::EINVAL);
        }
        Ok(memory)
    }

    /// How a call ended that was to queue or prepare buffer `index`. What is not queued the guest need not keep.
    ///
    /// # Errors
    ///
    /// `result`'s.
    pub fn settled(&self, index: u32, result: Result<(), Errno>) -> Result<(), Errno> {
        result.inspect_err(|_| self.forget(index..index.saturating_add(1)))
    }

    /// Forgets what buffers of these indices were last queued with.
    pub fn forget(&self, indices: Range<u32>) {
        self.cache
            .forget(|cached| indices.contains(&cached.place.0));
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.cache.forget(|_| true);
    }
}

/// Takes out what a plane pins, but for what is called `name`: the guest keeps that no longer.
fn forget_pinned(cached: &mut VecDeque<Cached>, place: Place, name: &Name) -> Vec<Cached> {
    forget(cached, |cached| {
        cached.pins && cached.place == place && *cached.name != *name
    })
}

/// What was lent under `name`, which is now that plane's, and the last used. What that plane pinned is in `old`.
fn find(
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

/// Remembers `new`, and no more than `room` that pin nothing. What is not remembered any more is in `old`.
fn remember(cached: &mut VecDeque<Cached>, new: Cached, room: usize, old: &mut Vec<Cached>) {
    let mut left = room.saturating_sub(1);
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
