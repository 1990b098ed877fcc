// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Rings and chains that no driver would make. Each is survived, each command that can be given
//! back is, and the next good command works.

mod common;

use common::hand::{Hand, QUIET, descriptor, ioctl_bytes, table};
use frontend::memory::Block;
use frontend::ring::{INDIRECT, NEXT, WRITE};
use frontend::{Descriptor, Options, PATIENCE, Segment};
use protocol::wire::command::{CmdIoctl, CmdOpen};
use protocol::wire::ioctl;
use zerocopy::IntoBytes;

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
    for capacity in 0..16 {
        let used = hand.submit(2, |i, hand| {
            let mut last = hand.writable(None);
            last.len = capacity;
            vec![descriptor(&open, 0, Some(i[1])), last]
        });
        assert!(used.len <= capacity);
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

    // "A driver MUST NOT set both VIRTQ_DESC_F_INDIRECT and VIRTQ_DESC_F_NEXT": whatever it is, it
    // ends.
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

/// A chain whose response goes into the ring itself: the guest harms itself. After a reset all is
/// well.
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

/// Guest memory comes and goes while the device runs.
#[test]
fn memory_that_is_taken_away() {
    use vhost::VhostBackend;

    let mut hand = Hand::new();
    let high = 1 << 32;
    let memory = hand.pair.link.memory.clone();
    let vmm = hand.pair.link.frontend();
    let both = [memory.region(0), memory.region(high)];
    let in_high = |i: &[u16], hand: &Hand| {
        let mut first = hand.readable(Some(i[1]));
        first.addr = high;
        vec![first, hand.writable(None)]
    };
    for _ in 0..3 {
        memory.write(high, &hand.command.bytes());
        let used = hand.submit(2, in_high);
        assert_eq!(used.len, 8 + 208);
        hand.fake.calls();
        vmm.set_mem_table(&both[..1]).unwrap();
        hand.refused(2, in_high);
        vmm.set_mem_table(&both).unwrap();
    }
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
