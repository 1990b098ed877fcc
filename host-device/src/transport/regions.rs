// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The guest's memory, region by region, as the VMM describes it.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap};

/// Most regions that the VMM may add one by one; each is a mapping of ours.
pub(super) const MAX_SLOTS: usize = 509;

/// What the VMM said of the guest's memory that cannot be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("a memory region ends beyond the address space")]
    Size,
    #[error("a memory region cannot be mapped: {0}")]
    Map(vhost::vhost_user::Error),
    #[error("memory regions overlap")]
    Overlap,
    #[error("there are {MAX_SLOTS} memory regions already")]
    Full,
    #[error("there is no such memory region")]
    Unknown,
}

/// A region, and where the VMM has it: rings are named by that address.
struct Region {
    vmm: Range<u64>,
    mapped: Arc<GuestRegionMmap>,
}

impl Region {
    fn new(region: &VhostUserMemoryRegion, file: File) -> Result<Self, Fault> {
        let (start, size, guest) = (region.user_addr, region.memory_size, region.guest_phys_addr);
        tracing::trace!("memory: {size:#x} bytes at {guest:#x}");
        let end = start.checked_add(size).ok_or(Fault::Size)?;
        let mapped = region.mmap_region(file).map_err(Fault::Map)?;
        let mapped = GuestRegionMmap::new(mapped, GuestAddress(guest)).ok_or(Fault::Size)?;
        Ok(Self {
            vmm: start..end,
            mapped: Arc::new(mapped),
        })
    }

    fn is(&self, region: &VhostUserMemoryRegion) -> bool {
        let (start, size, guest) = (region.user_addr, region.memory_size, region.guest_phys_addr);
        (
            self.vmm.start,
            self.mapped.len(),
            self.mapped.start_addr().0,
        ) == (start, size, guest)
    }
}

/// All regions. Each change gives the memory that they make.
#[derive(Default)]
pub(super) struct Regions(Vec<Region>);

impl Regions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The guest's address of what the VMM has at `address`.
    pub(super) fn guest_address(&self, address: u64) -> Option<GuestAddress> {
        let region = self.0.iter().find(|region| region.vmm.contains(&address))?;
        let offset = address - region.vmm.start;
        Some(GuestAddress(region.mapped.start_addr().0 + offset))
    }

    /// These are all. If something is wrong with them there is no memory at all.
    pub(super) fn set(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
    ) -> Result<GuestMemoryMmap, Fault> {
        self.0.clear();
        let regions = regions.iter().zip(files);
        self.0 = regions
            .map(|(region, file)| Region::new(region, file))
            .collect::<Result<_, _>>()?;
        self.memory().inspect_err(|_| self.0.clear())
    }

    /// One more. If it cannot be added, the others stay.
    pub(super) fn add(
        &mut self,
        region: &VhostUserMemoryRegion,
        file: File,
    ) -> Result<GuestMemoryMmap, Fault> {
        if self.0.len() >= MAX_SLOTS {
            return Err(Fault::Full);
        }
        self.0.push(Region::new(region, file)?);
        self.memory().inspect_err(|_| drop(self.0.pop()))
    }

    /// One less.
    pub(super) fn remove(
        &mut self,
        region: &VhostUserMemoryRegion,
    ) -> Result<GuestMemoryMmap, Fault> {
        let at = self.0.iter().position(|other| other.is(region));
        self.0.remove(at.ok_or(Fault::Unknown)?);
        self.memory()
    }

    fn memory(&self) -> Result<GuestMemoryMmap, Fault> {
        if self.0.is_empty() {
            return Ok(GuestMemoryMmap::new());
        }
        let mut regions: Vec<_> = self
            .0
            .iter()
            .map(|region| Arc::clone(&region.mapped))
            .collect();
        regions.sort_by_key(|region| region.start_addr());
        GuestMemoryMmap::from_arc_regions(regions).map_err(|_| Fault::Overlap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use vm_memory::{Bytes, GuestMemoryBackend};

    fn file() -> File {
        let file = File::from(memfd_create("guest", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(0x10_0000).unwrap();
        file
    }

    fn region(guest: u64, user: u64) -> VhostUserMemoryRegion {
        VhostUserMemoryRegion::new(guest, 0x1000, user, 0)
    }

    #[test]
    fn one_by_one_in_any_order() {
        let mut regions = Regions::default();
        regions.add(&region(0x4000, 0x70_4000), file()).unwrap();
        let memory = regions.add(&region(0, 0x70_0000), file()).unwrap();
        assert_eq!(memory.num_regions(), 2);
        assert_eq!(regions.guest_address(0x70_4010), Some(GuestAddress(0x4010)));
        assert_eq!(regions.guest_address(0x70_1000), None);
        // Over another one: those before stay.
        let over = regions.add(&region(0x4800, 0x80_0000), file());
        assert!(matches!(over, Err(Fault::Overlap)));
        assert_eq!(regions.len(), 2);
        let unknown = regions.remove(&region(0x4000, 0x70_0000));
        assert!(matches!(unknown, Err(Fault::Unknown)));
        let memory = regions.remove(&region(0x4000, 0x70_4000)).unwrap();
        assert!(memory.read_obj::<u8>(GuestAddress(0x4000)).is_err());
        assert_eq!(memory.read_obj::<u8>(GuestAddress(0xfff)).unwrap(), 0);
        let memory = regions.remove(&region(0, 0x70_0000)).unwrap();
        assert_eq!((memory.num_regions(), regions.len()), (0, 0));
        assert!(regions.remove(&region(0, 0x70_0000)).is_err());
    }

    #[test]
    fn not_more_than_there_may_be() {
        let mut regions = Regions::default();
        let file = file();
        for index in 0..MAX_SLOTS as u64 {
            let region = region(index << 12, index << 12);
            regions.add(&region, file.try_clone().unwrap()).unwrap();
        }
        let last = (MAX_SLOTS as u64) << 12;
        let more = regions.add(&region(last, last), file);
        assert!(matches!(more, Err(Fault::Full)));
    }

    #[test]
    fn all_or_none() {
        let mut regions = Regions::default();
        regions
            .set(
                &[region(0, 0), region(0x1000, 0x1000)],
                vec![file(), file()],
            )
            .unwrap();
        assert_eq!(regions.len(), 2);
        let overlapping = regions.set(&[region(0, 0), region(0, 0x1000)], vec![file(), file()]);
        assert!(matches!(overlapping, Err(Fault::Overlap)));
        assert_eq!(regions.len(), 0);
    }
}
