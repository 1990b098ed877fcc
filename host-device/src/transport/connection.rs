// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The connection of one VMM: its memory, its rings, its sessions, and the thread that serves them.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::wire::{COMMAND_QUEUE, EVENT_QUEUE};
use tokio::runtime::Handle;
use vm_memory::{GuestAddressSpace, GuestMemoryMmap};

use super::channel::Channel;
use super::command::{self, Scratch};
use super::event::EventQueue;
use super::ring::{Memory, Ring};
use crate::config::Limits;
use crate::counters::Counters;
use crate::device::api::Device;
use crate::events::Outbox;
use crate::memory::{Account, Arena, Ledger, Region, Vm};
use crate::session::Sessions;

/// Most descriptors of a queue: what VIRTIO allows, and crosvm asks for.
const QUEUE_SIZE: u16 = 32768;

/// What the ring thread waits for.
const WAKE: u64 = 0;
const COMMANDS: u64 = 1;
const EVENTS: u64 = 2;

/// How long a queue that is stopped waits for commands that are being carried out. The VMM waits as
/// long.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What the ring thread keeps from one turn to the next.
#[derive(Default)]
struct Work {
    scratch: Scratch,
    /// The last turn ended before the commands did.
    more_commands: bool,
}

/// One VMM.
pub(super) struct VmmConnection {
    pub(super) device: Arc<dyn Device>,
    pub(super) memory: Memory,
    pub(super) vm: Vm,
    pub(super) region: Arc<Region>,
    pub(super) channel: Channel,
    commands: Arc<Ring>,
    events: Arc<Ring>,
    outbox: Arc<Outbox>,
    sessions: Sessions,
    /// Stopped, and it is not known yet whether the device was reset or the VM paused: events wait.
    undecided: Arc<AtomicBool>,
    /// Makes the ring thread look at everything anew.
    wake: EventFd,
    /// Makes the ring thread go on with events.
    more_events: Arc<EventFd>,
    ended: AtomicBool,
}

impl VmmConnection {
    pub(super) fn new(
        device: Arc<dyn Device>,
        (limits, account): (Limits, &Arc<Account>),
        runtime: Handle,
    ) -> anyhow::Result<Arc<Self>> {
        let memory = Memory::new(GuestMemoryMmap::new());
        let counters = Counters::new();
        let ring = || Ring::new(memory.clone(), QUEUE_SIZE, Arc::clone(&counters)).map(Arc::new);
        let (commands, events) = (ring()?, ring()?);
        let undecided = Arc::new(AtomicBool::new(false));
        let eventfd = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let more_events = Arc::new(eventfd()?);
        let queue = EventQueue {
            ring: Arc::clone(&events),
            undecided: Arc::clone(&undecided),
            more: Arc::clone(&more_events),
        };
        let outbox = Outbox::new(queue, Arc::clone(&counters));
        let channel = Channel::default();
        let arena = arena(limits.shm_size, account);
        let vm = Vm::new(
            memory.clone(),
            Ledger::on(Arc::clone(account), arena.clone()),
            channel.clone(),
            counters,
            Some(runtime),
        );
        let region = Region::new(limits.shm_size, arena, channel.clone());
        let region = Arc::new(region);
        let sessions = Sessions::new(
            Arc::clone(&device),
            Arc::clone(&outbox),
            (Arc::clone(&region), vm.clone()),
            limits.max_sessions,
        )
        .context("cannot start a thread")?;
        Ok(Arc::new(Self {
            device,
            memory,
            vm,
            region,
            channel,
            commands,
            events,
            outbox,
            sessions,
            undecided,
            wake: eventfd()?,
            more_events,
            ended: AtomicBool::new(false),
        }))
    }

    /// The queue with this index.
    pub(super) fn ring(&self, index: u32) -> Option<&Ring> {
        match u16::try_from(index) {
            Ok(COMMAND_QUEUE) => Some(&self.commands),
            Ok(EVENT_QUEUE) => Some(&self.events),
            _ => None,
        }
    }

    pub(super) fn rings(&self) -> [&Ring; 2] {
        [&self.commands, &self.events]
    }

    /// Sessions that hold resources.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Has the threads that carried out commands end.
    pub(super) fn end_threads(&self) {
        self.sessions.end_threads(STOP_PATIENCE);
    }

    /// Something about the queues or the memory that they are in has changed: begins to serve those
    /// that are to be, checks where they are, and has the ring thread look at them.
    pub(super) fn changed(&self) {
        let memory = self.memory.memory();
        let mut taken = Vec::new();
        for (name, ring) in [("command", &self.commands), ("event", &self.events)] {
            self.begin(ring, &memory);
            if let Some(fault) = ring.configure(|ring| ring.check(&memory, &mut taken)) {
                tracing::warn!("the {name} queue is not served: {fault}");
            }
        }
        self.wake();
    }

    fn wake(&self) {
        // Fails only when it is readable anyway.
        let _ = self.wake.write(1);
    }

    /// Begins to serve a queue if it is to be. If that is the command queue and it does not go on
    /// where it was, the device was reset: the guest knows of no session any more.
    fn begin(&self, ring: &Ring, memory: &GuestMemoryMmap) {
        let Some(goes_on) = ring.configure(|ring| ring.due(memory)) else {
            return;
        };
        let is_commands = self.is_commands(ring);
        if is_commands {
            if goes_on {
                tracing::debug!("the guest goes on");
            } else {
                self.reset();
            }
            self.region.start();
            self.undecided.store(false, Ordering::Release);
        }
        if ring.configure(|ring| ring.serve(&self.memory, goes_on)) {
            ring.signal_anyway();
        }
    }

    fn is_commands(&self, ring: &Ring) -> bool {
        std::ptr::eq(ring, &*self.commands)
    }

    /// Stops a queue: the guest has reset the device, or the VMM paused the VM. Which of the two
    /// shows when the queue is served again: sessions stay until then. Returns the index of the
    /// queue's next buffer.
    pub(super) fn stop(&self, ring: &Ring) -> u16 {
        self.doubt(ring);
        ring.stop(STOP_PATIENCE)
    }

    /// Disables a queue. What that means shows when it is served again, as with
    /// [`stop`](Self::stop).
    pub(super) fn disable(&self, ring: &Ring) {
        if ring.configure(|ring| ring.disable()) {
            self.doubt(ring);
        }
    }

    fn doubt(&self, ring: &Ring) {
        if self.is_commands(ring) {
            self.undecided.store(true, Ordering::Release);
            self.region.stop();
        }
    }

    /// The VMM says that it resets the device.
    pub(super) fn reset_device(&self) {
        for ring in self.rings() {
            ring.configure(|ring| ring.reset());
        }
        self.reset();
    }

    /// Ends all sessions and mappings.
    fn reset(&self) {
        self.sessions.end_all();
        self.region.reset();
    }

    /// Ends everything: the VMM is gone.
    pub(super) fn end(&self) {
        self.channel.close();
        for ring in self.rings() {
            ring.configure(|ring| {
                ring.reset();
                ring.set_call(None);
            });
        }
        self.ended.store(true, Ordering::Release);
        self.wake();
        self.reset();
    }

    /// Starts the thread that serves the rings until [`end`](Self::end).
    pub(super) fn spawn(self: &Arc<Self>) -> anyhow::Result<thread::JoinHandle<()>> {
        let connection = Arc::clone(self);
        thread::Builder::new()
            .name("rings".to_owned())
            .spawn(move || connection.run())
            .context("cannot start a thread")
    }

    fn run(&self) {
        let mut work = Work::default();
        while !self.ended.load(Ordering::Acquire) {
            let kicks = [self.commands.kick(), self.events.kick()];
            if let Err(errno) = self.run_until_changed(kicks, &mut work) {
                tracing::error!("cannot wait for the guest: {errno}");
                return;
            }
        }
    }

    /// What wakes the ring thread: the files that the guest kicks, and our own.
    fn watch(&self, kicks: &[Option<Arc<File>>; 2]) -> Result<Epoll, Errno> {
        // Edge-triggered: a kick is one system call here, since nobody reads the file.
        let edge = |source| EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, source);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&self.wake, edge(WAKE))?;
        epoll.add(&self.more_events, edge(EVENTS))?;
        for (kick, source) in kicks.iter().zip([COMMANDS, EVENTS]) {
            if let Some(kick) = kick
                && let Err(errno) = epoll.add(kick, edge(source))
            {
                tracing::warn!("the VMM's file for kicks is no eventfd, and not used: {errno}");
            }
        }
        Ok(epoll)
    }

    /// Serves the rings for as long as the files that the guest kicks are these.
    fn run_until_changed(
        &self,
        kicks: [Option<Arc<File>>; 2],
        work: &mut Work,
    ) -> Result<(), Errno> {
        let epoll = self.watch(&kicks)?;
        let mut sources = [EpollEvent::empty(); 4];
        loop {
            // Commands that wait do not keep anything else waiting.
            let timeout = if work.more_commands {
                EpollTimeout::ZERO
            } else {
                EpollTimeout::NONE
            };
            let count = match epoll.wait(&mut sources, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno),
            };
            let has = |source| {
                sources
                    .iter()
                    .take(count)
                    .any(|event| event.data() == source)
            };
            let changed = has(WAKE);
            if changed {
                let _ = self.wake.read();
            } else if count > 0 {
                Counters::add(&self.vm.counters().kicks, 1);
            }
            if changed || has(EVENTS) {
                // Whoever finds too few buffers for its events asks for a kick.
                self.events.suppress_kicks();
                self.outbox.buffers_added();
            }
            if changed {
                // There may be a file to signal with only now.
                self.events.signal();
            }
            if changed || has(COMMANDS) || work.more_commands {
                let counters = self.vm.counters();
                let scratch = &mut work.scratch;
                work.more_commands =
                    command::process(&self.sessions, &self.commands, counters, scratch);
            }
            if changed {
                return Ok(());
            }
        }
    }
}

/// The arena: three quarters of the region, or the device's share of the account, if that is less:
/// the guest can fill all of it. A small region has none.
fn arena(shm_size: u64, account: &Account) -> Option<Arc<Arena>> {
    const MIN: u64 = 64 << 20;
    if shm_size < MIN {
        return None;
    }
    let size = usize::try_from(shm_size / 4 * 3).ok()?;
    Arena::new(size.min(account.arena_limit()))
        .inspect_err(|errno| tracing::warn!("each buffer gets a file of its own: {errno}"))
        .ok()
}
