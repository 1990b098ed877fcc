// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use std::sync::atomic::Ordering;

use nix::fcntl::{FallocateFlags, fallocate};
use vm_memory::Bytes as _;

use super::*;
use crate::memory::testing::{PAGE, guest, single_pages, udmabuf, vm};
use crate::memory::{GuestMemory, ImportCache, Ledger, PlaneMemory, Vm};

/// The number that each page of the guest holds, read through the view.
fn pages(view: &Arc<View>) -> Vec<u64> {
    (0..view.len() / PAGE_SIZE)
        .map(|at| {
            let mut bytes = [0; 8];
            view.bytes().read_at(at * PAGE_SIZE, &mut bytes).unwrap();
            u64::from_ne_bytes(bytes)
        })
        .collect()
}

#[test]
fn scattered_pages_are_one_run() {
    let vm = vm();
    // Out of order, over all regions, one twice, and neighbours that are merged.
    let order: Vec<u64> = [3, 2, 1, 70, 63, 64, 65, 3, 1 << 20, 9]
        .map(|page| page * PAGE)
        .into();
    for access in [Access::Read, Access::ReadWrite] {
        let view = vm
            .view(&single_pages(order.clone()), access, ImportAs::Any)
            .unwrap();
        assert_eq!(view.len(), order.len() * PAGE_SIZE);
        assert_eq!(pages(&view), order);
    }
    // A run over the boundary of two regions.
    let across = [SgEntry::new(60 * PAGE, 8 * PAGE as u32)];
    let view = vm.view(&across, Access::Read, ImportAs::Any).unwrap();
    assert_eq!(
        pages(&view),
        (60..68).map(|page| page * PAGE).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_written_is_the_guests() {
    let (guest, vm) = (guest(), vm());
    let entries = [
        SgEntry::new(5 * PAGE + 100, (PAGE - 100) as u32),
        SgEntry::new(2 * PAGE, 50),
    ];
    let view = |kind| View::new(&guest, &entries, kind, (true, vm.costs())).unwrap();
    let only_read = view((Access::Read, ImportAs::Any));
    let view = view((Access::ReadWrite, ImportAs::Mapped));
    assert_eq!(view.len(), PAGE_SIZE - 100 + 50);
    view.bytes().write_at(PAGE_SIZE - 102, b"abcd").unwrap();
    let mut seen = [0; 2];
    guest
        .read_slice(&mut seen, GuestAddress(6 * PAGE - 2))
        .unwrap();
    assert_eq!(&seen, b"ab");
    guest.read_slice(&mut seen, GuestAddress(2 * PAGE)).unwrap();
    assert_eq!(&seen, b"cd");
    assert_eq!(only_read.bytes().write_at(0, b"x"), Err(Errno::EACCES));
    assert_eq!(view.bytes().write_at(view.len(), b"x"), Err(Errno::EINVAL));
}

#[test]
fn lists_that_are_none_are_refused() {
    let vm = vm();
    let view = |entries: &[SgEntry]| vm.view(entries, Access::Read, ImportAs::Any).map(|_| ());
    let page = PAGE_SIZE as u32;
    assert_eq!(view(&[]), Err(Errno::EINVAL));
    for (entries, errno) in [
        ([SgEntry::new(0, 0), SgEntry::new(PAGE, 1)], Errno::EINVAL),
        (
            [SgEntry::new(0, page), SgEntry::new(PAGE, 0)],
            Errno::EINVAL,
        ),
        (
            [SgEntry::new(0, 100), SgEntry::new(PAGE, page)],
            Errno::EINVAL,
        ),
        (
            [SgEntry::new(1, page), SgEntry::new(PAGE, page)],
            Errno::EINVAL,
        ),
        (
            [SgEntry::new(0, page), SgEntry::new(PAGE + 1, page)],
            Errno::EINVAL,
        ),
        (
            [SgEntry::new(0, page), SgEntry::new(128 * PAGE, page)],
            Errno::EFAULT,
        ),
        (
            [SgEntry::new(0, page), SgEntry::new(127 * PAGE, 2 * page)],
            Errno::EFAULT,
        ),
        (
            [
                SgEntry::new(0, page),
                SgEntry::new(u64::MAX - PAGE + 1, page),
            ],
            Errno::EINVAL,
        ),
        (
            [SgEntry::new(0, page), SgEntry::new(u64::MAX, 1)],
            Errno::EINVAL,
        ),
    ] {
        assert_eq!(view(&entries), Err(errno), "{entries:?}");
    }
    let huge = [SgEntry::new(0, 32 * page); 8193];
    assert_eq!(view(&huge), Err(Errno::EINVAL), "over 1 GiB");
    assert_eq!(vm.counters().maps.load(Ordering::SeqCst), 0);
}

/// Memory of the guest that goes away stays for as long as a view of it.
#[test]
fn a_view_outlives_the_memory_table() {
    let vm = vm();
    let entries = single_pages([7 * PAGE, 2 * PAGE]);
    let view = vm.view(&entries, Access::Read, ImportAs::Any).unwrap();
    vm.replace_guest(GuestMemoryMmap::new());
    assert_eq!(
        vm.view(&entries, Access::Read, ImportAs::Any).unwrap_err(),
        Errno::EFAULT
    );
    assert_eq!(pages(&view), [7 * PAGE, 2 * PAGE]);
}

/// What is at the start of `memory`.
fn first(memory: &PlaneMemory) -> u64 {
    let mut bytes = [0; 8];
    memory.read_at(0, &mut bytes).unwrap();
    u64::from_ne_bytes(bytes)
}

/// A VM, and its guest, which gives page 7 away (balloon, free page reporting) and then uses it
/// again, for `value`.
fn vm_that_renews() -> (Vm, impl Fn(u64)) {
    let guest = guest();
    let renewing = guest.clone();
    let renew = move |value: u64| {
        let region = renewing.find_region(GuestAddress(0)).unwrap();
        let file = region.file_offset().unwrap().file();
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(file, flags, 7 * PAGE_SIZE as i64, PAGE_SIZE as i64).unwrap();
        renewing.write_obj(value, GuestAddress(7 * PAGE)).unwrap();
    };
    let ledger = Ledger::new(1 << 30, None);
    let vm = Vm::new(GuestMemory::new(guest), ledger, (), Arc::default(), None);
    (vm, renew)
}

/// A driver that promises nothing gives pages away while they are remembered: what is read is what
/// is there now.
#[test]
fn pages_that_were_given_away_are_not_read() {
    let (vm, renew) = vm_that_renews();
    let made = || vm.counters().maps.load(Ordering::SeqCst);
    for (value, form) in [
        (1, ImportAs::Any),
        (2, ImportAs::Mapped),
        (3, ImportAs::Dmabuf),
    ] {
        if form == ImportAs::Dmabuf && !udmabuf() {
            continue;
        }
        let imports = ImportCache::new(&vm, Access::Read, form);
        let import = || imports.pages((0, 0), single_pages([7 * PAGE]), 2).unwrap();
        let before = first(&import());
        let maps = made();
        assert_eq!(first(&import()), before);
        // A mapping is coherent by itself. What somebody else pins is made anew.
        assert_eq!(made() == maps, form == ImportAs::Any);
        renew(value);
        assert_eq!(first(&import()), value, "{form:?}");
    }
    assert_eq!(vm.counters().udmabufs.load(Ordering::SeqCst) > 0, udmabuf());
}

/// One that promises to keep them may give them away when their buffer is queued with others.
#[test]
fn a_plane_that_has_other_memory_forgets_what_was_pinned() {
    let dmabuf = udmabuf().then_some(ImportAs::Dmabuf);
    for form in [Some(ImportAs::Mapped), dmabuf].into_iter().flatten() {
        let (vm, renew) = vm_that_renews();
        vm.set_keeps_pages(true);
        let imports = ImportCache::new(&vm, Access::Read, form);
        let unmaps = || vm.counters().unmaps.load(Ordering::SeqCst);
        let maps = || vm.counters().maps.load(Ordering::SeqCst);
        let import = |place, page| {
            let memory = imports.pages(place, single_pages([page * PAGE]), 8);
            first(&memory.unwrap())
        };
        assert_eq!(import((0, 0), 7), 7 * PAGE);
        let one = maps();
        // Two buffers with the same: each keeps it.
        assert_eq!((import((1, 0), 7), maps()), (7 * PAGE, one));
        assert_eq!(import((0, 0), 3), 3 * PAGE);
        assert_eq!((unmaps(), import((1, 0), 7)), (0, 7 * PAGE));
        assert_eq!((import((1, 1), 4), unmaps()), (4 * PAGE, 0));
        assert_eq!((import((1, 0), 5), unmaps()), (5 * PAGE, 1));
        renew(9);
        assert_eq!(import((1, 0), 7), 9);
        // A call that failed: the guest keeps nothing of it.
        let failed = imports.queued(1, Err(Errno::EINVAL));
        assert_eq!(failed, Err(Errno::EINVAL));
        renew(10);
        assert_eq!(import((2, 0), 7), 10);
        imports.forget(2..3);
        renew(11);
        assert_eq!(import((2, 0), 7), 11);
        imports.clear();
        renew(12);
        assert_eq!(import((0, 0), 7), 12);
        // An object, in the place of pages.
        let frame = vm.frame(1).unwrap();
        let uuid = vm.export(&frame).unwrap();
        let before = unmaps();
        imports.object((0, 0), uuid, 1, 8).unwrap();
        assert_eq!(unmaps(), before + 1);
    }
}

/// What is mapped is known again in whatever buffer it comes, as often as the queue has room; what
/// is known is quick.
#[test]
fn mappings_are_known_by_their_pages() {
    let (vm, _) = vm_that_renews();
    let imports = ImportCache::new(&vm, Access::Read, ImportAs::Any);
    let large = |from: u64| vec![SgEntry::new((1 << 32) + from * PAGE, 1 << 20)];
    let maps = || vm.counters().maps.load(Ordering::SeqCst);
    assert!(!imports.is_quick(0, &[large(0)]));
    assert!(imports.is_quick(0, &[single_pages([7 * PAGE])]), "small");
    for round in 0..3 {
        for (at, from) in [0, 1, 2].into_iter().enumerate() {
            let index = (at as u32 + round) % 2;
            assert_eq!(imports.is_quick(index, &[large(from)]), round > 0);
            imports.pages((index, 0), large(from), 4).unwrap();
        }
    }
    assert_eq!(maps(), 6, "a reserve and a piece each");
    assert!(
        !imports.is_quick(0, &[single_pages([7 * PAGE])]),
        "a large one may go"
    );
    imports.pages((0, 0), large(3), 3).unwrap();
    assert!(!imports.is_quick(0, &[large(0)]), "the oldest went");
    assert!(imports.is_quick(0, &[large(1)]) && imports.is_quick(7, &[large(3)]));
    assert_eq!(vm.counters().unmaps.load(Ordering::SeqCst), 1);
}

/// What is pinned is spent; what is mapped costs tables; both are given back, and so is what a
/// failed one took.
#[test]
fn views_are_charged() {
    let ledger = Ledger::new(1 << 20, None);
    let vm = Vm::new(
        GuestMemory::new(guest()),
        Arc::clone(&ledger),
        (),
        Arc::default(),
        None,
    );
    let half = [SgEntry::new(1 << 32, 512 << 10)];
    let all = [SgEntry::new(1 << 32, 1 << 20)];
    let view = |entries: &[SgEntry], form| vm.view(entries, Access::Read, form);
    let mapped = view(&all, ImportAs::Any).unwrap();
    assert!((1..64 << 10).contains(&ledger.used()), "{}", ledger.used());
    drop(mapped);
    assert_eq!(ledger.used(), 0);
    vm.set_keeps_pages(true);
    let pinned = view(&half, ImportAs::Any).unwrap();
    assert_eq!(ledger.used() > 512 << 10, udmabuf());
    let for_a_device = view(&half, ImportAs::Mapped);
    assert_eq!(for_a_device.is_err(), udmabuf());
    assert_eq!(view(&all, ImportAs::Mapped).unwrap_err(), Errno::ENOMEM);
    if udmabuf() {
        assert_eq!(view(&half, ImportAs::Dmabuf).unwrap_err(), Errno::ENOMEM);
        // A mapping does as well, and pins nothing.
        assert!(view(&half, ImportAs::Any).unwrap().dmabuf().is_none());
    }
    drop((pinned, for_a_device));
    assert!(view(&all, ImportAs::Dmabuf).is_err());
    assert_eq!(ledger.used(), 0);
}
