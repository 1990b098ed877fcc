// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Rings and chains that no driver would make. Each is survived, each command that can be given back is, and the
//! next good command works.

mod common;

use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use common::fake::Fake;
use common::leaks::Holdings;
use common::{Pair, alone};
use frontend::memory::Block;
use frontend::ring::{INDIRECT, NEXT, WRITE};
use frontend::{Descriptor, Options, PATIENCE, Segment, Used};
use nix::errno::Errno;
use protocol::wire::command::{CmdIoctl, CmdMmap, CmdOpen};
use protocol::wire::ioctl;
use protocol::wire::sg::SgEntry;
use protocol::wire::v4l2::{
    BUF_TYPE_VIDEO_OUTPUT_MPLANE, Buffer, ExtControls, Format, MEMORY_USERPTR,
};
use zerocopy::{FromBytes, IntoBytes};

/// Long enough to say that nothing comes.
const QUIET: Duration = Duration::from_millis(50);

/// A connection, a session, a command that works and room for its response.
struct Hand {
    fake: Fake,
    pair: Pair,
    session: u32,
    command: Block,
    response: Block,
    /// Tests here count what the process holds: one at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Hand {
    fn new() -> Self {
        Self::with(&Options::default())
    }

    fn with(options: &Options) -> Self {
        let alone = alone();
        let fake = Fake::default();
        let mut pair = Pair::with(Arc::new(fake.clone()), options);
        let session = pair.open().unwrap();
        let command = ioctl_bytes(session, ioctl::G_FMT, &[0; 208]);
        let command = pair.link.memory.place(&command);
        let response = pair.link.memory.alloc(8 + 208, 16);
        Self {
            fake,
            pair,
            session,
            command,
            response,
            _alone: alone,
        }
    }

    /// Makes a chain available whose descriptors are `make` of fresh indices, and waits for it to come back.
    #[track_caller]
    fn submit(
        &mut self,
        count: usize,
        make: impl FnOnce(&[u16], &Self) -> Vec<Descriptor>,
    ) -> Used {
        let indices = self.pair.link.commands.take_descriptors(count);
        let descriptors = make(&indices, self);
        let ring = &mut self.pair.link.commands;
        for (index, descriptor) in indices.iter().zip(descriptors) {
            ring.set_descriptor(*index, descriptor);
        }
        ring.make_available(indices[0]);
        ring.kick();
        let used = ring
            .wait_used(PATIENCE)
            .expect("a malformed command does not come back");
        assert_eq!(used.id, u32::from(indices[0]));
        ring.give_descriptors(indices);
        used
    }

    /// As `submit`; the device writes nothing, and the session is not asked.
    #[track_caller]
    fn refused(&mut self, count: usize, make: impl FnOnce(&[u16], &Self) -> Vec<Descriptor>) {
        let used = self.submit(count, make);
        assert_eq!(used.len, 0);
        assert_eq!(self.fake.calls(), []);
        self.works();
    }

    /// The next good command works.
    #[track_caller]
    fn works(&mut self) {
        self.pair
            .ioctl(self.session, ioctl::G_FMT, &mut Format::default())
            .unwrap();
        assert_eq!(self.fake.calls().len(), 1);
    }

    fn readable(&self, next: Option<u16>) -> Descriptor {
        descriptor(&self.command, 0, next)
    }

    fn writable(&self, next: Option<u16>) -> Descriptor {
        descriptor(&self.response, WRITE, next)
    }
}

fn descriptor(block: &Block, flags: u16, next: Option<u16>) -> Descriptor {
    Descriptor {
        addr: block.addr,
        len: block.len,
        flags: flags | if next.is_some() { NEXT } else { 0 },
        next: next.unwrap_or(0),
    }
}

/// An IOCTL command with `payload`.
fn ioctl_bytes(session: u32, code: u32, payload: &[u8]) -> Vec<u8> {
    [CmdIoctl::new(session, code).as_bytes(), payload].concat()
}

fn table(descriptors: &[Descriptor]) -> Vec<u8> {
    descriptors.iter().flat_map(|d| d.to_bytes()).collect()
}

/// The chain that the others are broken from does work.
#[test]
fn a_chain_by_hand() {
    let mut hand = Hand::new();
    let used = hand.submit(2, |i, hand| {
        vec![hand.readable(Some(i[1])), hand.writable(None)]
    });
    assert_eq!(used.len, 8 + 208);
    assert_eq!(hand.fake.calls().len(), 1);
    hand.works();
}

#[test]
fn loops() {
    let mut hand = Hand::new();
    hand.refused(1, |i, hand| vec![hand.readable(Some(i[0]))]);
    hand.refused(1, |i, hand| vec![hand.writable(Some(i[0]))]);
    hand.refused(2, |i, hand| {
        vec![hand.readable(Some(i[1])), hand.writable(Some(i[0]))]
    });
    hand.refused(3, |i, hand| {
        vec![
            hand.readable(Some(i[1])),
            hand.writable(Some(i[2])),
            hand.writable(Some(i[1])),
        ]
    });
}

#[test]
fn successors_that_do_not_exist() {
    let mut hand = Hand::new();
    for next in [256, 257, 0x7fff, 0xffff] {
        hand.refused(1, |_, hand| vec![hand.readable(Some(next))]);
        hand.refused(2, |i, hand| {
            vec![hand.readable(Some(i[1])), hand.writable(Some(next))]
        });
    }
}

/// Memory in the hole, beyond the end, across an end, and around the end of the address space.
#[test]
fn addresses_outside_of_memory() {
    let mut hand = Hand::new();
    let end = hand.pair.link.memory.end();
    let low_end = 32 << 20;
    for (addr, len) in [
        (low_end, 16),
        (low_end - 15, 16),
        (0x8000_0000, 224),
        ((1 << 32) - 1, 224),
        (end - 223, 224),
        (end, 1),
        (1 << 63, 224),
        (u64::MAX - 223, 224),
        (u64::MAX, 1),
        (u64::MAX - 100, 224),
        (0x1000, 0xffff_f000),
    ] {
        hand.refused(2, |i, hand| {
            let mut first = hand.readable(Some(i[1]));
            (first.addr, first.len) = (addr, len);
            vec![first, hand.writable(None)]
        });
        // The device cannot write there; that the command ran is nobody's loss.
        let used = hand.submit(2, |i, hand| {
            let mut last = hand.writable(None);
            (last.addr, last.len) = (addr, len);
            vec![hand.readable(Some(i[1])), last]
        });
        assert!(used.len < 224, "{addr:#x}");
        hand.fake.calls();
        hand.works();
    }
}

#[test]
fn readable_after_writable() {
    let mut hand = Hand::new();
    hand.refused(2, |i, hand| {
        vec![hand.writable(Some(i[1])), hand.readable(None)]
    });
    hand.refused(3, |i, hand| {
        vec![
            hand.readable(Some(i[1])),
            hand.writable(Some(i[2])),
            hand.readable(None),
        ]
    });
}

#[test]
fn parts_that_are_missing() {
    let mut hand = Hand::new();
    // Nothing to read.
    let used = hand.submit(1, |_, hand| vec![hand.writable(None)]);
    assert!(used.len <= 8);
    assert_eq!(hand.fake.calls(), []);
    hand.works();
    // Nothing to write: the guest does not hear of it.
    let used = hand.submit(1, |_, hand| vec![hand.readable(None)]);
    assert_eq!(used.len, 0);
    hand.fake.calls();
    hand.works();
    // A session whose ID has nowhere to go is not opened.
    let open = hand.pair.link.memory.place(CmdOpen::new().as_bytes());
    for room in 0..16 {
        let used = hand.submit(2, |i, hand| {
            let mut last = hand.writable(None);
            last.len = room;
            vec![descriptor(&open, 0, Some(i[1])), last]
        });
        assert!(used.len <= room);
    }
    assert_eq!(hand.fake.open_sessions(), [hand.session]);
    hand.works();
}

#[test]
fn empty_descriptors() {
    let mut hand = Hand::new();
    let empty = |descriptor: Descriptor| Descriptor {
        len: 0,
        ..descriptor
    };
    let used = hand.submit(1, |_, hand| vec![empty(hand.readable(None))]);
    assert_eq!(used.len, 0);
    hand.works();
    let used = hand.submit(2, |i, hand| {
        vec![empty(hand.readable(Some(i[1]))), empty(hand.writable(None))]
    });
    assert_eq!(used.len, 0);
    hand.works();
    // They are in the way of nothing, even where there is no memory.
    let used = hand.submit(5, |i, hand| {
        let nowhere = Descriptor {
            addr: 0,
            ..empty(hand.readable(Some(i[1])))
        };
        vec![
            nowhere,
            hand.readable(Some(i[2])),
            empty(hand.readable(Some(i[3]))),
            empty(hand.writable(Some(i[4]))),
            hand.writable(None),
        ]
    });
    assert_eq!(used.len, 8 + 208);
    hand.fake.calls();
    hand.works();
}

#[test]
fn indirect_tables() {
    let mut hand = Hand::new();
    let memory = hand.pair.link.memory.clone();
    let (first, second) = (hand.readable(Some(1)), hand.writable(None));
    let good = memory.place(&table(&[first, second]));
    let indirect = |block: &Block| Descriptor {
        addr: block.addr,
        len: block.len,
        flags: INDIRECT,
        next: 0,
    };

    // Right. The WRITE flag of the descriptor that points to a table means nothing.
    for flags in [INDIRECT, INDIRECT | WRITE] {
        let used = hand.submit(1, |_, _| {
            vec![Descriptor {
                flags,
                ..indirect(&good)
            }]
        });
        assert_eq!(used.len, 8 + 208);
        hand.fake.calls();
    }

    // Of a length that is none.
    for len in [0, 1, 15, 17, 33] {
        hand.refused(1, |_, _| {
            vec![Descriptor {
                len,
                ..indirect(&good)
            }]
        });
    }
    // Longer than memory, or not in it.
    for (addr, len) in [
        (memory.end(), 32),
        (memory.end() - 16, 32),
        (u64::MAX - 15, 32),
        (!15, 0xffff_fff0),
    ] {
        let used = hand.submit(1, |_, _| {
            vec![Descriptor {
                addr,
                len,
                ..indirect(&good)
            }]
        });
        assert_eq!(used.len, 0);
        assert_eq!(hand.fake.calls(), []);
        hand.works();
    }

    // Nested, also in itself.
    let nested = memory.place(&table(&[indirect(&good)]));
    hand.refused(1, |_, _| vec![indirect(&nested)]);
    let own = memory.alloc(16, 16);
    memory.write(own.addr, &indirect(&own).to_bytes());
    hand.refused(1, |_, _| vec![indirect(&own)]);
    let behind = memory.place(&table(&[hand.readable(Some(1)), indirect(&good)]));
    hand.refused(1, |_, _| vec![indirect(&behind)]);

    // Loops and successors that do not exist, in the table.
    for next in [0, 1, 2, 255, 0xffff] {
        let block = memory.place(&table(&[hand.readable(Some(1)), hand.writable(Some(next))]));
        hand.refused(1, |_, _| vec![indirect(&block)]);
    }

    // "A driver MUST NOT set both VIRTQ_DESC_F_INDIRECT and VIRTQ_DESC_F_NEXT": whatever it is, it ends.
    let used = hand.submit(2, |i, hand| {
        vec![
            Descriptor {
                flags: INDIRECT | NEXT,
                next: i[1],
                ..indirect(&good)
            },
            hand.writable(None),
        ]
    });
    assert!(used.len <= 8 + 208);
    hand.fake.calls();
    hand.works();

    // A table of 65536 single bytes, and one as long as memory allows.
    let many: Vec<Descriptor> = (0..=0xffff_u32)
        .map(|n| Descriptor {
            addr: hand.command.addr,
            len: 1,
            flags: if n == 0xffff { 0 } else { NEXT },
            next: (n as u16).wrapping_add(1),
        })
        .collect();
    let many = memory.place(&table(&many));
    let used = hand.submit(1, |_, _| vec![indirect(&many)]);
    assert_eq!(used.len, 0);
    hand.works();
}

/// The features that nobody negotiated are not there.
#[test]
fn indirect_without_the_feature() {
    let mut hand = Hand::with(&Options {
        indirect: false,
        ..Options::default()
    });
    let good = table(&[hand.readable(Some(1)), hand.writable(None)]);
    let good = hand.pair.link.memory.place(&good);
    let used = hand.submit(1, |_, _| {
        vec![Descriptor {
            addr: good.addr,
            len: good.len,
            flags: INDIRECT,
            next: 0,
        }]
    });
    assert!(used.len <= 8 + 208);
    hand.fake.calls();
    hand.works();
}

#[test]
fn flags_that_do_not_exist() {
    let mut hand = Hand::new();
    let used = hand.submit(2, |i, hand| {
        let mut first = hand.readable(Some(i[1]));
        first.flags |= 0xfff8;
        vec![first, hand.writable(None)]
    });
    assert!(used.len <= 8 + 208);
    hand.fake.calls();
    hand.works();
}

/// More bytes than a command can have, in few descriptors and in many.
#[test]
fn commands_that_are_too_long() {
    let mut hand = Hand::new();
    let memory = hand.pair.link.memory.clone();
    let long = memory.alloc(8 << 20, 16);
    let start = CmdIoctl::new(hand.session, ioctl::G_FMT);
    memory.write(long.addr, start.as_bytes());
    hand.refused(2, |i, hand| {
        vec![descriptor(&long, 0, Some(i[1])), hand.writable(None)]
    });
    // The same memory over and over.
    hand.refused(200, |i, hand| {
        (0..199)
            .map(|n| descriptor(&long, 0, Some(i[n + 1])))
            .chain([hand.writable(None)])
            .collect()
    });
    // Room of 200 times 8 MiB costs the device nothing; a length of 32 bits does not wrap.
    let used = hand.submit(200, |i, hand| {
        let mut all = vec![hand.readable(Some(i[1]))];
        all.extend((1..199).map(|n| descriptor(&long, WRITE, Some(i[n + 1]))));
        all.push(descriptor(&long, WRITE, None));
        all
    });
    assert_eq!(used.len, 8 + 208);
    hand.fake.calls();
    hand.works();
}

#[test]
fn heads_that_do_not_exist() {
    let mut hand = Hand::new();
    for head in [256, 257, 0x8000, 0xffff] {
        hand.pair.link.commands.make_available(head);
        hand.pair.link.commands.kick();
        // It cannot be given back: there is no such descriptor.
        hand.works();
    }
}

#[test]
fn jumps_of_the_available_index() {
    let mut hand = Hand::new();
    for jump in [257, 1000, 0x8000, 0xff00, 0xffff] {
        let ring = &mut hand.pair.link.commands;
        let right = ring.avail_index();
        ring.set_avail_index(right.wrapping_add(jump));
        ring.kick();
        std::thread::sleep(QUIET);
        assert_eq!(hand.fake.calls(), [], "jump of {jump}");
        // The driver comes to its senses.
        hand.pair.link.commands.set_avail_index(right);
        hand.works();
    }
}

/// Entries of the ring that were never written, or again: heads of old chains.
#[test]
fn stale_entries() {
    let mut hand = Hand::new();
    let ring = &mut hand.pair.link.commands;
    let right = ring.avail_index();
    ring.set_avail_index(right.wrapping_add(100));
    ring.kick();
    for _ in 0..100 {
        // Whatever they are made of, they come back.
        hand.pair.link.commands.wait_used(PATIENCE).unwrap();
    }
    hand.fake.calls();
    hand.works();
}

/// A chain whose response goes into the ring itself: the guest harms itself. After a reset all is well.
#[test]
fn responses_into_the_ring() {
    let mut hand = Hand::new();
    for at in [0, 16 * 256 - 100] {
        let ring_start = hand.pair.link.commands.descriptor_table() + at;
        let ring = &mut hand.pair.link.commands;
        let indices = ring.take_descriptors(2);
        ring.set_descriptor(
            indices[1],
            Descriptor {
                addr: ring_start,
                len: 4096,
                flags: WRITE,
                next: 0,
            },
        );
        ring.set_descriptor(indices[0], descriptor(&hand.command, 0, Some(indices[1])));
        ring.make_available(indices[0]);
        ring.kick();
        std::thread::sleep(QUIET);
        hand.pair.restart().unwrap();
        hand.fake.calls();
        hand.session = hand.pair.open().unwrap();
        hand.works();
        let command = ioctl_bytes(hand.session, ioctl::G_FMT, &[0; 208]);
        hand.command = hand.pair.link.memory.place(&command);
    }
}

// What stands in a chain.

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
    // What comes back has no room: the session is not even asked, since its answer would be lost.
    for room in 8..216 {
        let reply = hand.pair.command(&whole, room);
        assert_eq!(reply.status(), Some(Errno::EINVAL as u32), "room of {room}");
        assert_eq!(hand.fake.calls(), []);
    }
    // Not even a header.
    for room in 0..8 {
        let reply = hand.pair.command(&whole, room);
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
    let mut refused = |code, payload: &[u8], array: &[u8], room: usize| {
        let readable = [CmdIoctl::new(session, code).as_bytes(), payload, array].concat();
        let reply = hand.pair.command(&readable, room);
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
        let header = protocol::wire::v4l2::Edid {
            blocks,
            ..protocol::wire::v4l2::Edid::default()
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
    let plane = |length| protocol::wire::v4l2::Plane {
        length,
        ..protocol::wire::v4l2::Plane::default()
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
        let mut control = [protocol::wire::v4l2::ExtControl {
            size: length,
            ..protocol::wire::v4l2::ExtControl::default()
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

// Time.

/// One head again and again while the session is busy: a driver cannot have more commands out than descriptors.
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
    flood(&mut hand, 20);
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
    // 5000 commands are 1.2 GiB; what a ring holds is 64 MiB.
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

/// Guest memory comes and goes while the device runs.
#[test]
fn memory_that_is_taken_away() {
    use vhost::vhost_user::VhostUserFrontend;

    let mut hand = Hand::new();
    let high = 1 << 32;
    let memory = hand.pair.link.memory.clone();
    let mut there = hand.pair.link.frontend();
    let region = memory.region(high);
    for _ in 0..3 {
        memory.write(high, &hand.command.bytes());
        let used = hand.submit(2, |i, hand| {
            let mut first = hand.readable(Some(i[1]));
            first.addr = high;
            vec![first, hand.writable(None)]
        });
        assert_eq!(used.len, 8 + 208);
        hand.fake.calls();
        there.remove_mem_region(&region).unwrap();
        hand.refused(2, |i, hand| {
            let mut first = hand.readable(Some(i[1]));
            first.addr = high;
            vec![first, hand.writable(None)]
        });
        there.add_mem_region(&region).unwrap();
    }
}

/// The guest changes commands, descriptors and rings while the device reads them: what it read is what counts.
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

/// Kicks without work, and work without kicks.
#[test]
fn kicks() {
    let mut hand = Hand::new();
    for _ in 0..1000 {
        hand.pair.link.commands.kick();
        hand.pair.link.events.kick();
    }
    hand.works();
    let ring = &mut hand.pair.link.commands;
    let segments = [
        Segment::readable(&hand.command),
        Segment::writable(&hand.response),
    ];
    for _ in 0..100 {
        ring.add(&segments);
    }
    ring.kick();
    for _ in 0..100 {
        ring.wait_used(PATIENCE).unwrap();
    }
    assert_eq!(hand.fake.calls().len(), 100);
}
