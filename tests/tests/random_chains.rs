// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Whole rings of random content. Whatever they are, the daemon lives, and after a reset the next
//! command works.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::fake::Fake;
use common::{Pair, alone, panics};
use frontend::ring::{INDIRECT, NEXT, WRITE};
use frontend::{Descriptor, Options};
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::wire::command::CmdIoctl;
use protocol::wire::ioctl;
use protocol::wire::v4l2::Format;
use zerocopy::IntoBytes;

const SIZE: u16 = 16;

/// Where a descriptor points.
#[derive(Clone, Debug)]
enum Place {
    /// A command, plausible or not.
    Command,
    /// Zeros.
    Blank,
    /// A table of descriptors, which are random as well.
    Table(u16),
    /// The ring itself.
    Ring(u16),
    /// Just before the end of a run of memory.
    Edge(u16),
    /// Anywhere.
    Anywhere(u64),
}

#[derive(Clone, Debug)]
struct RandomDescriptor {
    place: Place,
    len: u32,
    flags: u16,
    next: u16,
}

fn descriptors() -> impl Strategy<Value = RandomDescriptor> {
    let place = prop_oneof![
        4 => Just(Place::Command),
        4 => Just(Place::Blank),
        2 => (0_u16..256).prop_map(Place::Table),
        1 => (0_u16..512).prop_map(Place::Ring),
        1 => (0_u16..64).prop_map(Place::Edge),
        1 => any::<u64>().prop_map(Place::Anywhere),
    ];
    let len = prop_oneof![
        4 => 0_u32..300,
        2 => (0_u32..20).prop_map(|n| 16 * n),
        1 => any::<u32>(),
    ];
    let flags = prop_oneof![
        8 => (0_u16..8).prop_map(|bits| bits & (NEXT | WRITE)),
        2 => Just(INDIRECT),
        1 => any::<u16>(),
    ];
    let next = prop_oneof![8 => 0..SIZE, 1 => any::<u16>()];
    (place, len, flags, next).prop_map(|(place, len, flags, next)| RandomDescriptor {
        place,
        len,
        flags,
        next,
    })
}

/// A command whose number, session and ioctl are plausible, and the rest is not.
fn commands() -> impl Strategy<Value = Vec<u8>> {
    let plausible = (0_u32..7, 0_u32..4, 0_u32..110, vec(any::<u8>(), 0..600)).prop_map(
        |(cmd, session, code, rest)| {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&cmd.to_le_bytes());
            bytes[8..12].copy_from_slice(&session.to_le_bytes());
            bytes[12..].copy_from_slice(&code.to_le_bytes());
            bytes.extend(rest);
            bytes
        },
    );
    prop_oneof![4 => plausible, 1 => vec(any::<u8>(), 1..600)]
}

#[derive(Clone, Debug)]
struct Scene {
    command: Vec<u8>,
    ring: Vec<RandomDescriptor>,
    table: Vec<RandomDescriptor>,
    heads: Vec<u16>,
    jump: u16,
    event_queue: bool,
}

fn scenes() -> impl Strategy<Value = Scene> {
    (
        commands(),
        vec(descriptors(), usize::from(SIZE)),
        vec(descriptors(), 0..40),
        vec(prop_oneof![8 => 0..SIZE, 1 => any::<u16>()], 1..40),
        prop_oneof![3 => Just(0_u16), 1 => 0_u16..40, 1 => any::<u16>()],
        any::<bool>(),
    )
        .prop_map(|(command, ring, table, heads, jump, event_queue)| Scene {
            command,
            ring,
            table,
            heads,
            jump,
            event_queue,
        })
}

fn play(scene: &Scene) {
    let fake = Fake::default();
    let options = Options {
        memory: vec![(0, 1 << 20), (1 << 32, 64 << 10)],
        queue_size: SIZE,
        event_buffers: 0,
        ..Options::default()
    };
    let mut pair = Pair::with(Arc::new(fake.clone()), &options);
    let session = pair.open().unwrap();
    // Now: the ring may close the session.
    let events = fake.events(session);
    let memory = pair.link.memory.clone();
    let command = memory.place(&scene.command);
    let blank = memory.alloc(8192, 16);
    let table = memory.alloc(16 * 64, 16);
    let link = &mut pair.link;
    let ring = if scene.event_queue {
        &mut link.events
    } else {
        &mut link.commands
    };
    let ring_addr = ring.descriptor_table();
    let real = |random: &RandomDescriptor| Descriptor {
        addr: match random.place {
            Place::Command => command.addr,
            Place::Blank => blank.addr,
            Place::Table(at) => table.addr + u64::from(at),
            Place::Ring(at) => ring_addr + u64::from(at),
            Place::Edge(before) => (1 << 20) - u64::from(before),
            Place::Anywhere(addr) => addr,
        },
        len: match random.place {
            // Mostly as long as it is.
            Place::Command if !random.len.is_multiple_of(4) => command.len,
            _ => random.len,
        },
        flags: random.flags,
        next: random.next,
    };
    for (i, random) in scene.table.iter().enumerate() {
        memory.write(table.addr + 16 * i as u64, &real(random).to_bytes());
    }
    for (i, random) in scene.ring.iter().enumerate() {
        ring.set_descriptor(i as u16, real(random));
    }
    for head in &scene.heads {
        ring.make_available(*head);
    }
    let index = ring.avail_index();
    ring.set_avail_index(index.wrapping_add(scene.jump));
    ring.kick();
    // Give it something to deliver, too.
    events.error(nix::errno::Errno::EIO);
    let _ = pair.link.commands.wait_used(Duration::from_millis(1));

    pair.restart().unwrap();
    let session = pair.open().unwrap();
    let reply = pair.command(
        &[
            CmdIoctl::new(session, ioctl::G_FMT).as_bytes(),
            Format::default().as_bytes(),
        ]
        .concat(),
        216,
    );
    assert_eq!(reply.status(), Some(0));
    pair.end();
    assert!(fake.open_sessions().is_empty());
    assert_eq!(panics(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rings(scene in scenes()) {
        let _alone = alone();
        play(&scene);
    }
}
