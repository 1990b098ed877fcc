// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Well-formed chains whose commands no driver would send, or not then.

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::hand::{Hand, descriptor, ioctl_bytes};
use common::leaks::Holdings;
use frontend::ring::WRITE;
use frontend::{PATIENCE, Segment};
use nix::errno::Errno;
use protocol::wire::command::{CmdIoctl, CmdMmap};
use protocol::wire::ioctl;
use protocol::wire::sg::SgEntry;
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_OUTPUT_MPLANE, Buffer, Edid, ExtControl, ExtControls, Format, MEMORY_USERPTR,
    Plane,
};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn commands_that_are_too_short() {
    let mut hand = Hand::new();
    let session = hand.session;
    let whole = ioctl_bytes(session, ioctl::S_FMT, &[0; 208]);
    for len in 1..whole.len() {
        let reply = hand.pair.command(&whole[..len], 216);
        // A command that is cut within its number is another command, or none.
        let status = reply.status().unwrap();
        assert_eq!(status, Errno::EINVAL as u32, "{len} bytes");
        assert_eq!(hand.fake.calls(), []);
    }
    hand.works();
    // What comes back has no space: the session is not even asked, since its answer would be lost.
    for capacity in 8..216 {
        let reply = hand.pair.command(&whole, capacity);
        assert_eq!(
            reply.status(),
            Some(Errno::EINVAL as u32),
            "{capacity} bytes for the response"
        );
        assert_eq!(hand.fake.calls(), []);
    }
    // Not even a header.
    for capacity in 0..8 {
        let reply = hand.pair.command(&whole, capacity);
        assert_eq!(reply.len, 0);
        hand.fake.calls();
    }
    hand.works();
}

#[test]
fn commands_that_do_not_exist() {
    let mut hand = Hand::new();
    for cmd in [0, 6, 7, 0x100, 0x0300_0000, 0x8000_0003, u32::MAX] {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(&cmd.to_le_bytes());
        let reply = hand.pair.command(&bytes, 64);
        let status = reply.status().unwrap();
        let refused = [Errno::ENOTTY as u32, Errno::EINVAL as u32];
        assert!(refused.contains(&status), "{cmd:#x}: {status}");
        assert_eq!(reply.len, 8);
    }
    hand.works();
}

#[test]
fn sessions_that_do_not_exist() {
    let mut hand = Hand::new();
    for session in [0, hand.session + 1, 0x8000_0000, u32::MAX] {
        let mut format = Format::default();
        assert_eq!(
            hand.pair.ioctl(session, ioctl::G_FMT, &mut format),
            Err(common::UNKNOWN_SESSION)
        );
        hand.pair.close(session);
    }
    assert_eq!(hand.fake.calls(), []);
    assert!(hand.fake.closed().is_empty());
    hand.works();
}

/// Counts of planes, controls and EDID blocks that are over the limit, or that nothing follows.
#[test]
fn counts_of_arrays() {
    let mut hand = Hand::new();
    let session = hand.session;
    let mut refused = |code, payload: &[u8], array: &[u8], capacity: usize| {
        let readable = [CmdIoctl::new(session, code).as_bytes(), payload, array].concat();
        let reply = hand.pair.command(&readable, capacity);
        assert_eq!(reply.status(), Some(Errno::EINVAL as u32));
        assert_eq!(reply.len, 8);
        assert_eq!(hand.fake.calls(), []);
    };
    for length in [9, 64, 1024, 0x0400_0000, 0x0400_0001, u32::MAX] {
        let buffer = Buffer {
            type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            length,
            ..Buffer::default()
        };
        for code in [ioctl::QUERYBUF, ioctl::QBUF, ioctl::PREPARE_BUF] {
            refused(code, buffer.as_bytes(), &[0; 9 * 64], 700);
        }
    }
    for (length, planes) in [(1, 0), (1, 63), (8, 7 * 64), (8, 8 * 64 - 1)] {
        let buffer = Buffer {
            type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            length,
            ..Buffer::default()
        };
        refused(ioctl::QBUF, buffer.as_bytes(), &vec![0; planes], 700);
    }
    for (count, controls) in [
        (1, 0),
        (1, 19),
        (1024, 1023 * 20),
        (1025, 1025 * 20),
        (0x0ccc_cccd, 20),
        (u32::MAX, 20480),
    ] {
        let header = ExtControls {
            count,
            ..ExtControls::default()
        };
        for code in [ioctl::G_EXT_CTRLS, ioctl::S_EXT_CTRLS, ioctl::TRY_EXT_CTRLS] {
            refused(code, header.as_bytes(), &vec![0; controls], 21_000);
        }
    }
    for (blocks, bytes) in [
        (1, 127),
        (257, 257 * 128),
        (0x0200_0001, 128),
        (u32::MAX, 0),
    ] {
        let header = Edid {
            blocks,
            ..Edid::default()
        };
        for code in [ioctl::G_EDID, ioctl::S_EDID] {
            refused(code, header.as_bytes(), &vec![0; bytes], 40_000);
        }
    }
    hand.works();
}

/// SG lists that do not cover what they should, and objects that are missing.
#[test]
fn lists_that_fall_short() {
    let mut hand = Hand::new();
    let session = hand.session;
    let plane = |length| Plane {
        length,
        ..Plane::default()
    };
    let buffer = |memory, planes| Buffer {
        type_: BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        memory,
        length: planes,
        ..Buffer::default()
    };
    let entry = |len| SgEntry::new(0x10_0000, len).as_bytes().to_vec();
    let cases = [
        (1, vec![]),
        (4097, entry(4096)),
        (4096, entry(4096)[..15].to_vec()),
        (4096, entry(0)),
        (4096, [entry(0), entry(4096)].concat()),
        (u32::MAX, vec![0xff; 12]),
        (u32::MAX, entry(u32::MAX - 1)),
    ];
    for (length, list) in cases {
        let (mut header, mut planes) = (buffer(MEMORY_USERPTR, 1), [plane(length)]);
        for code in [ioctl::QBUF, ioctl::PREPARE_BUF] {
            let result = hand
                .pair
                .buffer(session, code, &mut header, &mut planes, &list);
            assert_eq!(result, Err(Errno::EINVAL), "{length:#x}");
        }
        let mut header = ExtControls::default();
        let mut control = [ExtControl {
            size: length,
            ..ExtControl::default()
        }];
        let (code, none) = (ioctl::S_EXT_CTRLS, &mut header);
        let result = hand
            .pair
            .ext_controls(session, code, none, &mut control, &list);
        assert_eq!(result, Err(Errno::EINVAL), "{length:#x}");
    }
    // A long list of empty entries covers nothing, however long it is.
    let empty = [SgEntry::new(0x10_0000, 0); 4096];
    let (mut header, mut planes) = (buffer(MEMORY_USERPTR, 1), [plane(1)]);
    let list = empty.as_bytes();
    let result = hand
        .pair
        .buffer(session, ioctl::QBUF, &mut header, &mut planes, list);
    assert_eq!(result, Err(Errno::EINVAL));

    for objects in [0, 15, 16, 31] {
        let (mut header, mut planes) = (buffer(4, 2), [plane(1); 2]);
        let uuids = vec![0; objects];
        let result = hand
            .pair
            .buffer(session, ioctl::QBUF, &mut header, &mut planes, &uuids);
        assert_eq!(result, Err(Errno::EINVAL), "{objects} bytes of UUIDs");
    }
    assert_eq!(hand.fake.calls(), []);
    hand.works();
}

/// One head again and again while the session is busy: a driver cannot have more commands out than
/// descriptors.
#[test]
fn flood_of_one_head() {
    let mut hand = Hand::new();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    hand.fake.answer(move |call, _| {
        if call.code == ioctl::STREAMON {
            let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
        }
        Ok(())
    });
    let streamon = ioctl_bytes(hand.session, ioctl::STREAMON, &9_u32.to_le_bytes());
    let busy = hand.pair.submit(&streamon, 8);
    // 256 KiB of it, which is kept while it waits.
    let memory = hand.pair.link.memory.clone();
    let long = memory.alloc(256 << 10, 16);
    memory.write(
        long.addr,
        CmdIoctl::new(hand.session, ioctl::G_FMT).as_bytes(),
    );
    let ring = &mut hand.pair.link.commands;
    let indices = ring.take_descriptors(2);
    ring.set_descriptor(indices[0], descriptor(&long, 0, Some(indices[1])));
    ring.set_descriptor(indices[1], descriptor(&hand.response, WRITE, None));
    let before = Holdings::now();
    let flood = |hand: &mut Hand, rounds| {
        for _ in 0..rounds {
            let ring = &mut hand.pair.link.commands;
            for _ in 0..250 {
                ring.make_available(indices[0]);
            }
            ring.kick();
            // More than the ring's size at once is nonsense, and not looked at.
            let deadline = Instant::now() + PATIENCE;
            while ring.avail_event() != ring.avail_index() {
                assert!(Instant::now() < deadline, "the device looks at nothing");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    };
    flood(&mut hand, 8);
    let after = Holdings::now();
    // And many that are small: what is over the ring's size comes back at once.
    let small = memory.place(CmdMmap::new(hand.session, 0, 0).as_bytes());
    let ring = &mut hand.pair.link.commands;
    ring.set_descriptor(indices[0], descriptor(&small, 0, Some(indices[1])));
    let index = ring.used_index();
    flood(&mut hand, 20);
    let back = hand.pair.link.commands.used_index().wrapping_sub(index);
    assert!(back >= 5000 - 256, "only {back} of 5000 came back");
    release.send(()).unwrap();
    let grown = after.anonymous_kb.saturating_sub(before.anonymous_kb) >> 10;
    // 2000 commands are 500 MiB; what a ring holds is 64 MiB.
    assert!(grown < 256, "commands that wait take {grown} MiB");
    drop(busy);
    hand.pair.restart().unwrap();
    hand.fake.answer(|_, _| Ok(()));
    hand.session = hand.pair.open().unwrap();
    hand.fake.calls();
    hand.works();
}

/// A reset while a command runs: its late answer goes nowhere.
#[test]
fn reset_in_mid_command() {
    let mut hand = Hand::new();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    hand.fake.answer(move |call, events| {
        if call.code == ioctl::STREAMON {
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            events.dqbuf(Buffer::default(), &[]);
        }
        Ok(())
    });
    // The daemon waits a while for what is under way: a pause of the VM is to lose nothing.
    for _ in 0..3 {
        let streamon = ioctl_bytes(hand.session, ioctl::STREAMON, &9_u32.to_le_bytes());
        let first = hand.pair.submit(&streamon, 8);
        let second = hand
            .pair
            .submit(CmdMmap::new(hand.session, 1, 0).as_bytes(), 24);
        while hand.fake.calls().is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        hand.pair.restart().unwrap();
        let old = hand.session;
        release.send(()).unwrap();
        drop((first, second));
        hand.session = hand.pair.open().unwrap();
        assert_ne!(hand.session, old);
        hand.works();
        let late = hand.pair.link.commands.wait_used(Duration::from_millis(10));
        assert!(late.is_err(), "{late:?}");
        assert!(hand.pair.poll_event().is_none());
    }
}

/// The VMM goes away while commands run.
#[test]
fn hang_up_in_mid_command() {
    let mut before = None;
    for _ in 0..6 {
        let mut hand = Hand::new();
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        hand.fake.answer(move |call, _| {
            if call.code == ioctl::STREAMON {
                let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
            }
            Ok(())
        });
        let streamon = ioctl_bytes(hand.session, ioctl::STREAMON, &9_u32.to_le_bytes());
        for _ in 0..10 {
            let _ = hand.pair.submit(&streamon, 8);
        }
        while hand.fake.calls().is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        hand.pair.client = None;
        drop(release);
        hand.pair.end();
        assert!(hand.fake.open_sessions().is_empty());
        // From the second round on: tokio keeps files of its own.
        before.get_or_insert_with(Holdings::now).assert_back();
    }
}

/// The guest changes commands, descriptors and rings while the device reads them: what it read is
/// what counts.
#[test]
fn a_guest_that_cannot_keep_still() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let mut hand = Hand::new();
    let memory = hand.pair.link.memory.clone();
    let header = ExtControls {
        count: 1024,
        ..ExtControls::default()
    };
    let whole = [header.as_bytes(), &[0; 1024 * 20]].concat();
    let command = memory.place(&ioctl_bytes(hand.session, ioctl::S_EXT_CTRLS, &whole));
    let response = memory.alloc(8 + 32 + 1024 * 20, 16);
    let stop = Arc::new(AtomicBool::new(false));
    let scribbler = std::thread::spawn({
        let (memory, stop) = (memory.clone(), stop.clone());
        let table = hand.pair.link.commands.descriptor_table();
        let count = command.addr + 16 + 4;
        move || {
            let mut n = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                memory.store(count, [0, 1, 1024, 1025, u32::MAX][n as usize >> 8 & 3]);
                // The length, and the flags and successor, of some descriptor.
                let at = table + 16 * u64::from(n >> 24);
                memory.store(at + 8, n >> 12 & 0x7fff);
                memory.store(at + 12, n >> 4 & 0x00ff_0007);
            }
        }
    });
    let segments = [Segment::readable(&command), Segment::writable(&response)];
    for _ in 0..3000 {
        let ring = &mut hand.pair.link.commands;
        let since = ring.avail_index();
        ring.add(&segments);
        ring.notify(since);
        ring.wait_used(PATIENCE)
            .expect("a command does not come back");
        // Its descriptors are free again: which they are does not matter here.
    }
    stop.store(true, Ordering::Relaxed);
    scribbler.join().unwrap();
    for call in hand.fake.calls() {
        // One reading: the array is as long as the header says, whatever it says now.
        let (header, _) = ExtControls::read_from_prefix(&call.payload).unwrap();
        if call.code == ioctl::S_EXT_CTRLS {
            assert_eq!(call.array.len(), 20 * header.count as usize);
        }
    }
    hand.pair.restart().unwrap();
    hand.session = hand.pair.open().unwrap();
    hand.fake.calls();
    hand.works();
    assert_eq!(common::panics(), 0);
}
