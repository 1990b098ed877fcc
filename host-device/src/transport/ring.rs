// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One virtqueue: how the VMM has set it up, and the buffers in it.

use std::fs::File;
use std::io::Write;
use std::num::Wrapping;
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Error, Queue, QueueT};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap,
};

use super::chain::{self, Malformed, Readable, Writable};
use super::layout::{self, Fault};
use super::turn::Turn;
use crate::counters::Counters;
use crate::fair::FairMutex;

/// Guest memory as the VMM describes it; replaced as a whole when that changes.
pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// Most runs of memory for answers to commands that are out. Each run costs 16 bytes for as long,
/// and a command of any driver that we know has one or two.
const MAX_RUNS_OUT: usize = 128 << 10;

/// A buffer of the guest that was taken off the ring and must go back, unless the ring is stopped
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    index: u16,
    generation: Wrapping<u32>,
    /// Runs of memory in which its answer goes.
    runs: usize,
}

/// Where a ring was when it was last served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    next_avail: u16,
    next_used: u16,
    size: u16,
    parts: [u64; 3],
}

/// An answer that came while the ring was disabled.
struct Parked {
    head: Head,
    writable: Writable,
    bytes: Vec<u8>,
}

/// A ring under its lock.
///
/// It is served from the moment at which it is both started (SET_VRING_KICK) and enabled, in either
/// order, until it is disabled or stopped (GET_VRING_BASE).
pub(super) struct State {
    queue: Queue,
    enabled: bool,
    served: bool,
    /// Where it was, if it was served before and nobody has reset the device since.
    position: Option<Position>,
    /// Why it is not served, if anything is wrong with what the VMM said of it.
    fault: Option<Fault>,
    /// What the log says of that.
    reported: Option<Fault>,
    /// The VMM's last word on the size or the addresses made no sense.
    bad_size: bool,
    bad_address: bool,
    /// Counts stops. A buffer of an earlier generation is not the ring's any more.
    generation: Wrapping<u32>,
    /// Buffers that are out. No driver that keeps to the rules has more than the ring's size.
    out: u16,
    /// Runs of memory for the answers to them.
    runs_out: usize,
    /// Buffers were returned, and the guest has not been notified.
    unsignalled: bool,
    /// Somebody waits for buffers that are out.
    stopping: bool,
    /// Answers that came while the ring was disabled. The guest has no more commands out than the
    /// ring has entries, and an answer is hardly longer than its command.
    parked: Vec<Parked>,
    /// Where the ring stood when the guest was last seen to have more.
    promised: Option<u16>,
    kick: Option<Arc<File>>,
    call: Option<File>,
}

/// A ring. Its lock is held for short steps only, never while a command runs.
pub(super) struct Ring {
    memory: Memory,
    state: FairMutex<State>,
    /// Signalled when a buffer goes back.
    returned: Condvar,
    counters: Arc<Counters>,
}

impl Ring {
    /// A stopped ring of at most `max_size` descriptors.
    pub(super) fn new(
        memory: Memory,
        max_size: u16,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        Ok(Self {
            memory,
            state: FairMutex::new(State {
                queue: Queue::new(max_size)?,
                enabled: false,
                served: false,
                position: None,
                fault: Some(Fault::Unchecked),
                reported: None,
                bad_size: false,
                bad_address: false,
                generation: Wrapping(0),
                out: 0,
                runs_out: 0,
                unsignalled: false,
                stopping: false,
                parked: Vec::new(),
                promised: None,
                kick: None,
                call: None,
            }),
            returned: Condvar::new(),
            counters,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes what the VMM may change.
    pub(super) fn configure<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state())
    }

    /// The file that the guest kicks.
    pub(super) fn kick(&self) -> Option<Arc<File>> {
        self.state().kick.clone()
    }

    /// Takes the next buffer: copies its device-readable bytes to `readable`, and leaves in
    /// `writable` where its device-writable part is. Malformed buffers go back to the guest, empty.
    /// `None` if there is no buffer, or `turn` is over.
    pub(super) fn pop(
        &self,
        readable: &mut Vec<u8>,
        writable: &mut Writable,
        turn: &mut Turn,
    ) -> Option<Head> {
        while !turn.is_over() {
            // A statement of its own: in the `match` the lock would be held to its end.
            let popped =
                self.state()
                    .pop_any(&self.memory, Readable::Copied(readable), writable, turn)?;
            turn.command();
            match popped {
                Ok(head) => return Some(head),
                Err((head, malformed)) => {
                    tracing::debug!("a buffer of the guest is malformed: {malformed}");
                    self.give_back(head, &Writable::default(), &[]);
                }
            }
        }
        None
    }

    /// Returns a buffer with as much of `bytes` as fits, unless the ring was stopped. Does not
    /// signal.
    pub(super) fn give_back(&self, head: Head, writable: &Writable, bytes: &[u8]) {
        // Under the lock: a stop comes before or after, and after it nothing is written.
        let mut state = self.state();
        state.give_back(&self.memory, head, writable, bytes);
        // Only when somebody waits: it is a system call.
        if state.stopping {
            self.returned.notify_all();
        }
    }

    /// Stops the ring. Buffers that are out may still go back for as long as `patience`. Returns
    /// the index of the next one.
    pub(super) fn stop(&self, patience: Duration) -> u16 {
        let mut state = self.state();
        let was_known = state.served || state.position.is_some();
        state.queue.set_ready(false);
        state.served = false;
        state.stopping = true;
        state.unpark(&self.memory);
        let (mut state, timeout) = self
            .returned
            .wait_timeout_while(state, patience, |state| state.out > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            tracing::debug!("{} commands will not be answered", state.out);
        }
        state.stopping = false;
        state.forget_out();
        state.kick = None;
        state.call = None;
        state.position = was_known.then(|| state.here());
        state.queue.next_avail()
    }

    /// Takes a buffer that holds all of `bytes`, and returns it with them. Buffers that are
    /// malformed or too small go back empty. False if there is none left, or `turn` is over.
    pub(super) fn deliver(&self, bytes: &[u8], writable: &mut Writable, turn: &mut Turn) -> bool {
        let mut state = self.state();
        while !turn.is_over() {
            let popped = state.pop_any(&self.memory, Readable::Ignored, writable, turn);
            match popped {
                None => return false,
                Some(Ok(head)) if writable.len() >= bytes.len() => {
                    if state.give_back(&self.memory, head, writable, bytes) {
                        return true;
                    }
                }
                Some(Ok(head) | Err((head, _))) => {
                    tracing::debug!("an event buffer of the guest is malformed or too small");
                    state.give_back(&self.memory, head, &Writable::default(), &[]);
                }
            }
        }
        false
    }

    /// Asks the guest for no kicks, as far as that is possible.
    pub(super) fn suppress_kicks(&self) {
        let mut state = self.state();
        let State { queue, .. } = &mut *state;
        if queue.ready()
            && let Err(error) = queue.disable_notification(&*self.memory.memory())
        {
            tracing::debug!("cannot suppress kicks: {error}");
        }
    }

    /// Asks the guest for a kick when it adds a buffer. True if it already has: [`pop`](Self::pop)
    /// has to look again.
    ///
    /// If that got nowhere the last time, the indices of the guest make no sense, and it is not
    /// true again.
    pub(super) fn ask_for_kick(&self) -> bool {
        let mut state = self.state();
        if !state.is_active() {
            return false;
        }
        let more = match state.queue.enable_notification(&*self.memory.memory()) {
            Ok(more) => more,
            Err(error) => {
                tracing::debug!("cannot ask for kicks: {error}");
                false
            }
        };
        let here = more.then(|| state.queue.next_avail());
        let again = more && state.promised == here;
        state.promised = here.filter(|_| !again);
        more && !again
    }

    /// Notifies the guest of returned buffers, if it wants to know and has not been notified yet.
    pub(super) fn signal(&self) {
        self.tell(false);
    }

    /// Notifies the guest of returned buffers unless it has been notified, even if it does not want
    /// to know.
    pub(super) fn signal_anyway(&self) {
        self.tell(true);
    }

    fn tell(&self, anyway: bool) {
        let mut state = self.state();
        if !state.unsignalled {
            return;
        }
        let State {
            queue,
            call,
            unsignalled,
            ..
        } = &mut *state;
        let Some(mut call) = call.as_ref() else {
            return;
        };
        *unsignalled = false;
        let wanted = wants_signal(queue, &self.memory.memory());
        if !anyway && !wanted.unwrap_or(true) {
            return;
        }
        match call.write_all(&1_u64.to_ne_bytes()) {
            Ok(()) => Counters::add(&self.counters.interrupts, 1),
            Err(error) => tracing::debug!("cannot signal the guest: {error}"),
        }
    }
}

/// Whether the guest wants to know of what was returned since this was last asked.
fn wants_signal(queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<bool, Error> {
    if queue.event_idx_enabled() {
        return queue.needs_notification(memory);
    }
    // The flag that `needs_notification` does not look at; what was returned must be there for who
    // clears it.
    fence(Ordering::SeqCst);
    let flags = memory
        .load::<u16>(GuestAddress(queue.avail_ring()), Ordering::Relaxed)
        .map_err(Error::GuestMemory)?;
    Ok(u16::from_le(flags) & VRING_AVAIL_F_NO_INTERRUPT as u16 == 0)
}

/// Whether anything but zeros stands in the used ring.
fn has_been_used(queue: &Queue, memory: &GuestMemoryMmap) -> bool {
    let mut ring = vec![0; 8 * usize::from(queue.size())];
    let entries = GuestAddress(queue.used_ring()).checked_add(4);
    let read = entries.is_some_and(|entries| memory.read_slice(&mut ring, entries).is_ok());
    read && ring.iter().any(|byte| *byte != 0)
}

impl State {
    pub(super) fn queue(&mut self) -> &mut Queue {
        self.fault = Some(Fault::Unchecked);
        &mut self.queue
    }

    /// Sets how many descriptors there are. False if that cannot be: the ring is then not served.
    pub(super) fn set_size(&mut self, size: u32) -> bool {
        let size = u16::try_from(size).unwrap_or_default();
        self.bad_size = self.queue().try_set_size(size).is_err();
        !self.bad_size
    }

    /// Sets where descriptor table, available ring and used ring are. False if they cannot be
    /// there: the ring is then not served.
    pub(super) fn set_addresses(
        &mut self,
        addresses: Option<[GuestAddress; 3]>,
        memory: &GuestMemoryMmap,
    ) -> bool {
        let queue = self.queue();
        let set = addresses.map(|[table, available, used]| {
            queue.try_set_desc_table_address(table)?;
            queue.try_set_avail_ring_address(available)?;
            queue.try_set_used_ring_address(used)?;
            // How far the device was.
            let used = queue.used_idx(memory, Ordering::Relaxed)?;
            queue.set_next_used(used.0);
            Ok::<_, Error>(())
        });
        self.bad_address = !matches!(set, Some(Ok(())));
        !self.bad_address
    }

    /// Checks where the ring is, and adds that to `taken`, where those before it are. Returns what
    /// has become wrong with it since it was last checked.
    pub(super) fn check(
        &mut self,
        memory: &GuestMemoryMmap,
        taken: &mut Vec<Range<u64>>,
    ) -> Option<Fault> {
        if !self.served {
            return None;
        }
        let fault = match layout::parts(&self.queue, memory, taken) {
            _ if self.bad_size => Some(Fault::Size),
            _ if self.bad_address => Some(Fault::Memory),
            Ok(parts) => {
                taken.extend(parts);
                None
            }
            Err(fault) => Some(fault),
        };
        self.fault = fault;
        let new = fault.filter(|fault| self.reported != Some(*fault));
        self.reported = fault;
        new
    }

    pub(super) fn set_call(&mut self, file: Option<File>) {
        self.call = file;
    }

    /// The VMM starts the ring. It is then served when it is enabled, too.
    pub(super) fn start(&mut self, kick: Option<File>) {
        self.kick = kick.map(Arc::new);
        self.queue().set_ready(true);
    }

    /// The VMM enables the ring. It is then served when it is started, too.
    pub(super) fn enable(&mut self) {
        self.fault = Some(Fault::Unchecked);
        self.enabled = true;
    }

    /// The VMM disables the ring: from now on nothing is written to it. Answers to commands that
    /// are out wait for [`serve`](Self::serve), as this may be a pause. True if it was served.
    pub(super) fn disable(&mut self) -> bool {
        self.enabled = false;
        let was = std::mem::take(&mut self.served);
        if was {
            self.position = Some(self.here());
        }
        was
    }

    /// The device is reset: buffers that are out do not go back, and the ring begins anew.
    pub(super) fn reset(&mut self) {
        self.forget_out();
        self.enabled = false;
        self.served = false;
        self.position = None;
        self.kick = None;
        self.queue().set_ready(false);
    }

    /// Whether the ring is to be served now, and was not. If so: whether it goes on where it was
    /// ([`Some`]`(true)`).
    ///
    /// It does if the VMM says that it stands there, in the same place and with the same size, and
    /// guest memory agrees on what has been used. Only a ring that has come to index 0 again looks
    /// like a new one; but drivers zero those, and a used one has names and lengths of buffers in
    /// it.
    pub(super) fn due(&self, memory: &GuestMemoryMmap) -> Option<bool> {
        if self.served || !self.enabled || !self.queue.ready() {
            return None;
        }
        let used = self.queue.used_idx(memory, Ordering::Relaxed);
        let next_used = used.map(|used| used.0).ok();
        let goes_on = self.position.is_some_and(|position| {
            let same = position == self.here() && next_used == Some(position.next_used);
            let begins = (position.next_avail, position.next_used) == (0, 0);
            same && (!begins || has_been_used(&self.queue, memory))
        });
        Some(goes_on)
    }

    /// Begins to serve the ring, where it was if it `goes_on`. True if there are answers that the
    /// guest does not know of.
    pub(super) fn serve(&mut self, memory: &Memory, goes_on: bool) -> bool {
        if !goes_on {
            self.forget_out();
        }
        if let Ok(used) = self.queue.used_idx(&*memory.memory(), Ordering::Relaxed) {
            self.queue.set_next_used(used.0);
        }
        self.promised = None;
        self.position = None;
        self.served = true;
        self.unpark(memory)
    }

    fn here(&self) -> Position {
        let queue = &self.queue;
        Position {
            next_avail: queue.next_avail(),
            next_used: queue.next_used(),
            size: queue.size(),
            parts: [queue.desc_table(), queue.avail_ring(), queue.used_ring()],
        }
    }

    /// Returns what was parked. True if there was anything.
    fn unpark(&mut self, memory: &Memory) -> bool {
        let parked = std::mem::take(&mut self.parked);
        for answer in &parked {
            self.give_back(memory, answer.head, &answer.writable, &answer.bytes);
        }
        !parked.is_empty()
    }

    fn forget_out(&mut self) {
        self.generation += 1;
        self.out = 0;
        self.runs_out = 0;
        self.parked.clear();
    }

    fn is_active(&self) -> bool {
        self.served && self.fault.is_none()
    }

    fn pop_any(
        &mut self,
        memory: &Memory,
        readable: Readable<'_>,
        writable: &mut Writable,
        turn: &mut Turn,
    ) -> Option<Result<Head, (Head, Malformed)>> {
        if !self.is_active() {
            return None;
        }
        let mut chain = self.queue.pop_descriptor_chain(memory.memory())?;
        turn.descriptor(0);
        self.promised = None;
        let mut head = Head {
            index: chain.head_index(),
            generation: self.generation,
            runs: 0,
        };
        let taken = if self.out < self.queue.size() {
            chain::take_apart(&mut chain, readable, writable, turn)
        } else {
            Err(Malformed::Reused)
        };
        self.out = self.out.saturating_add(1);
        let taken = taken.and_then(|()| {
            let runs = self.runs_out + writable.runs();
            if runs > MAX_RUNS_OUT {
                return Err(Malformed::TooManyOut);
            }
            head.runs = writable.runs();
            self.runs_out = runs;
            Ok(head)
        });
        Some(taken.map_err(|malformed| (head, malformed)))
    }

    /// True if all of `bytes` were written, or will be.
    fn give_back(
        &mut self,
        memory: &Memory,
        head: Head,
        writable: &Writable,
        bytes: &[u8],
    ) -> bool {
        if head.generation != self.generation {
            return false;
        }
        if !self.served && !self.stopping {
            self.parked.push(Parked {
                head,
                writable: writable.clone(),
                bytes: bytes.to_vec(),
            });
            return true;
        }
        self.unsignalled = true;
        self.out = self.out.saturating_sub(1);
        self.runs_out = self.runs_out.saturating_sub(head.runs);
        let memory = memory.memory();
        let written = writable.write(&*memory, bytes);
        let len = u32::try_from(written).unwrap_or(u32::MAX);
        if let Err(error) = self.queue.add_used(&*memory, head.index, len) {
            tracing::debug!("cannot return a buffer: {error}");
            return false;
        }
        written == bytes.len()
    }
}

#[cfg(test)]
mod tests;
