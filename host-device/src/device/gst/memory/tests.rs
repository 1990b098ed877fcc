// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer_allocators as gst_allocators;

use super::*;
use crate::memory::testing::{PAGE, single_pages, udmabuf, vm};
use crate::memory::{Access, HostBuffer, ImportAs, PAGE_SIZE};

#[test]
fn wrapped_memory_is_the_mapping_and_reports_release() {
    gst::init().unwrap();
    let buffer = HostBuffer::new(100).unwrap();
    buffer.write_at(10, b"hello").unwrap();
    let released = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&released);
    let plane = PlaneMemory::from(Arc::clone(&buffer));
    let memory = wrap(&plane, 10..15, move || flag.store(true, Ordering::SeqCst)).unwrap();
    let map = memory.into_mapped_memory_readable().unwrap();
    assert_eq!(map.as_slice(), b"hello");
    assert_eq!(
        map.as_slice().as_ptr() as usize,
        plane.address().as_ptr() as usize + 10
    );
    assert_eq!(Arc::strong_count(&buffer), 3);
    drop(map);
    assert!(released.load(Ordering::SeqCst));
    assert_eq!(Arc::strong_count(&buffer), 2);
    assert_eq!(wrap(&plane, 0..4097, || ()).unwrap_err(), Errno::EINVAL);
    assert_eq!(wrap(&plane, 5..5, || ()).unwrap_err(), Errno::EINVAL);
}

/// The addresses that GStreamer sees are those of the view, which is made once and lives for as
/// long as it looks.
#[test]
fn gstreamer_sees_the_view_itself() {
    gst::init().unwrap();
    let udmabuf = udmabuf();
    let vm = vm();
    // From the last to the first: as many runs as pages. More of them than a dmabuf may have.
    for (count, is_dmabuf) in [(900, udmabuf), (1500, false)] {
        let before = vm.counters().maps.load(Ordering::SeqCst);
        let mut order = (0..count).rev().map(|page| (1 << 32) + page * PAGE);
        let view = vm
            .view(&single_pages(order.clone()), Access::Read, ImportAs::Any)
            .unwrap();
        let maps = vm.counters().maps.load(Ordering::SeqCst) - before;
        assert_eq!(maps, if is_dmabuf { 1 } else { count + 1 });
        let plane = PlaneMemory::View(view);
        let last = order.next_back().unwrap();
        let mut bytes = [0; 8];
        plane.read_at(plane.len() - PAGE_SIZE, &mut bytes).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), last);
        for _ in 0..3 {
            let released = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&released);
            let memory =
                wrap(&plane, 8..20000, move || flag.store(true, Ordering::SeqCst)).unwrap();
            assert_eq!(
                memory.is_memory_type::<gst_allocators::DmaBufMemory>(),
                is_dmabuf
            );
            let map = memory.into_mapped_memory_readable().unwrap();
            assert_eq!(map.as_ptr() as usize, plane.address().as_ptr() as usize + 8);
            assert_eq!(map.len(), 19992);
            assert!(!released.load(Ordering::SeqCst));
            drop(map);
            assert!(released.load(Ordering::SeqCst));
        }
        assert_eq!(vm.counters().maps.load(Ordering::SeqCst) - before, maps);
    }
    let counters = Arc::clone(vm.counters());
    assert_eq!(counters.udmabufs.load(Ordering::SeqCst), u64::from(udmabuf));
    assert_eq!(counters.unmaps.load(Ordering::SeqCst), 2);
}

/// MMAP buffers for raw frames are dmabufs where the host can make them.
#[test]
fn frames_are_dmabufs() {
    gst::init().unwrap();
    let vm = vm();
    let frame = vm.frame(10000).unwrap();
    frame.write_at(9990, b"end").unwrap();
    let memory = wrap(&frame.clone().into(), 9990..9993, || ()).unwrap();
    assert_eq!(
        memory.is_memory_type::<gst_allocators::DmaBufMemory>(),
        udmabuf()
    );
    let uuid = vm.export(&frame).unwrap();
    assert_eq!(vm.object_fd(uuid).is_some(), udmabuf());
    let map = memory.into_mapped_memory_readable().unwrap();
    assert_eq!(&map[..], b"end");
}
