// SPDX-License-Identifier: GPL-2.0

//! The device: its queues, its sessions, and whether it is alive.

use super::command::{ping_request, CommandRequest, Pending, Posting};
use super::event;
use super::memory::Mappings;
use super::session::{SessionHandle, SessionNode};
use super::stats::Stats;
use super::watchdog::{Pulse, Verdict};
use crate::media::revocable::Revocable;
use crate::media::Handle;
use crate::virtio::sync::{new_irq_lock, IrqLock};
use crate::virtio::{self, Attach, Later, Request, ShmRegion, Tell, Virtqueue, STATUS_NEEDS_RESET};
use crate::wire;
use crate::wire::config::Config;
use kernel::c_str;
use kernel::device::Bound;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNodeReservation};
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// At most this many buffers are left on the event queue. What comes faster than they are emptied is held back
/// by the device.
const MAX_EVENT_BUFFERS: usize = 64;

/// What buffers are aligned to in the device's shared memory region: a kernel with larger pages cannot map them.
const REGION_PAGE: usize = 4096;

/// How the device is.
mod health {
    /// It answers.
    pub(super) const ALIVE: u32 = 0;
    /// It left a command unanswered for too long. Any answer makes it alive again.
    pub(super) const SILENT: u32 = 1;
    /// It says itself that only a reset helps.
    pub(super) const FAILED: u32 = 2;
    /// It is being removed.
    pub(super) const GONE: u32 = 3;
}

/// A Media Device.
///
/// It is shared by the bus (as the handler of its interrupts), the node, and every open file, and outlives the
/// device itself if files stay open.
#[pin_data]
pub(crate) struct MediaDevice {
    #[pin]
    commands: Virtqueue<Pending>,
    #[pin]
    events: Virtqueue<()>,
    /// Open sessions by ID. While an event is delivered the lock is held, so the session is not freed meanwhile.
    #[pin]
    sessions: IrqLock<RBTree<u32, SessionHandle>>,
    health: Atomic<u32>,
    #[pin]
    pulse: Pulse,
    #[pin]
    mappings: Mutex<Mappings>,
    config: Config,
    shm: Option<ShmRegion>,
    /// Whether the device can be told where memory of the guest is.
    lends: bool,
    dma_device: ARef<kernel::device::Device>,
    memory: Arc<Revocable>,
    stats: Stats,
    /// Number of the last QBUF.
    postings: Atomic<u64>,
    /// Requests that own memory, on their way out.
    later: Arc<Later<Pending>>,
    dev: ARef<virtio::Device>,
}

impl MediaDevice {
    /// A device without queues.
    pub(super) fn new(dev: &virtio::Device<Bound>, config: &Config) -> Result<Arc<Self>> {
        let mut shm = dev.shm_region(wire::SHM_REGION_MMAP);
        if shm.is_some() && PAGE_SIZE != REGION_PAGE {
            dev_warn!(
                dev,
                "pages are of {} KiB here, and of 4 in the device's shared memory: MMAP buffers are pages of the guest\n",
                PAGE_SIZE / 1024
            );
            shm = None;
        }
        let lends = !dev.has_feature(virtio::F_ACCESS_PLATFORM);
        dev.take_any_segment();
        let config = *config;
        let pulse = Pulse::new()?;
        let dma_device = dev.dma_device();
        let memory = Revocable::new()?;
        let later = Later::new()?;
        Arc::pin_init(
            pin_init!(Self {
                commands <- virtio::new_virtqueue!("virtio_v4l2_commands"),
                events <- virtio::new_virtqueue!("virtio_v4l2_events"),
                sessions <- new_irq_lock!(RBTree::new(), "virtio_v4l2_sessions"),
                health: Atomic::new(health::ALIVE),
                pulse <- pulse,
                mappings <- new_mutex!(Mappings::new()),
                config,
                shm,
                lends,
                dma_device,
                memory,
                stats: Stats::new(),
                postings: Atomic::new(0),
                later,
                dev: dev.into(),
            }),
            GFP_KERNEL,
        )
    }

    /// Leaves buffers for events with the device.
    pub(super) fn fill_event_queue(&self) -> Result {
        for _ in 0..self.events.size().min(MAX_EVENT_BUFFERS) {
            let request = Request::new(KVVec::new(), wire::event::MAX_EVENT_SIZE, ())?;
            self.events.submit(request, Tell::Now)?;
        }
        Ok(())
    }

    /// Name of the device, for people.
    pub(super) fn card(&self) -> &str {
        let end = self.config.card.iter().position(|byte| *byte == 0);
        let name = &self.config.card[..end.unwrap_or(self.config.card.len())];
        core::str::from_utf8(name).unwrap_or("a Media Device")
    }

    /// The configuration space.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Shared memory region 0, if the device has it.
    pub(super) fn shm(&self) -> Option<ShmRegion> {
        self.shm
    }

    /// Whether the device can be told where memory of the guest is. Says so in the log if it cannot.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: it is behind an IOMMU, or memory is encrypted (`VIRTIO_F_ACCESS_PLATFORM`).
    pub(super) fn check_lending(&self) -> Result {
        if self.lends {
            return Ok(());
        }
        if virtio::may_log() {
            dev_warn!(
                self.dev,
                "with VIRTIO_F_ACCESS_PLATFORM the guest's memory cannot be lent to the device: use MMAP buffers\n"
            );
        }
        Err(Error::from_errno(-(kernel::bindings::EOPNOTSUPP as i32)))
    }

    pub(super) fn dev(&self) -> &virtio::Device {
        &self.dev
    }

    /// Counters.
    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A number for a QBUF that is posted.
    pub(super) fn next_posting(&self) -> u64 {
        self.postings.fetch_add(1, Relaxed) + 1
    }

    /// The event queue.
    pub(super) fn events(&self) -> &Virtqueue<()> {
        &self.events
    }

    /// The device that dmabufs are attached to.
    pub(super) fn dma_device(&self) -> &ARef<kernel::device::Device> {
        &self.dma_device
    }

    /// What processes map of its shared memory.
    pub(super) fn memory(&self) -> &Arc<Revocable> {
        &self.memory
    }

    /// Fences that a buffer of that session was held for are over. Called in any context, with a fence's lock held and
    /// interrupts off.
    pub(super) fn fence_signalled(&self, session: u32) {
        let sessions = self.sessions.lock();
        let drain = match sessions.get(&session) {
            Some(session) => session.advance_lines(),
            None => return,
        };
        drop(sessions);
        self.advanced(drain);
    }

    /// Buffers that waited for other devices may have been posted.
    pub(super) fn advanced(&self, drain: bool) {
        if drain {
            self.reap();
        }
        self.commands.kick();
    }

    /// The command queue.
    pub(super) fn commands(&self) -> &Virtqueue<Pending> {
        &self.commands
    }

    /// How long a command may take, in milliseconds; 0 is for ever.
    pub(super) fn timeout(&self) -> u32 {
        super::parameter(crate::module_parameters::timeout_ms.value())
    }

    /// Whether nothing will be answered any more.
    pub(super) fn has_failed(&self) -> bool {
        self.health.load(Relaxed) == health::FAILED
    }

    /// Whether commands may be sent.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the device is gone.
    /// - `EIO`: the device has failed, or does not answer.
    pub(super) fn check(&self) -> Result {
        match self.health.load(Relaxed) {
            health::ALIVE => Ok(()),
            health::GONE => Err(ENODEV),
            _ => Err(EIO),
        }
    }

    /// As [`Self::check`], for OPEN, which may try whether a silent device answers again.
    pub(super) fn check_open(&self) -> Result {
        match self.health.load(Relaxed) {
            health::SILENT => Ok(()),
            _ => self.check(),
        }
    }

    /// A command was not answered in time.
    pub(super) fn went_silent(&self) {
        if self.change_health(health::ALIVE, health::SILENT) {
            dev_err!(
                self.dev,
                "the device did not answer within {} ms; is its daemon running?\n",
                self.timeout()
            );
            self.wake_all();
        }
    }

    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// A period of the watchdog is over. Called in interrupts.
    pub(super) fn look_after(&self) {
        // Nobody should have to wait for this; but who does is not to wait for ever.
        self.deliver_events();
        self.reap();
        self.commands.kick();
        if self.timeout() == 0 {
            return;
        }
        // Without sessions nobody waits.
        if self.sessions.lock().is_empty() {
            return;
        }
        match self.pulse.judge() {
            Verdict::Wait => {}
            Verdict::Ask(ping) => self.post(ping),
            Verdict::Dead => self.went_silent(),
        }
    }

    /// Asks the device whether it lives, unless it has been asked.
    pub(super) fn ask(&self) {
        if let Some(ping) = self.pulse.take_ping() {
            self.post(ping);
        }
    }

    /// The device goes away: nothing new is sent to it, and whoever waits learns of it. Returns whether it still
    /// answers.
    pub(super) fn remove(&self) -> bool {
        let before = self.health.xchg(health::GONE, Relaxed);
        self.mappings.lock().close();
        self.memory.end();
        self.wake_all();
        before == health::ALIVE
    }

    /// The list of mappings.
    pub(super) fn mappings(&self) -> &Mutex<Mappings> {
        &self.mappings
    }

    /// Unmaps all that processes have mapped, and waits a little until the device has answered everything: QEMU
    /// 11.1 does not survive the reset of a device that has something mapped into its shared memory, nor a change of
    /// it in the middle of the reset.
    ///
    /// No process touches a mapping any more. May sleep.
    pub(super) fn end_mappings(&self, alive: bool) {
        for munmap in self.mappings.lock().end() {
            self.post(munmap);
        }
        self.settle_down(alive);
    }

    /// The system is to be suspended, in which the device forgets everything. Waits a little until it has answered what
    /// nobody waits for. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY`: there are sessions, or what was mapped in one.
    pub(super) fn freeze(&self) -> Result {
        let sessions = self.sessions.lock().values().count();
        let mappings = self.mappings.lock().len();
        if sessions > 0 || mappings > 0 {
            dev_err!(
                self.dev,
                "cannot be suspended: programs have the device open {} times and {} of its buffers mapped; end them first\n",
                sessions,
                mappings
            );
            return Err(EBUSY);
        }
        self.settle_down(self.check().is_ok());
        Ok(())
    }

    /// The device has been reset, and has queues again. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: it is of no use until it is bound anew.
    pub(super) fn restore(&self) -> Result {
        let result = ping_request()
            .map(|ping| self.pulse.restart(ping))
            .and_then(|()| self.fill_event_queue());
        let health = match result {
            Ok(()) => health::ALIVE,
            Err(_) => health::FAILED,
        };
        self.health.store(health, Relaxed);
        result
    }

    /// Waits a little until the device has answered everything.
    fn settle_down(&self, alive: bool) {
        let mut left = if alive { 500 } else { 0 };
        while left > 0 && !self.commands.is_idle() {
            self.reap();
            fsleep(Delta::from_millis(2));
            left -= 1;
        }
    }

    fn change_health(&self, from: u32, to: u32) -> bool {
        self.health.cmpxchg(from, to, Relaxed).is_ok()
    }

    /// Wakes whoever waits for something of that session. May be called in interrupts.
    pub(super) fn wake_session(&self, id: u32) {
        if let Some(session) = self.sessions.lock().get(&id) {
            session.wake_for_error();
        }
    }

    /// Has everybody look at how the device is, after that has changed.
    fn wake_all(&self) {
        for session in self.sessions.lock().values() {
            session.wake_for_error();
        }
    }

    /// Makes the session known, so that events reach it.
    ///
    /// # Errors
    ///
    /// `EIO` if there is one with that ID already; `ENOMEM`.
    pub(super) fn add_session(&self, session: &SessionHandle) -> Result {
        let reservation = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let node = reservation.into_node(session.id(), session.clone());
        let mut sessions = self.sessions.lock();
        if sessions.get(&session.id()).is_some() {
            drop(sessions);
            drop(node);
            self.complain(c_str!("it opened a session twice"));
            return Err(EIO);
        }
        sessions.insert(node);
        Ok(())
    }

    /// Ends [`Self::add_session`]. When this returns no interrupt looks at the session.
    pub(super) fn remove_session(&self, id: u32, session: &Handle<SessionNode>) {
        let mut sessions = self.sessions.lock();
        let own = sessions
            .get(&id)
            .is_some_and(|known| core::ptr::eq(&**known, session));
        let node = own.then(|| sessions.remove_node(&id));
        drop(sessions);
        drop(node);
    }

    /// Logs that the device does what it should not, unless it does so all the time.
    pub(super) fn complain(&self, what: &CStr) {
        if virtio::may_log() {
            dev_warn!(self.dev, "bad device: {}\n", what);
        }
    }

    /// Delivers the events that are there, and tells the device of what it has not been told of if it has run out of
    /// buffers.
    pub(super) fn deliver_events(&self) {
        let mut rings = false;
        self.events.recycle(|buffer| {
            let result = event::deliver(buffer, &|id, action| {
                match self.sessions.lock().get(&id) {
                    Some(session) => action(session),
                    // The session may have been closed while the event was on its way.
                    None => Ok(false),
                }
            });
            match result {
                Ok(ring) => rings |= ring,
                Err(_) => self.complain(c_str!("it sent an event that makes no sense")),
            }
        });
        if rings {
            self.commands.kick();
        }
    }

    /// A program is about to wait: the device is to know all that it may be waiting for.
    pub(super) fn settle(&self) {
        self.reap();
        self.commands.kick();
    }

    /// Looks at the answers that are there.
    pub(super) fn reap(&self) {
        self.commands.drain(|completed| {
            self.pulse.hear();
            if self.change_health(health::SILENT, health::ALIVE) {
                dev_info!(self.dev, "the device answers again\n");
            }
            // What the device sent before the answer is to be seen before the answer.
            self.deliver_events();
            self.answered(completed);
        });
    }

    /// The device has answered a QBUF. Returns the request if there is no use for it.
    pub(super) fn buffer_answered(
        &self,
        posting: &Posting,
        refused: bool,
        request: CommandRequest,
    ) -> Option<CommandRequest> {
        match self.sessions.lock().get(&posting.session_id) {
            Some(session) => session.buffer_answered(posting, refused, request),
            None => Some(request),
        }
    }

    /// Drops a request that owns memory, or was large: not in an interrupt.
    pub(super) fn discard(&self, request: CommandRequest) {
        Later::discard(&self.later, request);
    }

    /// The device has been reset: sessions that are still open give back what they lent to it. May sleep.
    pub(super) fn end_lending(&self) {
        let mut last = None;
        loop {
            let sessions = self.sessions.lock();
            let next = sessions.iter().find(|(id, _)| Some(**id) > last);
            let Some((id, session)) = next.map(|(id, session)| (*id, session.clone())) else {
                break;
            };
            drop(sessions);
            session.lending().end(&session);
            last = Some(id);
        }
    }

    /// Waits until all that was discarded is dropped. May sleep.
    pub(super) fn end_discards(&self) {
        self.later.flush();
    }
}

impl virtio::Handler for MediaDevice {
    const QUEUES: &'static [&'static CStr] = &[c_str!("command"), c_str!("event")];

    fn queue(&self, index: usize) -> Option<&dyn Attach> {
        match u16::try_from(index) {
            Ok(wire::COMMAND_QUEUE) => Some(&self.commands),
            Ok(wire::EVENT_QUEUE) => Some(&self.events),
            _ => None,
        }
    }

    fn notified(&self, index: usize) {
        self.stats.interrupted(index);
        self.pulse.hear();
        if index == usize::from(wire::EVENT_QUEUE) {
            self.deliver_events();
        }
        self.reap();
    }

    fn config_changed(&self, dev: &virtio::Device<Bound>) {
        if dev.status() & STATUS_NEEDS_RESET != 0
            && (self.change_health(health::ALIVE, health::FAILED)
                || self.change_health(health::SILENT, health::FAILED))
        {
            dev_err!(self.dev, "the device has failed and must be reset\n");
            self.wake_all();
        }
    }
}
