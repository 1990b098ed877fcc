// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The import cache of a queue: its recently imported memory, which is not mapped again when it is
//! queued again.

use std::ops::Range;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::wire::sg::{SgEntry, Uuid};

use super::cache::{Cache, Cached, Name, Place, find, forget_pinned, remember};
use super::import::Import;
use super::ledger::MemoryCharge;
use super::mapping::Access;
use super::object::Object;
use super::plane::PlaneMemory;
use super::view::{ImportAs, View};
use super::vm::Vm;

/// Bytes of memory that may be mapped and unmapped while others wait: that takes less than a
/// millisecond however many pieces it is in.
const SMALL: usize = 256 << 10;

/// The memory that one queue imports from clients.
#[derive(Debug)]
pub struct ImportCache {
    vm: Vm,
    access: Access,
    form: ImportAs,
    cache: Arc<Cache>,
}

impl ImportCache {
    /// An empty cache for memory of `vm`, of which pages are imported in this form.
    pub fn new(vm: &Vm, access: Access, form: ImportAs) -> Self {
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

    /// Whether pages are remembered. If not, whoever gets them pins them, and by the next QBUF the
    /// guest may have others there.
    fn remembers(&self) -> bool {
        self.form == ImportAs::Any || self.vm.keeps_pages()
    }

    /// The pages that `entries` name, in one run, for a plane. They are mapped unless they are
    /// known; `capacity` is as many pieces of memory as the queue keeps.
    ///
    /// # Errors
    ///
    /// As [`Vm::view`].
    pub fn pages(
        &self,
        place: Place,
        mut entries: Vec<SgEntry>,
        capacity: usize,
    ) -> Result<PlaneMemory, Errno> {
        entries.shrink_to_fit();
        let name = Name::Pages(entries);
        let mut old = Vec::new();
        // Held while a view is made: when the guest's memory changes meanwhile, it is forgotten
        // after that.
        let mut cached = self.cache.lock();
        if let Some(memory) = find(&mut cached, place, &name, &mut old) {
            drop(cached);
            return Ok(memory);
        }
        let Name::Pages(entries) = &name else {
            return Err(Errno::EINVAL);
        };
        // Before the new one is made, which may need what this gives back.
        drop(forget_pinned(&mut cached, place, &name));
        let (view, charge) = match self.new_view(entries) {
            Err(Errno::ENOMEM) if !cached.is_empty() => {
                cached.clear();
                self.new_view(entries)
            }
            view => view,
        }?;
        let pins = self.form != ImportAs::Any || view.pins();
        let memory = PlaneMemory::View(view);
        if self.remembers() {
            let new = Cached {
                place,
                name: Arc::new(name),
                memory: memory.clone(),
                pins,
                charge: Arc::new(charge),
            };
            remember(&mut cached, new, capacity, &mut old);
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
    fn new_view(&self, entries: &[SgEntry]) -> Result<(Arc<View>, MemoryCharge), Errno> {
        let bytes = if self.remembers() {
            size_of_val(entries)
        } else {
            0
        };
        let charge = self.vm.ledger().charge(bytes)?;
        Ok((self.vm.view(entries, self.access, self.form)?, charge))
    }

    /// The object `uuid`, of at least `least` bytes, for a plane. One that is not ours is looked up
    /// and mapped unless it is known; `capacity` is as many pieces of memory as the queue keeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such object, it is too small, or cannot be mapped; `ENOMEM` if it
    /// would exceed the limit.
    pub fn object(
        &self,
        place: Place,
        uuid: Uuid,
        least: u32,
        capacity: usize,
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
                        let memory =
                            PlaneMemory::Import(Import::new(fd, self.access, self.vm.costs())?);
                        let new = Cached {
                            place,
                            name: Arc::new(name),
                            memory: memory.clone(),
                            pins: false,
                            charge: Arc::default(),
                        };
                        remember(&mut self.cache.lock(), new, capacity, &mut old);
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

    /// Notes the result of a call that was to queue or prepare buffer `index`. If it failed, the
    /// buffer's memory is forgotten: the guest need not keep it.
    ///
    /// # Errors
    ///
    /// `result`'s.
    pub fn queued(&self, index: u32, result: Result<(), Errno>) -> Result<(), Errno> {
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
