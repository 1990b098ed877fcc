// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A guest for unit tests: each of its pages holds its own address.

use std::num::NonZeroUsize;
use std::sync::Arc;

use protocol::wire::sg::SgEntry;
use vm_memory::{Bytes as _, FileOffset, GuestAddress, GuestMemoryMmap};

use super::{GuestMemory, Ledger, PAGE_SIZE, Vm, probe_udmabuf};

pub(crate) const PAGE: u64 = PAGE_SIZE as u64;
/// Two regions that follow each other, and one on its own.
pub(crate) const REGIONS: [(u64, u64); 3] = [
    (0, 64 * PAGE),
    (64 * PAGE, 64 * PAGE),
    (1 << 32, 2048 * PAGE),
];

pub(crate) fn guest() -> GuestMemoryMmap {
    let regions = REGIONS.map(|(start, len)| {
        // Sealed, as QEMU's memory-backend-memfd is.
        let size = NonZeroUsize::new(len as usize).unwrap();
        let file = std::fs::File::from(super::mapping::sealed_file(size).unwrap());
        (
            GuestAddress(start),
            len as usize,
            Some(FileOffset::new(file, 0)),
        )
    });
    let guest = GuestMemoryMmap::from_ranges_with_files(regions).unwrap();
    for (start, len) in REGIONS {
        for page in (start..start + len).step_by(PAGE_SIZE) {
            guest.write_obj(page, GuestAddress(page)).unwrap();
        }
    }
    guest
}

pub(crate) fn vm() -> Vm {
    let ledger = Ledger::new(4 << 30, None);
    let vm = Vm::new(GuestMemory::new(guest()), ledger, (), Arc::default(), None);
    vm.set_keeps_pages(true);
    vm
}

/// Whether the host has /dev/udmabuf. Where it is to be there it is.
pub(crate) fn udmabuf() -> bool {
    let wanted = std::env::var_os("VIRTIO_V4L2_REQUIRE_UDMABUF").is_some();
    assert!(probe_udmabuf() || !wanted, "no /dev/udmabuf here");
    probe_udmabuf()
}

pub(crate) fn single_pages(pages: impl IntoIterator<Item = u64>) -> Vec<SgEntry> {
    let entry = |page| SgEntry::new(page, PAGE_SIZE as u32);
    pages.into_iter().map(entry).collect()
}
