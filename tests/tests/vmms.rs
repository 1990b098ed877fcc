// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What VMMs do differently: how they reset and pause the device, where they have queues, how they
//! tell of memory.

mod common;

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Pair;
use common::encoder::{CAPTURE, OUTPUT, works};
use common::fake::Fake;
use common::hand::ioctl_bytes;
use common::vmms;
use frontend::{Options, PATIENCE, Vmm};
use protocol::wire::command::{CmdMmap, RespMmap};
use protocol::wire::config::Config;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{Buffer, Format, MEMORY_MMAP, Plane};
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use virtio_v4l2d::config::DeviceSpec;
use zerocopy::{FromBytes, IntoBytes};

/// A device whose STREAMON waits for a word.
fn slow() -> (Fake, Sender<()>) {
    let fake = Fake::default();
    let (release, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    fake.answer(move |call, _| {
        if call.code == ioctl::STREAMON {
            let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
        }
        Ok(())
    });
    (fake, release)
}

#[track_caller]
fn g_fmt(pair: &mut Pair, session: u32) {
    let mut format = Format::default();
    pair.ioctl(session, ioctl::G_FMT, &mut format).unwrap();
}

#[track_caller]
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A guest's reboot ends sessions, whichever way the VMM has for it. A command that was under way
/// is answered to nobody.
#[test]
fn a_reset_ends_sessions() {
    for options in vmms::all() {
        let (fake, release) = slow();
        let mut pair = vmms::pair(Arc::new(fake.clone()), &options);
        for _ in 0..3 {
            let session = pair.open().unwrap();
            g_fmt(&mut pair, session);
            fake.calls();
            let streamon = ioctl_bytes(session, ioctl::STREAMON, &9_u32.to_le_bytes());
            let _late = pair.submit(&streamon, 8);
            wait_until("STREAMON is not called", || !fake.calls().is_empty());
            pair.restart().unwrap();
            let next = pair.open().unwrap();
            assert_ne!(next, session);
            release.send(()).unwrap();
            wait_until("the session stays", || fake.open_sessions() == [next]);
            let used = pair.link.commands.wait_used(Duration::from_millis(10));
            assert!(used.is_err(), "{used:?}");
            g_fmt(&mut pair, next);
            pair.close(next);
        }
    }
}

/// Those that pause, in the ways that they have, at any index: nothing is lost.
#[test]
fn a_pause_ends_nothing() {
    for vmm in [Vmm::Qemu, Vmm::Crosvm, Vmm::CloudHypervisor] {
        // The index of the command queue comes to 0 in the middle.
        let mut options = Options {
            first_index: 0xfffa,
            ..Options::of(vmm)
        };
        for queue_size in [options.queue_size, 128] {
            options.queue_size = queue_size;
            let (fake, release) = slow();
            let mut pair = vmms::pair(Arc::new(fake.clone()), &options);
            let session = pair.open().unwrap();
            let mut at_zero = 0;
            for number in 0..12 {
                g_fmt(&mut pair, session);
                at_zero += u32::from(pair.link.commands.avail_index() == 0);
                let bases = pair.link.pause().unwrap();
                let buffer = Buffer {
                    index: number,
                    ..Buffer::default()
                };
                fake.events(session).dqbuf(buffer, &[]);
                assert!(pair.poll_event().is_none());
                pair.link.resume(bases).unwrap();
                pair.event();
            }
            assert_eq!(at_zero, 1, "the index was 0 once");
            assert_eq!(fake.open_sessions(), [session]);
            // One that is answered in the pause.
            if !matches!(vmm, Vmm::CloudHypervisor) {
                continue;
            }
            fake.calls();
            let streamon = ioctl_bytes(session, ioctl::STREAMON, &9_u32.to_le_bytes());
            let late = pair.submit(&streamon, 8);
            wait_until("STREAMON is not called", || !fake.calls().is_empty());
            let bases = pair.link.pause().unwrap();
            release.send(()).unwrap();
            let used = pair.link.commands.wait_used(Duration::from_millis(50));
            assert!(used.is_err(), "written to in the pause: {used:?}");
            pair.link.resume(bases).unwrap();
            assert_eq!(pair.wait(late).status(), Some(0));
        }
    }
}

#[test]
fn an_owner_that_says_so_again() {
    let fake = Fake::default();
    let mut pair = vmms::pair(Arc::new(fake.clone()), &Options::of(Vmm::Qemu));
    let session = pair.open().unwrap();
    for _ in 0..2 {
        pair.link.frontend().set_owner().unwrap();
    }
    g_fmt(&mut pair, session);
    assert_eq!(fake.open_sessions(), [session]);
}

/// Queues that overlap, or are nowhere, or of odd sizes, are not served; the connection stays, and
/// good ones are.
#[test]
fn queues_that_cannot_be() {
    for vmm in [Vmm::Qemu, Vmm::Crosvm] {
        let fake = Fake::default();
        let mut pair = vmms::pair(Arc::new(fake.clone()), &Options::of(vmm));
        let link = &pair.link;
        let vmm = link.frontend();
        // Not all VMMs wait for a request to be met.
        let met = || vmm.get_features().unwrap();
        let (commands, events) = (link.commands.config(), link.events.config());
        let with = |change: &dyn Fn(&mut vhost::VringConfigData)| {
            let mut config = commands;
            change(&mut config);
            config
        };
        let (table, used) = (commands.desc_table_addr, commands.used_ring_addr);
        for bad in [
            with(&|config| config.used_ring_addr = config.avail_ring_addr & !3),
            with(&|config| config.used_ring_addr = config.desc_table_addr),
            with(&|config| config.avail_ring_addr = table + 16),
            with(&|config| config.used_ring_addr = 0xff0),
        ] {
            // Told of it, or not.
            let _ = vmm.set_vring_addr(0, &bad);
            met();
            let pending = pair.submit(&ioctl_bytes(1, ioctl::G_FMT, &[0; 208]), 216);
            let waited = pair.wait_for(pending, Duration::from_millis(30));
            assert!(waited.is_err(), "served: {waited:?}");
            vmm.set_vring_addr(0, &commands).unwrap();
            // All that came meanwhile is answered now.
            pair.open().unwrap();
        }
        // The event queue where the command queue is.
        let mut over = events;
        over.used_ring_addr = used;
        vmm.set_vring_addr(1, &over).unwrap();
        met();
        let session = pair.open().unwrap();
        fake.events(session).dqbuf(Buffer::default(), &[]);
        assert!(pair.wait_event(Duration::from_millis(30)).is_none());
        vmm.set_vring_addr(1, &events).unwrap();
        met();
        pair.link.events.kick();
        pair.event();
        for bad in [0, 3, 257] {
            let _ = vmm.set_vring_num(0, bad);
        }
        vmm.set_vring_num(0, commands.queue_size).unwrap();
        g_fmt(&mut pair, session);
    }
}

/// A queue that the device does not have, and features that it does not offer: the VMM hears so,
/// and may go on.
#[test]
fn requests_that_are_refused() {
    let fake = Fake::default();
    let mut pair = vmms::pair(Arc::new(fake.clone()), &Options::of(Vmm::Qemu));
    let features = pair.link.features;
    let vmm = pair.link.frontend();
    vmm.set_features(features | 1 << 60).unwrap_err();
    vmm.set_vring_num(0, 5).unwrap_err();
    vmm.set_vring_num(0, 256).unwrap();
    let memory = pair.link.memory.clone();
    let twice = [memory.region(0), memory.region(0)];
    vmm.set_mem_table(&twice).unwrap_err();
    let both = [memory.region(0), memory.region(1 << 32)];
    vmm.set_mem_table(&both).unwrap();
    let session = pair.open().unwrap();
    g_fmt(&mut pair, session);
}

/// Memory comes and goes region by region.
#[test]
fn memory_slots() {
    let fake = Fake::default();
    let mut pair = vmms::pair(Arc::new(fake.clone()), &Options::of(Vmm::Alioth));
    let session = pair.open().unwrap();
    let mut vmm = pair.link.frontend();
    assert!(vmm.get_max_mem_slots().unwrap() >= 32);
    let memory = pair.link.memory.clone();
    let high = 1 << 32;
    memory.write(high, &ioctl_bytes(session, ioctl::G_FMT, &[0; 208]));
    let response = memory.alloc(216, 16);
    let command = |pair: &mut Pair| {
        let segments = [
            frontend::Segment {
                addr: high,
                len: 16 + 208,
                writable: false,
            },
            frontend::Segment::writable(&response),
        ];
        let ring = &mut pair.link.commands;
        let since = ring.avail_index();
        ring.add(&segments);
        ring.notify(since);
        ring.wait_used(PATIENCE).unwrap().len
    };
    for _ in 0..3 {
        assert_eq!(command(&mut pair), 216);
        vmm.remove_mem_region(&memory.region(high)).unwrap();
        assert_eq!(command(&mut pair), 0);
        vmm.remove_mem_region(&memory.region(high)).unwrap_err();
        vmm.add_mem_region(&memory.region(high)).unwrap();
        vmm.add_mem_region(&memory.region(high)).unwrap_err();
    }
    // Without the memory that the queues are in they rest.
    vmm.remove_mem_region(&memory.region(0)).unwrap();
    vmm.add_mem_region(&memory.region(0)).unwrap();
    g_fmt(&mut pair, session);
    assert_eq!(fake.open_sessions(), [session]);
}

/// A guest may read anywhere in the configuration space; a VMM may end if that fails.
#[test]
fn every_read_of_the_configuration_is_answered() {
    for options in vmms::all() {
        let fake = Fake::default();
        fake.set_config(Config {
            device_caps: 0x1234_5678,
            device_type: 0,
            card: [b'x'; 32],
        });
        let mut pair = vmms::pair(Arc::new(fake), &options);
        let whole = pair.link.config_bytes(0, 256).unwrap();
        assert_eq!(whole[..4], 0x1234_5678_u32.to_le_bytes());
        assert_eq!(whole[39..42], [b'x', 0, 0]);
        for (offset, size) in [(0, 1), (36, 8), (38, 4), (40, 1), (100, 4), (255, 1)] {
            let bytes = pair.link.config_bytes(offset, size).unwrap();
            let expected = &whole[offset as usize..(offset + size) as usize];
            assert_eq!(bytes, expected);
        }
    }
}

/// RESET_DEVICE drops a buffer that has a name, while a mapping waits for the VMM: it does not wait
/// for that.
#[test]
fn a_reset_while_the_vmm_is_asked() {
    let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
    let mut pair = vmms::pair(device, &Options::of(Vmm::Qemu));
    let first = pair.open().unwrap();
    assert!(pair.reqbufs(first, (OUTPUT, 2, MEMORY_MMAP)).unwrap() >= 2);
    pair.expbuf(first, (OUTPUT, 0, 0)).unwrap();
    let offset = mem_offset(&mut pair, first, OUTPUT);
    pair.mmap(first, offset).unwrap();
    // The mapping is now all that keeps the buffer.
    pair.close(first);

    let second = pair.open().unwrap();
    pair.reqbufs(second, (CAPTURE, 2, MEMORY_MMAP)).unwrap();
    let offset = mem_offset(&mut pair, second, CAPTURE);
    let held = pair.link.shared.hold_requests();
    // To be read only: mapped on its own, which takes a word with the VMM.
    let command = CmdMmap::new(second, 0, offset);
    let _late = pair.submit(command.as_bytes(), size_of::<RespMmap>());
    let shared = pair.link.shared.clone();
    wait_until("the VMM is not asked", || shared.is_holding());
    let mut vmm = pair.link.frontend();
    let (done, reset) = mpsc::channel();
    std::thread::spawn(move || done.send(vmm.reset_device().is_ok()));
    let reset = reset.recv_timeout(PATIENCE);
    drop(held);
    assert_eq!(reset, Ok(true), "RESET_DEVICE is not answered");
    pair.restart().unwrap();
    works(&mut pair);
}

#[track_caller]
fn mem_offset(pair: &mut Pair, session: u32, type_: u32) -> u32 {
    let mut buffer = Buffer {
        type_,
        memory: MEMORY_MMAP,
        length: 1,
        ..Buffer::default()
    };
    let mut planes = [Plane::default()];
    pair.buffer(session, ioctl::QUERYBUF, &mut buffer, &mut planes, &[])
        .unwrap();
    u32::try_from(planes[0].m).unwrap()
}

/// The answer to a mapping names where it is.
#[test]
fn mappings_after_a_reset() {
    for vmm in [Vmm::Qemu, Vmm::Crosvm] {
        let device = virtio_v4l2d::device::open(&DeviceSpec::default()).unwrap();
        let mut pair = vmms::pair(device, &Options::of(vmm));
        for _ in 0..3 {
            let session = pair.open().unwrap();
            pair.reqbufs(session, (OUTPUT, 2, MEMORY_MMAP)).unwrap();
            let offset = mem_offset(&mut pair, session, OUTPUT);
            let command = CmdMmap::new(session, 1, offset);
            let reply = pair.command(command.as_bytes(), size_of::<RespMmap>());
            let response = RespMmap::read_from_bytes(reply.written()).unwrap();
            let shared = &pair.link.shared;
            shared.write(response.driver_addr, b"seen").unwrap();
            pair.restart().unwrap();
        }
        assert_eq!(pair.link.shared.violations(), Vec::<String>::new());
    }
}
