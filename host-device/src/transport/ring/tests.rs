// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};

use super::*;

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

const TABLE: u64 = 0;
const AVAIL: u64 = 0x1000;
const USED: u64 = 0x2000;
const DATA: u64 = 0x10_000;
const MEMORY: usize = 0x40_0000;
const SIZE: u16 = 8;
const MAX_SIZE: u16 = 64;

/// A driver's side of a ring.
struct Guest {
    ring: Ring,
    memory: Memory,
    avail: u16,
}

/// Starts, enables and serves `ring`, as a VMM has it done. Whether it goes on where it was.
fn serve(ring: &Ring, memory: &Memory) -> bool {
    ring.configure(|ring| {
        ring.start(None);
        ring.enable();
    });
    let goes_on = ring.configure(|ring| ring.due(&memory.memory())).unwrap();
    ring.configure(|ring| {
        ring.serve(memory, goes_on);
        assert_eq!(ring.check(&memory.memory(), &mut Vec::new()), None);
    });
    goes_on
}

impl Guest {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let memory = Memory::new(memory);
        let ring = Ring::new(memory.clone(), MAX_SIZE, Counters::new()).unwrap();
        ring.configure(|ring| {
            let queue = ring.queue();
            queue.set_size(SIZE);
            queue
                .try_set_desc_table_address(GuestAddress(TABLE))
                .unwrap();
            queue
                .try_set_avail_ring_address(GuestAddress(AVAIL))
                .unwrap();
            queue.try_set_used_ring_address(GuestAddress(USED)).unwrap();
        });
        serve(&ring, &memory);
        Self {
            ring,
            memory,
            avail: 0,
        }
    }

    fn table(&self, at: u64, descriptors: &[(u64, u32, u16, u16)]) {
        for (index, &(addr, len, flags, next)) in descriptors.iter().enumerate() {
            let at = GuestAddress(at + index as u64 * 16);
            let descriptor = Descriptor::new(addr, len, flags, next);
            self.memory.memory().write_obj(descriptor, at).unwrap();
        }
    }

    fn make_available(&mut self, head: u16) {
        let memory = self.memory.memory();
        let slot = GuestAddress(AVAIL + 4 + u64::from(self.avail % SIZE) * 2);
        memory.write_obj(head, slot).unwrap();
        self.avail = self.avail.wrapping_add(1);
        memory
            .write_obj(self.avail, GuestAddress(AVAIL + 2))
            .unwrap();
    }

    fn used(&self) -> Vec<(u32, u32)> {
        let memory = self.memory.memory();
        let count: u16 = memory.read_obj(GuestAddress(USED + 2)).unwrap();
        (0..u64::from(count))
            .map(|index| {
                let at = USED + 4 + index * 8;
                let id = memory.read_obj(GuestAddress(at)).unwrap();
                (id, memory.read_obj(GuestAddress(at + 4)).unwrap())
            })
            .collect()
    }

    fn pop(&self) -> Option<(Head, Vec<u8>, Writable)> {
        let (mut readable, mut writable) = (Vec::new(), Writable::default());
        let mut turn = Turn::new();
        let head = self.ring.pop(&mut readable, &mut writable, &mut turn)?;
        Some((head, readable, writable))
    }

    /// Asserts that a chain with these descriptors comes back empty and is not seen.
    fn refuses(descriptors: &[(u64, u32, u16, u16)]) {
        let mut guest = Self::new();
        guest.table(TABLE, descriptors);
        guest.make_available(0);
        assert!(guest.pop().is_none(), "{descriptors:?}");
        assert_eq!(guest.used(), [(0, 0)], "{descriptors:?}");
    }
}

#[test]
fn parts_are_gathered_and_scattered() {
    let mut guest = Guest::new();
    let memory = guest.memory.memory();
    memory.write_slice(b"hello", GuestAddress(DATA)).unwrap();
    guest.table(
        TABLE,
        &[
            (DATA, 2, NEXT, 1),
            (DATA + 2, 0, NEXT, 2),
            (DATA + 2, 3, NEXT, 3),
            (DATA + 0x100, 3, NEXT | WRITE, 4),
            (DATA + 0x200, 3, WRITE, 0),
        ],
    );
    guest.make_available(0);
    let (head, readable, writable) = guest.pop().unwrap();
    assert_eq!((&readable[..], writable.len()), (&b"hello"[..], 6));
    guest.ring.give_back(head, &writable, b"world");
    assert_eq!(guest.used(), [(0, 5)]);
    let mut data = [0; 3];
    for (at, expected) in [(0x100, b"wor"), (0x200, b"ld\0")] {
        memory
            .read_slice(&mut data, GuestAddress(DATA + at))
            .unwrap();
        assert_eq!(&data, expected);
    }
}

#[test]
fn what_does_not_fit_is_cut_off() {
    let mut guest = Guest::new();
    guest.table(TABLE, &[(DATA, 1, NEXT, 1), (DATA, 4, WRITE, 0)]);
    guest.make_available(0);
    let (head, _, writable) = guest.pop().unwrap();
    guest.ring.give_back(head, &writable, b"too long");
    assert_eq!(guest.used(), [(0, 4)]);
}

#[test]
fn indirect_tables() {
    let mut guest = Guest::new();
    let table = DATA + 0x1000;
    guest.table(table, &[(DATA, 16, NEXT, 1), (DATA, 8, WRITE, 0)]);
    guest.table(TABLE, &[(table, 32, INDIRECT, 0)]);
    guest.make_available(0);
    let (_, readable, writable) = guest.pop().unwrap();
    assert_eq!((readable.len(), writable.len()), (16, 8));
}

#[test]
fn malformed_chains_go_back_empty() {
    let table = DATA + 0x1000;
    // A loop, in one and in two steps.
    Guest::refuses(&[(DATA, 8, NEXT, 0)]);
    Guest::refuses(&[(DATA, 8, NEXT, 1), (DATA, 8, NEXT, 0)]);
    Guest::refuses(&[(DATA, 8, NEXT | WRITE, 0)]);
    // A successor outside of the table.
    Guest::refuses(&[(DATA, 8, NEXT, SIZE)]);
    Guest::refuses(&[(DATA, 8, NEXT, u16::MAX)]);
    // Readable after writable.
    Guest::refuses(&[(DATA, 8, NEXT | WRITE, 1), (DATA, 8, 0, 0)]);
    // Too long in all, and too long for any memory.
    Guest::refuses(&[
        (DATA, 0x8_0000, NEXT, 1),
        (DATA, 0x8_0000, NEXT, 2),
        (DATA, 1, 0, 0),
    ]);
    Guest::refuses(&[(DATA, u32::MAX, 0, 0)]);
    Guest::refuses(&[(DATA, u32::MAX, NEXT, 1), (DATA, u32::MAX, 0, 0)]);
    // No such memory.
    Guest::refuses(&[(MEMORY as u64 - 4, 8, 0, 0)]);
    Guest::refuses(&[(u64::MAX - 4, 8, 0, 0)]);
    // Indirect tables: odd size, none, outside of memory, in a table.
    Guest::refuses(&[(table, 17, INDIRECT, 0)]);
    Guest::refuses(&[(table, 0, INDIRECT, 0)]);
    Guest::refuses(&[(u64::MAX - 15, 16, INDIRECT, 0)]);
    let mut guest = Guest::new();
    guest.table(table, &[(table, 16, INDIRECT, 0)]);
    guest.table(TABLE, &[(table, 16, INDIRECT, 0)]);
    guest.make_available(0);
    assert!(guest.pop().is_none());
    assert_eq!(guest.used(), [(0, 0)]);
}

#[test]
fn a_good_buffer_after_bad_ones() {
    let mut guest = Guest::new();
    guest.table(TABLE, &[(DATA, 8, NEXT, 0), (DATA, 8, 0, 0)]);
    guest.make_available(0);
    guest.make_available(SIZE); // No such descriptor, so nothing to give back.
    guest.make_available(1);
    let (head, readable, writable) = guest.pop().unwrap();
    assert_eq!(readable.len(), 8);
    guest.ring.give_back(head, &writable, &[]);
    assert_eq!(guest.used(), [(0, 0), (1, 0)]);
}

#[test]
fn no_more_out_than_the_ring_has() {
    let mut guest = Guest::new();
    guest.table(TABLE, &[(DATA, 8, 0, 0)]);
    for _ in 0..SIZE {
        guest.make_available(0);
        assert!(guest.pop().is_some());
    }
    guest.make_available(0);
    assert!(guest.pop().is_none());
    assert_eq!(guest.used(), [(0, 0)]);
}

#[test]
fn nothing_is_written_after_a_stop() {
    let stop = |ring: &Ring| {
        ring.stop(Duration::ZERO);
    };
    let reset = |ring: &Ring| ring.configure(State::reset);
    for stop in [stop, reset] {
        let mut guest = Guest::new();
        guest.table(TABLE, &[(DATA, 8, WRITE, 0)]);
        guest.make_available(0);
        let (head, _, writable) = guest.pop().unwrap();
        stop(&guest.ring);
        guest.ring.give_back(head, &writable, b"late");
        guest.make_available(0);
        assert!(guest.pop().is_none());
        serve(&guest.ring, &guest.memory);
        guest.ring.give_back(head, &writable, b"late");
        assert_eq!(guest.used(), []);
        let (head, _, writable) = guest.pop().unwrap();
        guest.ring.give_back(head, &writable, b"new");
        assert_eq!(guest.used(), [(0, 3)]);
    }
}

#[test]
fn a_stop_waits_for_what_is_out() {
    let mut guest = Guest::new();
    guest.table(TABLE, &[(DATA, 8, WRITE, 0)]);
    guest.make_available(0);
    let (head, _, writable) = guest.pop().unwrap();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| guest.ring.stop(Duration::from_secs(10)));
        while guest.ring.configure(|ring| ring.queue().ready()) {
            std::thread::yield_now();
        }
        guest.ring.give_back(head, &writable, b"in time");
        assert_eq!(stop.join().unwrap(), 1);
    });
    assert_eq!(guest.used(), [(0, 7)]);
}

/// Stops it in each way that a VMM has.
const STOPS: [fn(&Ring); 3] = [
    |ring| {
        ring.stop(Duration::ZERO);
    },
    |ring| {
        assert!(ring.configure(State::disable));
    },
    |ring| {
        assert!(ring.configure(State::disable));
        ring.stop(Duration::ZERO);
    },
];

#[test]
fn pause_and_reset_are_told_apart() {
    for stop in STOPS {
        let mut guest = Guest::new();
        guest.table(TABLE, &[(DATA, 8, WRITE, 0)]);
        let command = |guest: &mut Guest| {
            guest.make_available(0);
            let (head, _, writable) = guest.pop().unwrap();
            guest.ring.give_back(head, &writable, &[]);
        };
        command(&mut guest);
        stop(&guest.ring);
        assert!(serve(&guest.ring, &guest.memory), "nothing has changed");
        command(&mut guest);

        // Another base, another place, another size, and a ring that has been emptied.
        let changes: [fn(&mut Queue, &Memory); 5] = [
            |queue, _| queue.set_next_avail(0),
            |queue, _| queue.set_next_avail(3),
            |queue, _| queue.set_size(SIZE / 2),
            |queue, _| {
                queue
                    .try_set_avail_ring_address(GuestAddress(AVAIL + 0x100))
                    .unwrap();
            },
            |_, memory| {
                let index = GuestAddress(USED + 2);
                memory.memory().write_obj(0_u16, index).unwrap();
            },
        ];
        for change in changes {
            stop(&guest.ring);
            guest
                .ring
                .configure(|ring| change(ring.queue(), &guest.memory));
            assert!(!serve(&guest.ring, &guest.memory));
        }
        guest.ring.configure(State::reset);
        assert!(!serve(&guest.ring, &guest.memory), "it was reset");
    }
}

/// At index 0 a ring that goes on has been used, and a new one has not.
#[test]
fn a_pause_at_index_0() {
    for stop in STOPS {
        let mut guest = Guest::new();
        guest.table(TABLE, &[(DATA, 8, WRITE, 0)]);
        guest.ring.configure(|ring| {
            ring.queue().set_next_avail(u16::MAX);
            ring.queue().set_next_used(u16::MAX);
            ring.check(&guest.memory.memory(), &mut Vec::new());
        });
        guest.avail = u16::MAX;
        guest.make_available(0);
        let (head, _, writable) = guest.pop().unwrap();
        guest.ring.give_back(head, &writable, b"last");
        stop(&guest.ring);
        assert_eq!(guest.ring.configure(|ring| ring.queue().next_avail()), 0);
        assert!(serve(&guest.ring, &guest.memory));
        stop(&guest.ring);
        // What a driver does that sets up its queue.
        let ring = GuestAddress(USED);
        guest.memory.memory().write_slice(&[0; 70], ring).unwrap();
        assert!(!serve(&guest.ring, &guest.memory));
    }
}

/// A disabled ring is not written to. If it was a pause, answers come after it.
#[test]
fn answers_wait_for_the_end_of_a_pause() {
    let mut guest = Guest::new();
    guest.table(TABLE, &[(DATA, 8, WRITE, 0)]);
    let out = |guest: &mut Guest| {
        guest.make_available(0);
        let (head, _, writable) = guest.pop().unwrap();
        guest.ring.configure(State::disable);
        guest.ring.give_back(head, &writable, b"late");
    };
    out(&mut guest);
    assert_eq!(guest.used(), []);
    assert!(serve(&guest.ring, &guest.memory));
    assert_eq!(guest.used(), [(0, 4)]);
    // With GET_VRING_BASE they come before its answer.
    out(&mut guest);
    guest.ring.stop(Duration::ZERO);
    assert_eq!(guest.used().len(), 2);
    assert!(serve(&guest.ring, &guest.memory));
    // And after a reset not at all.
    out(&mut guest);
    guest.ring.configure(|ring| ring.queue().set_next_avail(0));
    assert!(!serve(&guest.ring, &guest.memory));
    assert_eq!(guest.used().len(), 2);
}

#[test]
fn a_ring_in_a_wrong_place_is_not_served() {
    let mut guest = Guest::new();
    guest.table(TABLE, &[(DATA, 8, 0, 0)]);
    guest.make_available(0);
    let memory = guest.memory.memory();
    let place = |used| {
        let addresses = [TABLE, AVAIL, used].map(GuestAddress);
        guest.ring.configure(|ring| {
            let fits = ring.set_addresses(Some(addresses), &memory);
            (fits, ring.check(&memory, &mut Vec::new()))
        })
    };
    assert_eq!(place(AVAIL), (true, Some(Fault::Overlap)));
    assert!(guest.pop().is_none());
    assert_eq!(place(AVAIL), (true, None), "once is enough");
    assert_eq!(place(MEMORY as u64), (false, Some(Fault::Memory)));
    assert_eq!(place(USED + 1), (false, None));
    assert!(guest.pop().is_none());
    let size = |size| {
        guest.ring.configure(|ring| {
            let fits = ring.set_size(size);
            (fits, ring.check(&memory, &mut Vec::new()))
        })
    };
    assert_eq!(place(USED), (true, None));
    for bad in [0, 3, 65536] {
        assert!(!size(bad).0, "{bad}");
        assert!(guest.pop().is_none());
    }
    assert_eq!(size(u32::from(SIZE)), (true, None));
    assert!(guest.pop().is_some());
}

/// Answers to many commands that go to many places each are memory of ours for as long as the
/// commands are out.
#[test]
fn places_for_answers_are_limited() {
    let mut guest = Guest::new();
    let table = DATA + 0x10_0000;
    let count = 4000_u16;
    let runs: Vec<_> = (1..=count)
        .map(|next| (DATA, 1, WRITE | if next < count { NEXT } else { 0 }, next))
        .collect();
    guest.table(table, &runs);
    guest.table(TABLE, &[(table, u32::from(count) * 16, INDIRECT, 0)]);
    guest.ring.configure(|ring| {
        assert!(ring.set_size(MAX_SIZE.into()));
        ring.check(&guest.memory.memory(), &mut Vec::new());
    });
    let mut out = Vec::new();
    for _ in 0..MAX_SIZE {
        guest.make_available(0);
        out.extend(guest.pop());
    }
    assert_eq!(out.len(), MAX_RUNS_OUT / usize::from(count));
    let (head, _, writable) = out.pop().unwrap();
    guest.ring.give_back(head, &writable, b"x");
    guest.make_available(0);
    assert!(guest.pop().is_some());
}

#[test]
fn events_skip_buffers_that_are_too_small() {
    let mut guest = Guest::new();
    guest.table(
        TABLE,
        &[
            (DATA, 4, WRITE, 0),
            (DATA, 8, 0, 0),
            (DATA, 8, NEXT, 2),
            (DATA, 4, NEXT | WRITE, 4),
            (DATA + 0x100, 4, WRITE, 0),
        ],
    );
    for head in 0..4 {
        guest.make_available(head);
    }
    let deliver = || {
        let mut writable = Writable::default();
        guest
            .ring
            .deliver(b"an event", &mut writable, &mut Turn::new())
    };
    assert!(deliver());
    assert!(!deliver());
    assert_eq!(guest.used(), [(0, 0), (1, 0), (2, 0), (3, 8)]);
}

#[test]
fn indices_that_make_no_sense_do_not_keep_us_busy() {
    let mut guest = Guest::new();
    guest.table(TABLE, &[(DATA, 8, 0, 0)]);
    guest.avail = 3 * SIZE;
    guest.make_available(0);
    assert!(guest.pop().is_none());
    assert!(guest.ring.ask_for_kick());
    assert!(guest.pop().is_none());
    assert!(!guest.ring.ask_for_kick());

    guest.avail = 0;
    guest.make_available(0);
    assert!(guest.ring.ask_for_kick());
    assert!(guest.pop().is_some());
    assert!(!guest.ring.ask_for_kick());
}

/// Runs `work`, which a fault would keep from ending.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    let patience = Duration::from_secs(20);
    ended.recv_timeout(patience).expect("it does not end");
}

/// The used ring over the available ring: each buffer that goes back makes the next one available.
#[test]
fn a_ring_that_fills_itself() {
    let overlaid = |descriptor| {
        let guest = Guest::new();
        guest.table(TABLE, &[descriptor]);
        guest.ring.configure(|ring| {
            let queue = ring.queue();
            queue
                .try_set_used_ring_address(GuestAddress(AVAIL))
                .unwrap();
            // The index of what is used next is that of what is available, and one more after each.
            queue.set_next_used(1);
            // Were it checked, it would not be served at all.
            ring.fault = None;
        });
        let index = GuestAddress(AVAIL + 2);
        guest.memory.memory().write_obj(1_u16, index).unwrap();
        guest
    };
    ends(move || {
        let guest = overlaid((DATA, 4, WRITE, 0));
        let (mut turn, mut writable) = (Turn::new(), Writable::default());
        assert!(!guest.ring.deliver(b"an event", &mut writable, &mut turn));
        assert!(turn.is_over());
    });
    ends(move || {
        let guest = overlaid((DATA, 8, NEXT, 0));
        let mut turn = Turn::new();
        let (mut readable, mut writable) = (Vec::new(), Writable::default());
        let popped = guest.ring.pop(&mut readable, &mut writable, &mut turn);
        assert!(popped.is_none() && turn.is_over());
    });
}
