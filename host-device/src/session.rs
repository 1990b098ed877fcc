// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Sessions of one VMM: commands in, typed calls out, responses back.
//!
//! No policy: what a command does is the device's business. This knows nothing of rings: the
//! transport hands over the device-readable bytes of a command and takes the bytes of the response.

mod attached;
mod command_queue;
mod failure;
mod ioctl;
mod permit;
mod threads;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use protocol::wire::command::{
    CLOSE, CmdClose, CmdHeader, CmdIoctl, CmdMmap, CmdMunmap, IOCTL, MMAP, MMAP_FLAG_RW, MUNMAP,
    OPEN, RespHeader, RespMmap, RespMunmap, RespOpen,
};
use protocol::wire::ioctl::{Ioctl, QBUF};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use self::command_queue::{CommandQueue, Now};
use self::failure::{Failure, set_status, status};
use self::permit::SessionPermit;
use self::threads::Threads;
use crate::device::api::{Device, Result};
use crate::events::{Events, Outbox};
use crate::memory::{Region, Vm};

/// Where the response to a command goes that is not answered at once. Dropped unused, it gives the
/// command back without a response.
pub trait Ticket: Send {
    /// Gives the command back with `response`, which may be empty.
    fn answer(self: Box<Self>, response: &[u8], notice: Notice);
}

/// Whether the guest is notified of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// If it wants to know.
    AsWanted,
    /// Even if it does not: nobody waits for the answer to QBUF, and a refused one is to be seen at
    /// once.
    Anyway,
}

/// An ioctl of a session.
#[derive(Clone, Copy)]
struct Call {
    session: u32,
    ioctl: &'static Ioctl,
    /// How much of the response the guest can take.
    capacity: usize,
}

impl Call {
    /// Makes the call with `input`, and leaves the response in `reply`. `None` if it is to be quick
    /// and is not.
    fn run(
        self,
        target: Result<command_queue::Target<'_>>,
        input: &[u8],
        quick: bool,
        reply: &mut Vec<u8>,
    ) -> Option<Notice> {
        let Self { session, ioctl, .. } = self;
        let result = match target {
            Ok(target) => ioctl::run(target, ioctl, input, (self.capacity, quick), reply),
            Err(errno) => {
                reply.clear();
                set_status(reply, Err(errno));
                Err(errno.into())
            }
        };
        match result {
            Ok(()) => tracing::trace!(session, "{}", ioctl.name),
            Err(Failure::Errno(errno)) => tracing::debug!(session, "{}: {errno}", ioctl.name),
            Err(Failure::Slow) => return None,
        }
        Some(notice(ioctl.code, result.is_err()))
    }
}

/// Whether a command has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The response is there.
    Answered(Notice),
    /// It goes to the ticket, later.
    Later,
}

/// Threads beyond one for each session: for MUNMAP.
const SPARE_THREADS: usize = 4;

/// Most bytes of commands that wait for busy sessions of one VMM.
const MAX_WAITING: usize = 32 << 20;

/// Input of a command that waits, counted.
struct Waiting {
    input: Vec<u8>,
    total: Arc<AtomicUsize>,
}

impl Waiting {
    fn new(input: &[u8], total: &Arc<AtomicUsize>) -> Result<Self> {
        total
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |total| {
                total
                    .checked_add(input.len())
                    .filter(|total| *total <= MAX_WAITING)
            })
            .map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            input: input.to_vec(),
            total: Arc::clone(total),
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.total.fetch_sub(self.input.len(), Ordering::AcqRel);
    }
}

#[derive(Default)]
struct Table {
    queues: HashMap<u32, Arc<CommandQueue>>,
    last_id: u32,
    /// Counts resets. A session that was being opened before one is not wanted any more.
    epoch: u64,
}

impl Table {
    /// An ID that no session has. IDs are handed out in turn, so one does not come back soon.
    fn free_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if !self.queues.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

/// All sessions of one VMM.
pub struct Sessions {
    device: Arc<dyn Device>,
    outbox: Arc<Outbox>,
    region: Arc<Region>,
    vm: Vm,
    threads: Arc<Threads>,
    limit: usize,
    open: Arc<AtomicUsize>,
    /// Bytes of commands that wait.
    waiting: Arc<AtomicUsize>,
    table: Arc<Mutex<Table>>,
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session that is being opened.
struct Opening {
    device: Arc<dyn Device>,
    events: Events,
    vm: Vm,
    threads: Arc<Threads>,
    table: Arc<Mutex<Table>>,
    open: SessionPermit,
    id: u32,
    /// When it was asked for.
    epoch: u64,
}

impl Opening {
    /// Opens it, and makes it known.
    fn run(self) -> Result<RespOpen> {
        let id = self.id;
        let call = || self.device.open(id, self.events.clone(), self.vm);
        let session = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
            tracing::error!(session = id, "panic on open, please report it");
            Err(Errno::EIO)
        })?;
        let queue = CommandQueue::new(session, self.events.clone(), self.open);
        let mut table = locked(&self.table);
        if table.epoch != self.epoch {
            drop(table);
            queue.abandon(&self.threads);
            return Err(Errno::EINVAL);
        }
        table.queues.insert(id, queue);
        drop(table);
        tracing::debug!(session = id, "open");
        Ok(RespOpen {
            session_id: id,
            ..RespOpen::default()
        })
    }
}

impl Sessions {
    pub(crate) fn new(
        device: Arc<dyn Device>,
        outbox: Arc<Outbox>,
        (region, vm): (Arc<Region>, Vm),
        limit: usize,
    ) -> std::io::Result<Self> {
        Ok(Self {
            device,
            outbox,
            region,
            vm,
            threads: Threads::new(limit.saturating_add(SPARE_THREADS))?,
            limit,
            open: Arc::default(),
            waiting: Arc::default(),
            table: Arc::default(),
        })
    }

    /// Has the threads end: there is nothing more to do. Waits for those that can.
    pub(crate) fn end_threads(&self, patience: Duration) {
        self.threads.end(patience);
    }

    /// Sessions that hold resources.
    pub fn count(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }

    fn queue(&self, id: u32) -> Result<Arc<CommandQueue>> {
        self.table().queues.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// Carries out the command in `bytes`, of whose response the guest can take `capacity` bytes.
    ///
    /// If it is answered at once, the response is in `reply`. Otherwise `ticket` was called, and
    /// gets it.
    pub fn submit(
        &self,
        bytes: &[u8],
        capacity: usize,
        reply: &mut Vec<u8>,
        ticket: impl FnOnce() -> Box<dyn Ticket>,
    ) -> Progress {
        reply.clear();
        let Ok((header, _)) = CmdHeader::read_from_prefix(bytes) else {
            set_status(reply, Err(Errno::EINVAL));
            return Progress::Answered(Notice::AsWanted);
        };
        let result = match header.cmd {
            OPEN => self.open(capacity, reply, ticket),
            CLOSE => self.close(bytes, ticket).map(|()| Progress::Later),
            IOCTL => return self.ioctl(bytes, capacity, reply, ticket),
            MMAP => self.mmap(bytes, capacity, ticket).map(|()| Progress::Later),
            MUNMAP => self.munmap(bytes, ticket).map(|()| Progress::Later),
            _ => Err(Errno::ENOTTY),
        };
        result.unwrap_or_else(|errno| {
            tracing::debug!(cmd = header.cmd, "command failed: {errno}");
            set_status(reply, Err(errno));
            Progress::Answered(Notice::AsWanted)
        })
    }

    fn open(
        &self,
        capacity: usize,
        reply: &mut Vec<u8>,
        ticket: impl FnOnce() -> Box<dyn Ticket>,
    ) -> Result<Progress> {
        if capacity < size_of::<RespOpen>() {
            return Err(Errno::EINVAL);
        }
        let open = SessionPermit::new(&self.open, self.limit)?;
        let (id, epoch) = {
            let mut table = self.table();
            (table.free_id(), table.epoch)
        };
        let opening = Opening {
            device: Arc::clone(&self.device),
            events: Events::new(Arc::clone(&self.outbox), id),
            vm: self.vm.session(),
            threads: Arc::clone(&self.threads),
            table: Arc::clone(&self.table),
            open,
            id,
            epoch,
        };
        if !self.device.may_wait() {
            reply.extend_from_slice(opening.run()?.as_bytes());
            return Ok(Progress::Answered(Notice::AsWanted));
        }
        let ticket = ticket();
        self.threads.run(move || match opening.run() {
            Ok(response) => ticket.answer(response.as_bytes(), Notice::AsWanted),
            Err(errno) => {
                tracing::debug!(session = id, "open: {errno}");
                ticket.answer(RespHeader::new(status(errno)).as_bytes(), Notice::AsWanted);
            }
        });
        Ok(Progress::Later)
    }

    fn close(&self, bytes: &[u8], ticket: impl FnOnce() -> Box<dyn Ticket>) -> Result {
        let id = read::<CmdClose>(bytes)?.session_id;
        // From here on the ID names nothing.
        let queue = self.table().queues.remove(&id).ok_or(Errno::EINVAL)?;
        tracing::debug!(session = id, "close");
        let ticket = ticket();
        queue.close(
            &self.threads,
            // There is no response, but a driver that provided a buffer for one may wait for its
            // status.
            Box::new(move || ticket.answer(RespHeader::default().as_bytes(), Notice::AsWanted)),
        );
        Ok(())
    }

    /// The call that an IOCTL command asks for, and the session that it is for. If there is none,
    /// the number of the ioctl, and why.
    fn call(
        &self,
        bytes: &[u8],
        capacity: usize,
    ) -> std::result::Result<(Arc<CommandQueue>, Call), (u32, Errno)> {
        let command = read::<CmdIoctl>(bytes).map_err(|errno| (0, errno))?;
        let (session, code) = (command.session_id, command.code);
        let ioctl = ioctl::lookup(code).map_err(|errno| {
            tracing::debug!(session, "ioctl {code}: {errno}");
            (code, errno)
        })?;
        let queue = self.queue(session).map_err(|errno| {
            tracing::debug!(session, "{}: no such session", ioctl.name);
            (code, errno)
        })?;
        let call = Call {
            session,
            ioctl,
            capacity,
        };
        Ok((queue, call))
    }

    fn ioctl(
        &self,
        bytes: &[u8],
        capacity: usize,
        reply: &mut Vec<u8>,
        ticket: impl FnOnce() -> Box<dyn Ticket>,
    ) -> Progress {
        let refuse = |code, errno, reply: &mut Vec<u8>| {
            set_status(reply, Err(errno));
            Progress::Answered(notice(code, true))
        };
        let (queue, call) = match self.call(bytes, capacity) {
            Ok(call) => call,
            Err((code, errno)) => return refuse(code, errno, reply),
        };
        let (ioctl, code) = (call.ioctl, call.ioctl.code);
        let input = bytes.get(size_of::<CmdIoctl>()..).unwrap_or_default();
        if !ioctl::is_slow(ioctl, input, &*self.device) {
            match queue.try_now(&self.threads, |target| call.run(target, input, true, reply)) {
                Now::Ran(Some(Some(notice))) => return Progress::Answered(notice),
                Now::Ran(Some(None)) => {}
                Now::Ran(None) => {
                    reply.clear();
                    return refuse(code, Errno::EIO, reply);
                }
                Now::Busy => {}
            }
        }
        let waiting = match Waiting::new(input, &self.waiting) {
            Ok(waiting) => waiting,
            Err(errno) => return refuse(code, errno, reply),
        };
        let ticket = ticket();
        queue.later(
            &self.threads,
            Box::new(move |target| {
                let mut reply = Vec::new();
                let notice = call.run(target, &waiting.input, false, &mut reply);
                ticket.answer(&reply, notice.unwrap_or(Notice::Anyway));
            }),
        );
        Progress::Later
    }

    fn mmap(
        &self,
        bytes: &[u8],
        capacity: usize,
        ticket: impl FnOnce() -> Box<dyn Ticket>,
    ) -> Result {
        let command = read::<CmdMmap>(bytes)?;
        if capacity < size_of::<RespMmap>() || command.flags & !MMAP_FLAG_RW != 0 {
            return Err(Errno::EINVAL);
        }
        let queue = self.queue(command.session_id)?;
        let region = Arc::clone(&self.region);
        let ticket = ticket();
        queue.later(
            &self.threads,
            Box::new(move |target| {
                let mapped = target
                    .and_then(|session| session.mmap(command.offset))
                    .and_then(|buffer| {
                        let len = buffer.len() as u64;
                        let driver_addr = region.map(buffer, command.flags & MMAP_FLAG_RW != 0)?;
                        Ok((driver_addr, len))
                    });
                let session = command.session_id;
                match mapped {
                    Ok((driver_addr, len)) => {
                        tracing::debug!(session, "mmap {:#x} at {driver_addr:#x}", command.offset);
                        let response = RespMmap {
                            driver_addr,
                            len,
                            ..RespMmap::default()
                        };
                        ticket.answer(response.as_bytes(), Notice::AsWanted);
                    }
                    Err(errno) => {
                        tracing::debug!(session, "mmap {:#x}: {errno}", command.offset);
                        ticket.answer(RespHeader::new(status(errno)).as_bytes(), Notice::AsWanted);
                    }
                }
            }),
        );
        Ok(())
    }

    fn munmap(&self, bytes: &[u8], ticket: impl FnOnce() -> Box<dyn Ticket>) -> Result {
        let command = read::<CmdMunmap>(bytes)?;
        let region = Arc::clone(&self.region);
        let ticket = ticket();
        // No session is concerned: a mapping outlives it.
        self.threads.run(move || {
            let result = region.unmap(command.driver_addr);
            if let Err(errno) = result {
                tracing::debug!("munmap {:#x}: {errno}", command.driver_addr);
            }
            let hdr = RespHeader::new(result.map_or_else(status, |()| 0));
            ticket.answer(RespMunmap { hdr }.as_bytes(), Notice::AsWanted);
        });
        Ok(())
    }

    /// Ends all sessions, as after a reset of the device. Does not wait for it.
    pub fn end_all(&self) {
        let queues = {
            let mut table = self.table();
            table.epoch += 1;
            std::mem::take(&mut table.queues)
        };
        for queue in queues.into_values() {
            queue.abandon(&self.threads);
        }
        self.outbox.clear();
    }
}

fn read<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<T> {
    T::read_from_prefix(bytes)
        .map(|(value, _)| value)
        .map_err(|_| Errno::EINVAL)
}

/// Whether the guest is notified of the answer to the ioctl `code`.
fn notice(code: u32, failed: bool) -> Notice {
    if code == QBUF && failed {
        Notice::Anyway
    } else {
        Notice::AsWanted
    }
}
