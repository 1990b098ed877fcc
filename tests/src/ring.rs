// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A split virtqueue, driven by hand.
//!
//! [`Ring::add`] and its kin do what a driver does. Below them, every descriptor, ring entry and
//! index can be written as a test likes, in an order and with values that no driver would use.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use std::os::fd::AsRawFd;
use vhost::VringConfigData;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::memory::{Block, GuestMemory};

/// `VIRTQ_DESC_F_NEXT`.
pub const NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE`.
pub const WRITE: u16 = 2;
/// `VIRTQ_DESC_F_INDIRECT`.
pub const INDIRECT: u16 = 4;

/// `struct virtq_desc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest-physical address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`].
    pub flags: u16,
    /// Index of the next descriptor.
    pub next: u16,
}

impl Descriptor {
    /// Its 16 bytes in a table.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// A piece of a well-formed chain.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Guest-physical address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

impl Segment {
    /// What the device reads.
    pub fn readable(block: &Block) -> Self {
        Self {
            addr: block.addr,
            len: block.len,
            writable: false,
        }
    }

    /// What the device writes.
    pub fn writable(block: &Block) -> Self {
        Self {
            writable: true,
            ..Self::readable(block)
        }
    }

    /// The same memory as pieces of at most `size` bytes.
    pub fn split(self, size: u32) -> impl Iterator<Item = Self> {
        let step = size.max(1);
        (0..self.len).step_by(step as usize).map(move |at| Self {
            addr: self.addr + u64::from(at),
            len: step.min(self.len - at),
            ..self
        })
    }
}

/// `struct virtq_used_elem`: a chain that the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Head of the chain.
    pub id: u32,
    /// Bytes that the device wrote.
    pub len: u32,
}

/// The hand of a processor that has nothing else to do than to keep a ring full of one chain. It
/// can be in another thread.
pub struct Refill {
    memory: Arc<GuestMemory>,
    size: u16,
    avail: u64,
    used: u64,
}

impl Refill {
    /// Makes the chain available as often as the ring has entries that the device has used.
    pub fn fill(&self) {
        let used: u16 = self.memory.load(self.used + 2);
        self.memory
            .store(self.avail + 2, used.wrapping_add(self.size));
    }
}

/// A split virtqueue.
pub struct Ring {
    memory: Arc<GuestMemory>,
    size: u16,
    event_idx: bool,
    // Descriptor table, available ring, used ring.
    desc: Block,
    avail: Block,
    used: Block,
    next_avail: u16,
    next_used: u16,
    free: Vec<u16>,
    chains: HashMap<u16, Vec<u16>>,
    tables: HashMap<u16, Block>,
    kick: EventFd,
    call: EventFd,
    epoll: Epoll,
    /// How often the device was kicked.
    pub kicks: u64,
    /// How often the device asked not to be kicked, and was not.
    pub kicks_spared: u64,
    /// How often the device signalled.
    pub calls: u64,
}

impl Ring {
    /// A ring of `size` descriptors in `memory`, in which everything before index `first` has been
    /// used.
    ///
    /// # Errors
    ///
    /// The system has no file descriptors left.
    pub fn new(
        memory: &Arc<GuestMemory>,
        size: u16,
        event_idx: bool,
        first: u16,
    ) -> io::Result<Self> {
        let n = usize::from(size);
        let call = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let ring = Self {
            memory: memory.clone(),
            size,
            event_idx,
            desc: memory.alloc(16 * n, 16),
            avail: memory.alloc(6 + 2 * n, 2),
            used: memory.alloc(6 + 8 * n, 4),
            next_avail: first,
            next_used: first,
            free: (0..size).rev().collect(),
            chains: HashMap::new(),
            tables: HashMap::new(),
            kick: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            epoll: signalled_by(&call)?,
            call,
            kicks: 0,
            kicks_spared: 0,
            calls: 0,
        };
        memory.store(ring.avail.addr + 2, first);
        memory.store(ring.used.addr + 2, first);
        Ok(ring)
    }

    /// Takes the eventfd of `other` to be signalled by.
    pub(crate) fn share_call(&mut self, other: &Self) -> io::Result<()> {
        self.call = other.call.try_clone()?;
        self.epoll = signalled_by(&self.call)?;
        Ok(())
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Guest-physical address of the descriptor table.
    pub fn descriptor_table(&self) -> u64 {
        self.desc.addr
    }

    /// What the VMM says of it.
    pub fn config(&self) -> VringConfigData {
        VringConfigData {
            queue_max_size: self.size,
            queue_size: self.size,
            flags: 0,
            desc_table_addr: self.memory.user_address(self.desc.addr),
            used_ring_addr: self.memory.user_address(self.used.addr),
            avail_ring_addr: self.memory.user_address(self.avail.addr),
            log_addr: None,
        }
    }

    pub(crate) fn kick_fd(&self) -> &EventFd {
        &self.kick
    }

    pub(crate) fn call_fd(&self) -> &EventFd {
        &self.call
    }

    // By hand.

    /// Writes descriptor `index` of the table.
    pub fn set_descriptor(&self, index: u16, descriptor: Descriptor) {
        let at = self.desc.addr + 16 * u64::from(index);
        self.memory.write(at, &descriptor.to_bytes());
    }

    /// Writes `id` into the next entry of the available ring, and moves the index on by one.
    pub fn make_available(&mut self, id: u16) {
        let slot = u64::from(self.next_avail % self.size);
        self.memory.store(self.avail.addr + 4 + 2 * slot, id);
        let old = self.next_avail;
        self.set_avail_index(old.wrapping_add(1));
    }

    /// Writes the available ring's index.
    pub fn set_avail_index(&mut self, index: u16) {
        self.next_avail = index;
        self.memory.store(self.avail.addr + 2, index);
    }

    /// Fills the available ring with the chain that begins with `head`, and gives out what keeps it
    /// full.
    pub fn refill(&mut self, head: u16) -> Refill {
        for slot in 0..u64::from(self.size) {
            self.memory.store(self.avail.addr + 4 + 2 * slot, head);
        }
        Refill {
            memory: self.memory.clone(),
            size: self.size,
            avail: self.avail.addr,
            used: self.used.addr,
        }
    }

    /// The available ring's index, as last written.
    pub fn avail_index(&self) -> u16 {
        self.next_avail
    }

    /// Signals the device, whether it wants it or not.
    pub fn kick(&mut self) {
        self.kicks += 1;
        // Fails only if nobody reads for 2^64 kicks.
        let _ = self.kick.write(1);
    }

    /// Takes descriptors out of [`add`](Self::add)'s hands, for a chain by hand.
    ///
    /// # Panics
    ///
    /// There are not enough.
    pub fn take_descriptors(&mut self, count: usize) -> Vec<u16> {
        assert!(self.free.len() >= count, "the ring is full");
        self.free.split_off(self.free.len() - count)
    }

    /// Gives descriptors back that [`take_descriptors`](Self::take_descriptors) took.
    pub fn give_descriptors(&mut self, indices: Vec<u16>) {
        self.free.extend(indices);
    }

    // As a driver does.

    /// How many descriptors are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Makes a chain of `segments` available, without a kick. Returns its head.
    pub fn add(&mut self, segments: &[Segment]) -> u16 {
        let indices = self.take_descriptors(segments.len());
        for (i, segment) in segments.iter().enumerate() {
            let next = indices.get(i + 1).copied();
            self.set_descriptor(indices[i], descriptor(segment, next));
        }
        let head = indices[0];
        self.chains.insert(head, indices);
        self.make_available(head);
        head
    }

    /// Makes a chain of `segments` available whose descriptors stand in a table of its own.
    pub fn add_indirect(&mut self, segments: &[Segment]) -> u16 {
        let count = segments.len();
        let mut table = Vec::with_capacity(16 * count);
        for (i, segment) in segments.iter().enumerate() {
            let next = (i + 1 < count).then_some(i as u16 + 1);
            table.extend(descriptor(segment, next).to_bytes());
        }
        let table = self.memory.place(&table);
        let indices = self.take_descriptors(1);
        let head = indices[0];
        self.set_descriptor(
            head,
            Descriptor {
                addr: table.addr,
                len: table.len,
                flags: INDIRECT,
                next: 0,
            },
        );
        self.chains.insert(head, indices);
        self.tables.insert(head, table);
        self.make_available(head);
        head
    }

    /// Signals the device if it wants to know of what became available since index `since`.
    pub fn notify(&mut self, since: u16) {
        let wanted = if self.event_idx {
            let event = self.avail_event();
            let new = self.next_avail;
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(since)
        } else {
            // VIRTQ_USED_F_NO_NOTIFY
            self.memory.load::<u16>(self.used.addr) & 1 == 0
        };
        if wanted {
            self.kick();
        } else {
            self.kicks_spared += 1;
        }
    }

    /// `avail_event`: the entry for which the device wants a kick. Where it equals the available
    /// index, the device has looked at all there is.
    pub fn avail_event(&self) -> u16 {
        let at = self.used.addr + 4 + 8 * u64::from(self.size);
        self.memory.load(at)
    }

    /// The used ring's index.
    pub fn used_index(&self) -> u16 {
        self.memory.load(self.used.addr + 2)
    }

    /// The next chain that the device is done with, if there is one.
    pub fn pop_used(&mut self) -> Option<Used> {
        if self.used_index() == self.next_used {
            return None;
        }
        let slot = u64::from(self.next_used % self.size);
        let at = self.used.addr + 4 + 8 * slot;
        let used = Used {
            id: self.memory.load(at),
            len: self.memory.load(at + 4),
        };
        self.next_used = self.next_used.wrapping_add(1);
        if let Ok(head) = u16::try_from(used.id) {
            self.tables.remove(&head);
            self.free
                .extend(self.chains.remove(&head).unwrap_or_default());
        }
        Some(used)
    }

    /// Waits for the next chain that the device is done with.
    ///
    /// # Errors
    ///
    /// `TimedOut`.
    pub fn wait_used(&mut self, timeout: Duration) -> io::Result<Used> {
        let deadline = Instant::now() + timeout;
        loop {
            // Before the look: what comes after it signals.
            let used_event = self.avail.addr + 4 + 2 * u64::from(self.size);
            self.memory.store(used_event, self.next_used);
            if let Some(used) = self.pop_used() {
                return Ok(used);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut events = [EpollEvent::default()];
            let wait = left.as_millis().clamp(1, 1_000_000) as i32;
            match self.epoll.wait(wait, &mut events) {
                Ok(0) => {}
                Ok(_) => self.calls += self.call.read().unwrap_or(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the device to signal, and looks at nothing but that; with `VIRTIO_F_EVENT_IDX` it
    /// asks for the next signal first, as drivers do, and takes what came before as signalled.
    /// False if none comes within `timeout`.
    pub fn wait_signal(&mut self, timeout: Duration) -> bool {
        if self.event_idx {
            let used_event = self.avail.addr + 4 + 2 * u64::from(self.size);
            self.memory.store(used_event, self.next_used);
            if self.used_index() != self.next_used {
                return true;
            }
        }
        let deadline = Instant::now() + timeout;
        while self.drain_calls() == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let mut events = [EpollEvent::default()];
            let wait = left.as_millis().clamp(1, 1_000_000) as i32;
            // Interrupted or not: the loop looks again.
            let _ = self.epoll.wait(wait, &mut events);
        }
        true
    }

    /// Asks the device not to signal (`VIRTQ_AVAIL_F_NO_INTERRUPT`), or to.
    pub fn set_no_interrupt(&self, off: bool) {
        self.memory.store(self.avail.addr, u16::from(off));
    }

    /// Signals that came and were not waited for.
    pub fn drain_calls(&mut self) -> u64 {
        let calls = self.call.read().unwrap_or(0);
        self.calls += calls;
        calls
    }
}

fn signalled_by(call: &EventFd) -> io::Result<Epoll> {
    let epoll = Epoll::new()?;
    epoll.ctl(
        ControlOperation::Add,
        call.as_raw_fd(),
        EpollEvent::new(EventSet::IN, 0),
    )?;
    Ok(epoll)
}

fn descriptor(segment: &Segment, next: Option<u16>) -> Descriptor {
    let mut flags = 0;
    if segment.writable {
        flags |= WRITE;
    }
    if next.is_some() {
        flags |= NEXT;
    }
    Descriptor {
        addr: segment.addr,
        len: segment.len,
        flags,
        next: next.unwrap_or(0),
    }
}
