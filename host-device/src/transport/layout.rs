// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Where the parts of a queue are in guest memory.

use std::ops::Range;

use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap, Permissions};

/// Why a queue is not served. It stays so until the VMM says something else about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Nobody has looked since it changed.
    #[error("it is not checked yet")]
    Unchecked,
    #[error("its size is none of 1, 2, 4 and so on up to 32768")]
    Size,
    #[error("one of its parts is not in the guest's memory, or not aligned")]
    Memory,
    #[error("its descriptor table, available ring and used ring overlap")]
    Overlap,
    #[error("it overlaps another queue")]
    OtherQueue,
}

/// The address ranges of descriptor table, available ring and used ring.
pub(super) type Parts = [Range<u64>; 3];

/// Where the parts of `queue` are, if that is in `memory` and apart from each other and from
/// `others`.
pub(super) fn parts(
    queue: &Queue,
    memory: &GuestMemoryMmap,
    others: &[Range<u64>],
) -> Result<Parts, Fault> {
    let size = u64::from(queue.size());
    // The field at the end is there only with VIRTIO_F_EVENT_IDX.
    let event = if queue.event_idx_enabled() { 2 } else { 0 };
    let sizes = [
        (queue.desc_table(), 16 * size, Permissions::Read),
        (queue.avail_ring(), 4 + 2 * size + event, Permissions::Read),
        (queue.used_ring(), 4 + 8 * size + event, Permissions::Write),
    ];
    let mut parts = Parts::default();
    for (part, (start, len, access)) in parts.iter_mut().zip(sizes) {
        let bytes = usize::try_from(len).map_err(|_| Fault::Memory)?;
        if !memory.check_range(GuestAddress(start), bytes, access) {
            return Err(Fault::Memory);
        }
        *part = start..start.checked_add(len).ok_or(Fault::Memory)?;
    }
    let [table, available, used] = &parts;
    if overlap(table, available) || overlap(table, used) || overlap(available, used) {
        return Err(Fault::Overlap);
    }
    if parts
        .iter()
        .any(|part| others.iter().any(|other| overlap(part, other)))
    {
        return Err(Fault::OtherQueue);
    }
    Ok(parts)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 0x10_0000;

    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap()
    }

    fn queue(size: u16, [table, available, used]: [u64; 3]) -> Queue {
        let mut queue = Queue::new(32768).unwrap();
        queue.set_size(size);
        queue.set_event_idx(true);
        queue
            .try_set_desc_table_address(GuestAddress(table))
            .unwrap();
        queue
            .try_set_avail_ring_address(GuestAddress(available))
            .unwrap();
        queue.try_set_used_ring_address(GuestAddress(used)).unwrap();
        queue
    }

    #[test]
    fn parts_lie_apart_and_in_memory() {
        let memory = memory();
        let of = |size, at| parts(&queue(size, at), &memory, &[]);
        // One behind the other, without a gap.
        assert!(of(4, [0x1000, 0x1040, 0x1050]).is_ok());
        assert_eq!(of(4, [0x1000, 0x103e, 0x1050]), Err(Fault::Overlap));
        assert_eq!(of(4, [0x1000, 0x1040, 0x104c]), Err(Fault::Overlap));
        assert_eq!(of(4, [0x1000, 0x2000, 0x2000]), Err(Fault::Overlap));
        assert_eq!(of(4, [0x1000, 0x2000, 0x1000]), Err(Fault::Overlap));
        let end = MEMORY as u64;
        assert!(of(4, [0x1000, 0x2000, end - 40]).is_ok());
        assert_eq!(of(4, [0x1000, 0x2000, end - 36]), Err(Fault::Memory));
        assert_eq!(of(4, [0x1000, end, 0x2000]), Err(Fault::Memory));
        assert_eq!(of(4, [u64::MAX - 15, 0x1000, 0x2000]), Err(Fault::Memory));
        // 768 KiB and more in all.
        assert!(of(32768, [0, 0x80000, 0xa0000]).is_ok());
        assert_eq!(of(32768, [0, 0x80000, 0xc0000]), Err(Fault::Memory));
    }

    #[test]
    fn without_the_event_fields_rings_are_shorter() {
        let memory = memory();
        let mut queue = queue(4, [0x1000, 0x1040, 0x104c]);
        assert_eq!(parts(&queue, &memory, &[]), Err(Fault::Overlap));
        queue.set_event_idx(false);
        assert!(parts(&queue, &memory, &[]).is_ok());
    }

    #[test]
    fn queues_lie_apart() {
        let memory = memory();
        let first = parts(&queue(4, [0x1000, 0x2000, 0x3000]), &memory, &[]).unwrap();
        for at in [
            [0x1030, 0x4000, 0x5000],
            [0x4000, 0x3024, 0x5000],
            [0x4000, 0x5000, 0x2000],
        ] {
            let other = parts(&queue(4, at), &memory, &first);
            assert_eq!(other, Err(Fault::OtherQueue), "{at:x?}");
        }
        assert!(parts(&queue(4, [0x1040, 0x200e, 0x3024]), &memory, &first).is_err());
        assert!(parts(&queue(4, [0x1040, 0x200e, 0x3028]), &memory, &first).is_ok());
    }
}
