// SPDX-License-Identifier: GPL-2.0

//! The device's queues, and whether it is alive.

use super::message::ping_request;
use super::pending::{CommandRequest, Pending, Posting};
use super::pulse::{Pulse, Verdict};
use super::stats::Stats;
use crate::driver::parameters;
use crate::virtio::{
    self, Attach, Completed, Later, Notify, Request, Virtqueue, STATUS_NEEDS_RESET,
};
use crate::wire;
use crate::wire::config::Config;
use crate::wire::{COMMAND_QUEUE, EVENT_QUEUE};
use kernel::c_str;
use kernel::device::Bound;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// Most buffers on the event queue. While the driver has not emptied one, the device keeps further
/// events back.
const MAX_EVENT_BUFFERS: usize = 64;

/// State of the device.
mod health {
    /// It answers.
    pub(super) const ALIVE: u32 = 0;
    /// It left a command unanswered for too long. Any answer makes it alive again.
    pub(super) const SILENT: u32 = 1;
    /// It has set `DEVICE_NEEDS_RESET`.
    pub(super) const FAILED: u32 = 2;
    /// It is being removed.
    pub(super) const GONE: u32 = 3;
}

/// What takes the answers and events of the device. All methods may be called in interrupts.
pub(in crate::driver) trait Completion: Send + Sync {
    /// The device has answered a QBUF. Returns the request if there is no use for it.
    fn buffer_answered(
        &self,
        posting: &Posting,
        refused: bool,
        request: CommandRequest,
    ) -> Option<CommandRequest>;

    /// The device has sent an event, which must be copied. The event queue's lock is held. Returns
    /// whether the device should be notified of what it has not been notified of.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `EIO` if it is no event, or none that its session can have.
    fn event(&self, event: &Completed<()>) -> Result<bool>;

    /// Posts those of a session's buffers that need not wait any more. Returns whether the command
    /// queue must be drained; `None` if there is no such session.
    fn advance(&self, session: u32) -> Option<bool>;

    /// Wakes whoever waits for a buffer or event of that session.
    fn wake(&self, session: u32);

    /// Wakes whoever waits for anything of the device.
    fn wake_all(&self);

    /// Whether there are sessions, so that somebody may be waiting.
    fn is_used(&self) -> bool;
}

/// The queues of a Media Device.
///
/// It is shared by the bus (as the handler of its interrupts) and every open file, and outlives the
/// device itself if files stay open.
#[pin_data]
pub(crate) struct Channel {
    #[pin]
    commands: Virtqueue<Pending>,
    #[pin]
    events: Virtqueue<()>,
    completion: Arc<dyn Completion>,
    health: Atomic<u32>,
    #[pin]
    pulse: Pulse,
    config: Config,
    stats: Stats,
    /// Number of the last QBUF.
    postings: Atomic<u64>,
    /// Requests that own memory and are to be dropped outside of interrupts.
    later: Arc<Later<Pending>>,
    dev: ARef<virtio::Device>,
}

impl Channel {
    /// A channel without queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::driver) fn new(
        dev: &virtio::Device<Bound>,
        config: &Config,
        completion: Arc<dyn Completion>,
    ) -> Result<Arc<Self>> {
        let config = *config;
        let pulse = Pulse::new()?;
        let later = Later::new()?;
        Arc::pin_init(
            pin_init!(Self {
                commands <- virtio::new_virtqueue!("virtio_v4l2_commands"),
                events <- virtio::new_virtqueue!("virtio_v4l2_events"),
                completion,
                health: Atomic::new(health::ALIVE),
                pulse <- pulse,
                config,
                stats: Stats::new(),
                postings: Atomic::new(0),
                later,
                dev: dev.into(),
            }),
            GFP_KERNEL,
        )
    }

    /// Leaves buffers for events with the device.
    pub(in crate::driver) fn fill_event_queue(&self) -> Result {
        for _ in 0..self.events.size().min(MAX_EVENT_BUFFERS) {
            let request = Request::new(KVVec::new(), wire::event::MAX_EVENT_SIZE, ())?;
            self.events.submit(request, Notify::Now)?;
        }
        Ok(())
    }

    /// Name of the device, for people.
    pub(in crate::driver) fn card(&self) -> &str {
        let end = self.config.card.iter().position(|byte| *byte == 0);
        let name = &self.config.card[..end.unwrap_or(self.config.card.len())];
        core::str::from_utf8(name).unwrap_or("a Media Device")
    }

    /// The configuration space.
    pub(in crate::driver) fn config(&self) -> &Config {
        &self.config
    }

    pub(in crate::driver) fn dev(&self) -> &virtio::Device {
        &self.dev
    }

    /// Counters.
    pub(in crate::driver) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A number for a QBUF that is posted.
    pub(in crate::driver) fn next_posting(&self) -> u64 {
        self.postings.fetch_add(1, Relaxed) + 1
    }

    /// The command queue.
    pub(in crate::driver) fn commands(&self) -> &Virtqueue<Pending> {
        &self.commands
    }

    pub(super) fn completion(&self) -> &dyn Completion {
        &*self.completion
    }

    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How long a command may take, in milliseconds; 0 is for ever.
    pub(super) fn timeout(&self) -> u32 {
        parameters::timeout_ms()
    }
}

/// Whether the device is alive.
impl Channel {
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
    pub(in crate::driver) fn check(&self) -> Result {
        match self.health.load(Relaxed) {
            health::ALIVE => Ok(()),
            health::GONE => Err(ENODEV),
            _ => Err(EIO),
        }
    }

    /// As [`Self::check`], for OPEN, which may try whether a silent device answers again.
    pub(in crate::driver) fn check_open(&self) -> Result {
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
            self.completion.wake_all();
        }
    }

    /// A period of the watchdog is over. Called in interrupts.
    pub(super) fn look_after(&self) {
        // If a notification got lost, nobody waits for longer than a period.
        self.deliver_events();
        self.reap();
        self.commands.kick();
        if self.timeout() == 0 {
            return;
        }
        // Without sessions nobody waits.
        if !self.completion.is_used() {
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

    /// The device goes away: nothing new is sent to it. Returns whether it still answers.
    pub(in crate::driver) fn remove(&self) -> bool {
        self.health.xchg(health::GONE, Relaxed) == health::ALIVE
    }

    /// The device has been reset, and has queues again. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: it is of no use until it is bound anew.
    pub(in crate::driver) fn restore(&self) -> Result {
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

    fn change_health(&self, from: u32, to: u32) -> bool {
        self.health.cmpxchg(from, to, Relaxed).is_ok()
    }

    /// Wakes whoever waits for a buffer or event of that session. May be called in interrupts.
    pub(in crate::driver) fn wake(&self, session: u32) {
        self.completion.wake(session);
    }

    /// Wakes everybody who waits, after the state of the device has changed.
    pub(in crate::driver) fn wake_all(&self) {
        self.completion.wake_all();
    }

    /// Logs that the device breaks the protocol; rate-limited.
    pub(in crate::driver) fn complain(&self, what: &CStr) {
        if virtio::may_log() {
            dev_warn!(self.dev, "bad device: {}\n", what);
        }
    }
}

/// What has come back.
impl Channel {
    /// Waits a little until the device has answered everything, if it is alive. May sleep.
    pub(in crate::driver) fn flush(&self, alive: bool) {
        let mut left = if alive { 500 } else { 0 };
        while left > 0 && !self.commands.is_idle() {
            self.reap();
            fsleep(Delta::from_millis(2));
            left -= 1;
        }
    }

    /// Delivers the events that are there. If the device has run out of buffers of a queue, it is
    /// notified of those that are posted.
    fn deliver_events(&self) {
        let mut kick = false;
        self.events
            .recycle(|event| match self.completion.event(event) {
                Ok(more) => kick |= more,
                Err(_) => self.complain(c_str!("it sent an event that makes no sense")),
            });
        if kick {
            self.commands.kick();
        }
    }

    /// Notifies the device of everything, as a program is about to wait.
    pub(in crate::driver) fn announce(&self) {
        self.reap();
        self.commands.kick();
    }

    /// Posts the pending buffers of a session whose fences have signalled. Called in any context,
    /// with a fence's lock held and interrupts off.
    pub(in crate::driver) fn advance(&self, session: u32) {
        if let Some(drain) = self.completion.advance(session) {
            self.advanced(drain);
        }
    }

    /// Buffers that waited may have been posted. If `drain` says so, the command queue must be
    /// drained.
    pub(in crate::driver) fn advanced(&self, drain: bool) {
        if drain {
            self.reap();
        }
        self.commands.kick();
    }

    /// Handles the answers that are there.
    pub(in crate::driver) fn reap(&self) {
        self.commands.drain(|completed| {
            self.pulse.hear();
            if self.change_health(health::SILENT, health::ALIVE) {
                dev_info!(self.dev, "the device answers again\n");
            }
            // An event that precedes an answer is delivered before it.
            self.deliver_events();
            self.answered(completed);
        });
    }

    /// Drops a request that owns memory, or was large: not in an interrupt.
    pub(super) fn discard(&self, request: CommandRequest) {
        Later::discard(&self.later, request);
    }

    /// Waits until all that was discarded is dropped. May sleep.
    pub(in crate::driver) fn end_discards(&self) {
        self.later.flush();
    }

    /// Writes the counters to the kernel log.
    pub(in crate::driver) fn log_stats(&self) {
        let stats = &self.stats;
        let interrupts = |queue: u16| stats.interrupts[usize::from(queue)].load(Relaxed);
        dev_info!(
            self.dev,
            "virtio_v4l2 stats: kicks_command={} kicks_event={} interrupts_command={} \
             interrupts_event={} calls={} posted={} pins={} attaches={} bytes_copied={}\n",
            self.commands.kicks(),
            self.events.kicks(),
            interrupts(COMMAND_QUEUE),
            interrupts(EVENT_QUEUE),
            stats.calls.load(Relaxed),
            stats.posted.load(Relaxed),
            stats.pins.load(Relaxed),
            stats.attaches.load(Relaxed),
            stats.bytes_copied.load(Relaxed)
        );
    }
}

impl virtio::Handler for Channel {
    const QUEUES: &'static [&'static CStr] = &[c_str!("command"), c_str!("event")];

    fn queue(&self, index: usize) -> Option<&dyn Attach> {
        match u16::try_from(index) {
            Ok(COMMAND_QUEUE) => Some(&self.commands),
            Ok(EVENT_QUEUE) => Some(&self.events),
            _ => None,
        }
    }

    fn notified(&self, index: usize) {
        self.stats.interrupted(index);
        self.pulse.hear();
        if index == usize::from(EVENT_QUEUE) {
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
            self.completion.wake_all();
        }
    }
}
