// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! MMAP and MUNMAP: buffers of the device in shared memory region 0.

mod common;

use std::sync::Arc;

use common::Pair;
use common::fake::Fake;
use frontend::{Options, WireEvent};
use nix::errno::Errno;
use protocol::wire::command::{CmdMmap, RespMmap};
use protocol::wire::v4l2::Buffer;
use virtio_v4l2d::config::Limits;
use virtio_v4l2d::memory::{HostBuffer, Vm};
use zerocopy::{FromBytes, IntoBytes};

fn pair() -> (Fake, Pair) {
    let fake = Fake::default();
    let pair = Pair::new(Arc::new(fake.clone()));
    (fake, pair)
}

/// A buffer of the device, of `len` bytes.
fn host_buffer(len: usize) -> Result<Arc<HostBuffer>, Errno> {
    Vm::without_guest().buffer(len)
}

#[track_caller]
fn assert_no_violation(pair: &Pair) {
    let none: Vec<String> = Vec::new();
    assert_eq!(pair.link.shared.violations(), none);
}

/// Guest and device see one memory; the length is the buffer's, whatever pages it fills.
#[test]
fn a_mapped_buffer_is_shared() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    for len in [1, 4095, 4096, 4097, 1_382_400] {
        let buffer = host_buffer(len).unwrap();
        fake.set_buffer(0x1000, Some(buffer.clone()));
        let mapping = pair.mmap(session, 0x1000).unwrap();
        // "MUST always be equal to the length of the buffer"
        assert_eq!(mapping.len, len as u64);
        assert_eq!(mapping.addr % 4096, 0);

        buffer.write_at(len - 1, &[0x77]).unwrap();
        let seen = pair.link.shared.read(mapping.addr + len as u64 - 1, 1);
        assert_eq!(seen.unwrap(), [0x77]);
        pair.link.shared.write(mapping.addr, &[0x66]).unwrap();
        let mut seen = [0];
        buffer.read_at(0, &mut seen).unwrap();
        assert_eq!(seen, [0x66]);

        pair.munmap(mapping.addr).unwrap();
        pair.link.shared.read(mapping.addr, 1).unwrap_err();
    }
    assert_eq!(pair.link.shared.requests(), (5, 5));
    assert_no_violation(&pair);
}

/// Without VIRTIO_MEDIA_MMAP_FLAG_RW the guest only reads.
#[test]
fn read_only_mappings() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    fake.set_buffer(0, Some(host_buffer(4096).unwrap()));
    let mapping = pair.mmap_with(session, 0, 0).unwrap();
    assert_eq!(pair.link.shared.writable(mapping.addr), Some(false));
    pair.link.shared.read(mapping.addr, 4096).unwrap();
    pair.link.shared.write(mapping.addr, &[1]).unwrap_err();
    let writable = pair.mmap(session, 0).unwrap();
    assert_eq!(pair.link.shared.writable(writable.addr), Some(true));
    assert_no_violation(&pair);
}

/// A buffer may be mapped more than once, and each mapping has its own address and its own end.
#[test]
fn mappings_of_one_buffer() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    let buffer = host_buffer(8192).unwrap();
    fake.set_buffer(0, Some(buffer));
    let first = pair.mmap(session, 0).unwrap();
    let second = pair.mmap(session, 0).unwrap();
    // One place, which is given up with the last of them.
    assert_eq!(first.addr, second.addr);
    pair.link.shared.write(first.addr, b"same").unwrap();
    assert_eq!(pair.link.shared.read(second.addr, 4).unwrap(), b"same");
    pair.munmap(first.addr).unwrap();
    assert_eq!(pair.link.shared.read(second.addr, 4).unwrap(), b"same");
    pair.munmap(second.addr).unwrap();
    assert_eq!(pair.link.shared.mapped(), 0);
    assert_no_violation(&pair);
}

/// "The device MUST keep mappings […] valid until VIRTIO_MEDIA_CMD_MUNMAP is called, even if the
/// buffers or session they belong to are released or closed by the driver."
#[test]
fn a_mapping_outlives_buffer_and_session() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    let buffer = host_buffer(4096).unwrap();
    buffer.write_at(0, b"still here").unwrap();
    fake.set_buffer(0, Some(buffer));
    let mapping = pair.mmap(session, 0).unwrap();
    fake.set_buffer(0, None);
    pair.close(session);
    assert_eq!(fake.closed(), [session]);
    let seen = pair.link.shared.read(mapping.addr, 10).unwrap();
    assert_eq!(seen, b"still here");
    pair.munmap(mapping.addr).unwrap();
    assert_eq!(pair.link.shared.mapped(), 0);
    assert_no_violation(&pair);
}

#[test]
fn nonsense_is_refused() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    fake.set_buffer(0x1000, Some(host_buffer(3 * 4096).unwrap()));
    for offset in [0, 1, 0xfff, 0x1001, 0x2000, 0x7fff_ffff, u32::MAX] {
        assert_eq!(
            pair.mmap(session, offset),
            Err(Errno::EINVAL),
            "{offset:#x}"
        );
    }
    for session in [0, session + 1, u32::MAX] {
        assert_eq!(pair.mmap(session, 0x1000), Err(common::UNKNOWN_SESSION));
    }
    for flags in [2, 3, 0x8000_0000, u32::MAX] {
        assert_eq!(pair.mmap_with(session, flags, 0x1000), Err(Errno::EINVAL));
    }
    // The command is 20 bytes: not 19, and what follows is not looked at.
    let command = CmdMmap::new(session, 1, 0x1000);
    let reply = pair.command(&command.as_bytes()[..19], 24);
    assert_eq!(reply.status(), Some(Errno::EINVAL as u32));
    let reply = pair.command(command.as_bytes(), 23);
    assert_eq!(
        reply.status(),
        Some(Errno::EINVAL as u32),
        "no space for the response"
    );
    assert_eq!(pair.link.shared.requests(), (0, 0));

    let mapping = pair.mmap(session, 0x1000).unwrap();
    for addr in [1, 4096, 8192, 12288, 1 << 32, u64::MAX - 4095, u64::MAX] {
        let addr = mapping.addr.wrapping_add(addr);
        assert_eq!(pair.munmap(addr), Err(Errno::EINVAL), "{addr:#x}");
    }
    pair.munmap(mapping.addr).unwrap();
    assert_eq!(pair.munmap(mapping.addr), Err(Errno::EINVAL));
    assert_no_violation(&pair);
}

/// When the region is full MMAP fails, and works again when something is unmapped.
#[test]
fn a_full_region() {
    let fake = Fake::default();
    let limits = Limits {
        shm_size: 64 << 10,
        ..Limits::default()
    };
    let mut pair = Pair::limited(Arc::new(fake.clone()), &Options::default(), limits);
    assert_eq!(pair.link.shared.size(), 64 << 10);
    let session = pair.open().unwrap();
    let another = || fake.set_buffer(0, Some(host_buffer(10_000).unwrap()));
    let mut mappings = Vec::new();
    another();
    while let Ok(mapping) = pair.mmap(session, 0) {
        mappings.push(mapping.addr);
        another();
    }
    assert_eq!(mappings.len(), 5);
    assert_eq!(pair.mmap(session, 0), Err(Errno::ENOMEM));
    pair.munmap(mappings[2]).unwrap();
    assert_eq!(pair.mmap(session, 0).unwrap().addr, mappings[2]);
    assert_no_violation(&pair);
}

/// A VMM that has no shared memory regions: MMAP fails, all else works.
#[test]
fn a_vmm_without_shared_memory() {
    let fake = Fake::default();
    let options = Options {
        shmem: false,
        ..Options::default()
    };
    let mut pair = Pair::with(Arc::new(fake.clone()), &options);
    let session = pair.open().unwrap();
    let buffer = host_buffer(4096).unwrap();
    fake.set_buffer(0, Some(buffer.clone()));
    let refused = pair.mmap(session, 0).unwrap_err();
    assert!(
        matches!(refused, Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::ENODEV),
        "{refused}"
    );
    assert_eq!(Arc::strong_count(&buffer), 2, "the test's and the fake's");
    pair.open().unwrap();
}

/// A guest's reboot takes sessions and mappings with it.
#[test]
fn reset_ends_sessions_and_mappings() {
    let (fake, mut pair) = pair();
    fake.set_buffer(0, Some(host_buffer(4096).unwrap()));
    for _ in 0..3 {
        let session = pair.open().unwrap();
        let before = pair.link.shared.requests().0;
        for _ in 0..4 {
            pair.mmap(session, 0).unwrap();
        }
        assert_eq!(pair.link.shared.requests().0, before + 1);
        pair.restart().unwrap();
        // Asynchronous on both sides; new mappings do not collide with what is not undone yet.
        let session = pair.open().unwrap();
        let mapping = pair.mmap(session, 0).unwrap();
        pair.munmap(mapping.addr).unwrap();
        let deadline = std::time::Instant::now() + frontend::PATIENCE;
        while pair.link.shared.mapped() > 0 {
            assert!(std::time::Instant::now() < deadline, "mappings stay");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        pair.close(session);
    }
    assert_no_violation(&pair);
    assert!(fake.open_sessions().is_empty());
}

/// A VM that is paused goes on with its sessions, mappings and events; what it had asked is
/// answered.
#[test]
fn a_pause() {
    let (fake, mut pair) = pair();
    let session = pair.open().unwrap();
    fake.set_buffer(0, Some(host_buffer(4096).unwrap()));
    let mapping = pair.mmap(session, 0).unwrap();
    for round in 0..5_u32 {
        let bases = pair.link.pause().unwrap();
        fake.events(session).dqbuf(
            Buffer {
                index: round,
                ..Buffer::default()
            },
            &[],
        );
        // The guest does not run, but its last command may be there already.
        let command = CmdMmap::new(session, 1, 0);
        let late = pair.submit(command.as_bytes(), 24);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(pair.poll_event().is_none());
        pair.link.resume(bases).unwrap();
        let reply = pair.wait(late);
        assert_eq!(reply.status(), Some(0));
        let addr = RespMmap::read_from_bytes(reply.written())
            .unwrap()
            .driver_addr;
        assert_eq!(addr, mapping.addr);
        pair.munmap(addr).unwrap();
        let WireEvent::Dqbuf(event) = pair.event() else {
            panic!("not a DQBUF")
        };
        assert_eq!((event.hdr.session_id, event.buffer.index), (session, round));
        pair.link.shared.write(mapping.addr, b"goes on").unwrap();
    }
    assert_eq!(fake.open_sessions(), [session]);
    pair.munmap(mapping.addr).unwrap();
    assert_no_violation(&pair);
}
