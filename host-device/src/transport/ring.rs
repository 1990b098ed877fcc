// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! One virtqueue: what the VMM told us of it, and the buffers in it.

use std::fs::File;
use std::io::Write;
use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Error, Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::chain::{self, Malformed, Readable, Writable};
use super::turn::Turn;
use crate::counters::Counters;
use crate::fair::FairMutex;

/// Guest memory as the VMM describes it; replaced as a whole when that changes.
pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// A buffer of the guest that was taken off the ring and must go back, unless the ring is stopped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    index: u16,
    generation: Wrapping<u32>,
}

/// A ring under its lock.
pub(super) struct State {
    queue: Queue,
    enabled: bool,
    /// Counts stops. A buffer of an earlier generation is not the ring's any more.
    generation: Wrapping<u32>,
    /// Buffers that are out. No driver that keeps to the rules has more than the ring's size.
    out: u16,
    /// Buffers went back that the guest has not been told of.
    unsignalled: bool,
    /// Somebody waits for buffers that are out.
    stopping: bool,
    /// Where the ring stood when it was stopped.
    stopped_at: Option<u16>,
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
                generation: Wrapping(0),
                out: 0,
                unsignalled: false,
                stopping: false,
                stopped_at: None,
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

    /// Takes the next buffer: copies its device-readable bytes to `readable`, and leaves in `writable` where its
    /// device-writable part is. Malformed buffers go back to the guest, empty. `None` if there is no buffer, or
    /// `turn` is over.
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

    /// Returns a buffer with as much of `bytes` as fits, unless the ring was stopped. Does not signal.
    pub(super) fn give_back(&self, head: Head, writable: &Writable, bytes: &[u8]) {
        // Under the lock: a stop comes before or after, and after it nothing is written.
        let mut state = self.state();
        state.give_back(&self.memory, head, writable, bytes);
        // Only when somebody waits: it is a system call.
        if state.stopping {
            self.returned.notify_all();
        }
    }

    /// Stops the ring. Buffers that are out may still go back for as long as `patience`. Returns the index of the
    /// next one.
    pub(super) fn stop(&self, patience: Duration) -> u16 {
        let mut state = self.state();
        state.queue.set_ready(false);
        state.stopping = true;
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
        let next = state.queue.next_avail();
        state.stopped_at = Some(next);
        next
    }

    /// Takes a buffer that has room for all of `bytes`, and returns it with them. Buffers that are malformed or
    /// too small go back empty. False if there is none left, or `turn` is over.
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

    /// Asks the guest for a kick when it adds a buffer. True if it already has: [`pop`](Self::pop) has to look
    /// again.
    ///
    /// If that got nowhere the last time, the indices of the guest make no sense, and it is not true again.
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

    /// Tells the guest of returned buffers that it has not been told of, if it wants to know.
    pub(super) fn signal(&self) {
        self.tell(false);
    }

    /// Tells the guest of returned buffers that it has not been told of, even if it does not want to know.
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
    // The flag that `needs_notification` does not look at; what was returned must be there for who clears it.
    fence(Ordering::SeqCst);
    let flags = memory
        .load::<u16>(GuestAddress(queue.avail_ring()), Ordering::Relaxed)
        .map_err(Error::GuestMemory)?;
    Ok(u16::from_le(flags) & VRING_AVAIL_F_NO_INTERRUPT as u16 == 0)
}

impl State {
    pub(super) fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    pub(super) fn set_kick(&mut self, file: Option<File>) {
        self.kick = file.map(Arc::new);
    }

    pub(super) fn set_call(&mut self, file: Option<File>) {
        self.call = file;
    }

    pub(super) fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Starts the ring, where it stands in guest memory.
    pub(super) fn start(&mut self) {
        self.stopped_at = None;
        self.queue.set_ready(true);
    }

    /// Whether the ring runs, or would go on where it was stopped: the VM was paused. A ring that was reset begins
    /// anew.
    pub(super) fn would_resume(&self) -> bool {
        let next = self.queue.next_avail();
        self.queue.ready() || next != 0 && self.stopped_at == Some(next)
    }

    /// Disables the ring: buffers that are out do not go back, and it will not be resumed.
    pub(super) fn disable(&mut self) {
        self.forget_out();
        self.enabled = false;
        self.stopped_at = None;
    }

    fn forget_out(&mut self) {
        self.generation += 1;
        self.out = 0;
    }

    /// Takes over from the used ring how far the device was.
    pub(super) fn resume(&mut self, memory: &Memory) -> Result<(), Error> {
        let used = self.queue.used_idx(&*memory.memory(), Ordering::Relaxed)?;
        self.queue.set_next_used(used.0);
        Ok(())
    }

    fn is_active(&self) -> bool {
        self.enabled && self.queue.ready()
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
        let head = Head {
            index: chain.head_index(),
            generation: self.generation,
        };
        let taken = if self.out < self.queue.size() {
            chain::take_apart(&mut chain, readable, writable, turn)
        } else {
            Err(Malformed::Reused)
        };
        self.out = self.out.saturating_add(1);
        Some(taken.map(|()| head).map_err(|malformed| (head, malformed)))
    }

    /// True if all of `bytes` were written.
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
        self.unsignalled = true;
        self.out = self.out.saturating_sub(1);
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
