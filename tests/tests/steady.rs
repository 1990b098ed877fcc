// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A stream that runs maps nothing, whatever the VMM's memory is: with files that take no seals,
//! and so no udmabuf, and without a shared memory region, too.

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use common::import::{feed, frame, size};
use common::{Pair, alone};
use frontend::stream::{Memory, Settings, Step, Stream};
use frontend::{Backing, Client, Options, Pages};
use protocol::wire::config::Config;
use protocol::wire::v4l2::Timeval;
use virtio_v4l2d::config::DeviceSpec;
use virtio_v4l2d::counters::Counters;
use virtio_v4l2d::device::{Device, Result, Session};
use virtio_v4l2d::events::Events;
use virtio_v4l2d::memory::{Vm, probe_udmabuf};

/// The encoder, and what its VM counts.
struct Counted {
    encoder: Arc<dyn Device>,
    counters: Mutex<Option<Arc<Counters>>>,
}

impl Device for Counted {
    fn config(&self) -> Config {
        self.encoder.config()
    }

    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn Session>> {
        *self.counters.lock().unwrap() = Some(Arc::clone(vm.counters()));
        self.encoder.open(id, events, vm)
    }
}

impl Counted {
    /// Calls of mmap, munmap and udmabuf.
    fn mapped(&self) -> u64 {
        let counters = self.counters.lock().unwrap().clone().unwrap();
        let all = [&counters.maps, &counters.unmaps, &counters.udmabufs];
        all.map(|counter| counter.load(Ordering::SeqCst))
            .iter()
            .sum()
    }

    fn udmabufs(&self) -> u64 {
        let counters = self.counters.lock().unwrap().clone().unwrap();
        counters.udmabufs.load(Ordering::SeqCst)
    }
}

fn counted(backing: Backing) -> (Arc<Counted>, Pair) {
    let device = Arc::new(Counted {
        encoder: virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap(),
        counters: Mutex::default(),
    });
    let options = Options {
        memory: vec![(0, 64 << 20)],
        backing,
        shmem: false,
        objects: false,
        ..Options::default()
    };
    let pair = Pair::with(device.clone(), &options);
    (device, pair)
}

/// Both queues in pages of the guest, as the driver does it without a region.
const SCATTERED: (Memory, Memory) = (Memory::Scattered(0), Memory::Scattered(0));

fn settings() -> Settings {
    let (output_memory, capture_memory) = SCATTERED;
    Settings {
        output_memory,
        capture_memory,
        ..Settings::h264(176, 144)
    }
}

#[test]
fn nothing_is_mapped_for_a_frame() {
    let _alone = alone();
    for backing in [
        Backing::Sealed,
        Backing::Unsealed,
        Backing::Unsealable,
        Backing::File,
    ] {
        let (device, mut pair) = counted(backing);
        let client = pair.client.as_mut().unwrap();
        let settings = settings();
        let mut stream = Stream::start(client, &settings).unwrap();
        feed(client, &mut stream, &settings, 8);
        stream.resume(client).unwrap();
        let before = device.mapped();
        feed(client, &mut stream, &settings, 24);
        assert_eq!(device.mapped(), before, "{backing:?}");
        // Those that nobody has sealed we do.
        let takes_seals = matches!(backing, Backing::Sealed | Backing::Unsealed);
        let expected = probe_udmabuf() && takes_seals;
        assert_eq!(device.udmabufs() > 0, expected, "{backing:?}");
        stream.end(client);
    }
}

fn next(client: &mut Client, stream: &mut Stream) {
    while stream.output.free.is_empty() {
        if let Step::Coded(unit) = stream.step(client) {
            assert_eq!(unit.flags & v4l2r::bindings::V4L2_BUF_FLAG_ERROR, 0);
        }
    }
}

/// A program whose frames are in more places than it has buffers (a pool of another element): each
/// place is known, whichever buffer it comes in.
#[test]
fn frames_of_a_pool() {
    let _alone = alone();
    let (device, mut pair) = counted(Backing::Unsealable);
    let client = pair.client.as_mut().unwrap();
    let settings = settings();
    let mut stream = Stream::start(client, &settings).unwrap();
    let mut pool: Vec<Pages> = (0..3)
        .map(|_| Pages::scattered(&client.link.memory, size(&settings), 0))
        .collect();
    let mut before = 0;
    for number in 0..40 {
        if number == 20 {
            before = device.mapped();
        }
        next(client, &mut stream);
        let index = *stream.output.free.last().unwrap() as usize;
        let last = std::mem::replace(&mut stream.output.pages[index][0], pool.remove(0));
        pool.push(last);
        let frame = frame(size(&settings), number);
        stream
            .queue_frame(client, &frame, Timeval::default())
            .unwrap();
    }
    assert_eq!(device.mapped(), before);
    stream.end(client);
}
