// SPDX-License-Identifier: GPL-2.0

//! Sessions: one for each open file.

use super::buffers::{flag, Nothing, Streams};
use super::clock::Clock;
use super::command::{close_request, set_session, CommandRequest, Posting, Undo, MAX_ERRNO};
use super::controls::Kinds;
use super::device::MediaDevice;
use super::lend::Lending;
use super::{cap, direction, ioctl, memory};
use crate::media::event::{EVENT_SIZE, SUBSCRIPTION_SIZE};
use crate::media::{self, poll, Direction, Handle, Request, Vma};
use crate::virtio::sync::{new_irq_lock, IrqLock};
use crate::wire::command::CmdOpen;
use crate::wire::v4l2::{is_output, Buffer, Plane, VIDEO_MAX_PLANES};
use kernel::c_str;
use kernel::prelude::*;
use kernel::sync::{new_condvar, new_mutex, Arc, CondVar, Mutex};

/// The node's side of the driver.
pub(crate) struct SessionNode;

/// An open file with its session.
pub(super) type SessionHandle = Arc<Handle<SessionNode>>;

/// A session.
#[pin_data]
pub(crate) struct Session {
    device: Arc<MediaDevice>,
    id: u32,
    #[pin]
    gate: Gate,
    #[pin]
    state: IrqLock<State>,
    /// Something that DQBUF or DQEVENT waits for has changed: see [`Session::notify`].
    #[pin]
    changed: CondVar,
    /// Held by whoever takes events from the V4L2 core's queue.
    #[pin]
    events: Gate,
    /// The memory of its buffers that is not the device's.
    #[pin]
    lending: Lending,
    #[pin]
    kinds: Kinds,
    /// What ends it on the device.
    #[pin]
    close: IrqLock<Close>,
}

/// The CLOSE of a session that the device has, made when there was memory for it. It is sent by [`MediaDevice::close`], or
/// when this is dropped: then opening has failed after all, and nothing was lent.
struct Close {
    device: Arc<MediaDevice>,
    request: Option<CommandRequest>,
}

impl Drop for Close {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.device.post(request);
        }
    }
}

/// What interrupts change.
pub(super) struct State {
    pub(super) streams: Streams,
    /// The session is over: what every call fails with.
    lost: Option<Error>,
    clock: Clock,
    /// How many wait for [`Session::changed`], or are about to.
    pub(super) sleepers: usize,
}

/// Lets one task at a time through, and may be waited for with signals.
#[pin_data]
pub(super) struct Gate {
    #[pin]
    taken: Mutex<bool>,
    #[pin]
    free: CondVar,
}

/// The way through a [`Gate`] is one's own until this is dropped.
pub(super) struct Passing<'a>(&'a Gate);

impl Gate {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            taken <- new_mutex!(false),
            free <- new_condvar!(),
        })
    }

    /// # Errors
    ///
    /// `ERESTARTSYS`: there is a signal.
    pub(super) fn pass(&self) -> Result<Passing<'_>> {
        let mut taken = self.taken.lock();
        while *taken {
            if self.free.wait_interruptible(&mut taken) {
                // The wake-up may have been for this task alone.
                self.free.notify_one();
                return Err(ERESTARTSYS);
            }
        }
        *taken = true;
        Ok(Passing(self))
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.free.notify_one();
    }
}

impl Session {
    /// Opens a session.
    fn open(device: &Arc<MediaDevice>) -> Result<impl PinInit<Self, Error>> {
        device.check_open()?;
        let close = close_request()?;
        let lending = Lending::new()?;
        let streams = Streams::new()?;
        let (reply, undo) = device.command(&CmdOpen::new(), Undo::Close(close))?;
        let id = reply.session_id;
        let mut close = Close {
            device: device.clone(),
            request: None,
        };
        if let Undo::Close(mut request) = undo {
            set_session(&mut request, id);
            close.request = Some(request);
        }
        let device = device.clone();
        Ok(try_pin_init!(Self {
            device,
            id,
            gate <- Gate::new(),
            events <- Gate::new(),
            state <- new_irq_lock!(
                State { streams, lost: None, clock: Clock::new(), sleepers: 0 },
                "virtio_v4l2_session"
            ),
            changed <- new_condvar!(),
            lending <- lending,
            kinds <- Kinds::new(),
            close <- new_irq_lock!(close, "virtio_v4l2_close"),
        }))
    }

    /// Its ID.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn device(&self) -> &Arc<MediaDevice> {
        &self.device
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn lending(&self) -> &Lending {
        &self.lending
    }

    /// What is known of its controls.
    pub(super) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    pub(super) fn state(&self) -> &IrqLock<State> {
        &self.state
    }

    /// Whether commands of this session may be sent.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the device is gone.
    /// - `EIO`: the device has failed.
    /// - as [`Self::check_alive`].
    pub(super) fn check(&self) -> Result {
        self.device.check()?;
        self.check_alive()
    }

    /// Whether the session has not ended.
    ///
    /// # Errors
    ///
    /// What the device ended it with (`ENODEV`: what is behind it has gone); `EIO` if it was abandoned here.
    pub(super) fn check_alive(&self) -> Result {
        self.state.lock().lost.map_or(Ok(()), Err)
    }

    /// The session is of no use any more: a command was sent of which it is unknown whether it was done.
    /// Everything but closing fails from now on, and whoever waits learns of it.
    pub(super) fn abandon(&self) {
        if self.end(EIO) {
            self.device.wake_session(self.id);
        }
    }

    /// Everything but closing fails with `error` from now on. Returns whether the session was of use before.
    fn end(&self, error: Error) -> bool {
        let mut state = self.state.lock();
        let alive = state.lost.is_none();
        state.lost = state.lost.or(Some(error));
        alive
    }

    /// Wakes DQBUF and DQEVENT after a change that they must see, of the session or of the device. The caller does
    /// not hold the session's lock.
    ///
    /// They look at everything, and are on the list of those to be woken, before they let go of that lock. So if it is
    /// taken between the change and the wake-up, they either see the change or are woken.
    pub(super) fn notify(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
    }

    /// Waits for the next buffer of that type, and takes it.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: the queue is not streaming, or there is no room for the buffer's planes.
    /// - `EPIPE`: the last buffer has been dequeued.
    /// - `EAGAIN`: there is none, and the caller does not want to wait.
    /// - `ERESTARTSYS`: there is a signal.
    /// - as [`Self::check`].
    pub(super) fn dqbuf(
        &self,
        buffer: &mut Buffer,
        planes: &mut [Plane],
        nonblocking: bool,
    ) -> Result {
        let mut state = self.state.lock();
        let mut result = self.try_dqbuf(&mut state, buffer, planes);
        if result == Err(Nothing::Yet) {
            // Before the device is told of everything: who queues a buffer after that sees that somebody sleeps.
            state.sleepers += 1;
            drop(state);
            self.device.settle();
            state = self.state.lock();
            loop {
                result = self.try_dqbuf(&mut state, buffer, planes);
                if nonblocking || result != Err(Nothing::Yet) {
                    break;
                }
                if self.changed.wait_interruptible(&mut state) {
                    result = Err(Nothing::Ever(ERESTARTSYS));
                    break;
                }
            }
            state.sleepers -= 1;
        }
        drop(state);
        result.map_err(|nothing| match nothing {
            Nothing::Yet => EAGAIN,
            Nothing::Ever(error) => error,
        })?;
        if buffer.flags & flag::LAST != 0 {
            // Others who wait are to learn that nothing comes any more.
            self.notify();
        }
        Ok(())
    }

    fn try_dqbuf(
        &self,
        state: &mut State,
        buffer: &mut Buffer,
        planes: &mut [Plane],
    ) -> Result<(), Nothing> {
        self.device.check().map_err(Nothing::Ever)?;
        if let Some(error) = state.lost {
            return Err(Nothing::Ever(error));
        }
        let queue = state.streams.get(buffer.type_).map_err(Nothing::Ever)?;
        queue.dequeue(buffer, planes)
    }

    /// Waits until `ready`, or an error.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: there is a signal.
    /// - as [`Self::check`].
    fn wait_until(&self, ready: impl Fn() -> bool) -> Result {
        let mut state = self.state.lock();
        state.sleepers += 1;
        drop(state);
        self.device.settle();
        let mut state = self.state.lock();
        let result = loop {
            if ready() {
                break Ok(());
            }
            if let Err(error) = self.device.check() {
                break Err(error);
            }
            if let Some(error) = state.lost {
                break Err(error);
            }
            if self.changed.wait_interruptible(&mut state) {
                break Err(ERESTARTSYS);
            }
        };
        state.sleepers -= 1;
        result
    }
}

impl Session {
    /// What of `requested` is the case, but for events.
    fn ready(&self, requested: u32) -> u32 {
        match self.check() {
            Ok(()) => {}
            // As the core says of a node that is no more.
            Err(error) if error == ENODEV => return poll::ERR | poll::HUP,
            Err(_) => return poll::ERR,
        }
        let caps = self.device.config().device_caps;
        if requested & (poll::IN | poll::OUT) == 0 || caps & cap::STREAMING == 0 {
            return 0;
        }
        let state = self.state.lock();
        let capture = state.streams.readiness(false);
        let output = state.streams.readiness(true);
        drop(state);

        let readable = if capture.done || capture.last {
            poll::IN
        } else {
            0
        };
        let writable = if output.done { poll::OUT } else { 0 };
        match direction(caps) {
            // As v4l2_m2m_poll(): an error only if neither queue has anything to wait for.
            Direction::M2m if !output.busy && !capture.busy && !capture.last => poll::ERR,
            Direction::M2m => readable | writable,
            // As vb2_poll(): what is not asked for is not looked at.
            Direction::Rx if requested & poll::IN == 0 => 0,
            Direction::Rx if !capture.streaming => poll::ERR,
            Direction::Rx => readable,
            Direction::Tx if requested & poll::OUT == 0 => 0,
            Direction::Tx if !output.streaming => poll::ERR,
            Direction::Tx => writable,
        }
    }
}

impl Handle<SessionNode> {
    /// The device returns a buffer. Returns whether the device should be told of others. Called in interrupts.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the session has no such buffer with the device.
    pub(super) fn dequeue(
        &self,
        buffer: &Buffer,
        planes: &[Plane; VIDEO_MAX_PLANES],
    ) -> Result<bool> {
        let round = self.device().commands().round();
        let mut guard = self.state().lock();
        let state = &mut *guard;
        if state.lost.is_some() {
            // A command was abandoned half-way: what the device returns may be unknown here.
            return Ok(false);
        }
        let rings = state
            .streams
            .returned(buffer, planes, &mut state.clock, round)?;
        drop(guard);
        self.wake_for_buffer(buffer.type_);
        Ok(rings)
    }

    /// The device has answered a QBUF. Returns the request if there is no use for it. May be called in interrupts.
    pub(super) fn buffer_answered(
        &self,
        posting: &Posting,
        refused: bool,
        request: CommandRequest,
    ) -> Option<CommandRequest> {
        let mut state = self.state().lock();
        let answered = state.streams.answered(posting, refused, request);
        drop(state);
        if answered.done {
            self.wake_for_buffer(posting.buf_type);
        }
        answered.left
    }

    /// Posts what is ready of the buffers that wait for other devices.
    pub(super) fn advance(&self) {
        let drain = self.advance_lines();
        self.device().advanced(drain);
    }

    /// As [`Self::advance`], in any context. Returns whether the command queue must be drained; the device has to be
    /// told in any case.
    pub(super) fn advance_lines(&self) -> bool {
        let mut state = self.state().lock();
        if state.lost.is_some() {
            return false;
        }
        let device = self.device();
        let advanced = state
            .streams
            .advance(&mut |request| device.post_later(request));
        drop(state);
        if advanced.done {
            self.notify();
            self.wake(poll::IN | poll::OUT);
        }
        advanced.drain
    }

    /// Buffers of that type which wait for others stay where they are: the device may be about to give up all of them.
    /// A STOP among them is sent.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such type.
    pub(super) fn freeze(&self, buf_type: u32) -> Result {
        let device = self.device();
        let mut state = self.state().lock();
        let queue = state.streams.get(buf_type)?;
        queue.freeze(&mut |request| device.post_later(request));
        Ok(())
    }

    /// The device has not given them up.
    pub(super) fn thaw(&self, buf_type: u32) {
        let mut state = self.state().lock();
        if let Ok(queue) = state.streams.get(buf_type) {
            queue.thaw();
        }
        drop(state);
        self.advance();
    }

    fn wake_for_buffer(&self, buf_type: u32) {
        self.notify();
        self.wake(if is_output(buf_type) {
            poll::OUT
        } else {
            poll::IN
        });
    }

    /// The device has ended the session. Called in interrupts.
    pub(super) fn lose(&self, errno: u32) {
        let error = match errno {
            1..=MAX_ERRNO => Error::from_errno(-(errno as i32)),
            _ => EIO,
        };
        if self.end(error) {
            if error == ENODEV {
                pr_info!("session {}: its device is gone\n", self.id());
            } else {
                pr_err!(
                    "session {}: the device ended it with error {}\n",
                    self.id(),
                    errno
                );
            }
            self.wake_for_error();
        }
    }

    /// The device sends an event. Called in interrupts.
    pub(super) fn event(&self, event: &[u8; EVENT_SIZE]) {
        // Under the lock, so that who finds no event and goes to sleep is woken.
        let state = self.state().lock();
        self.queue_event(event);
        drop(state);
        self.notify();
    }

    /// Ends subscriptions, and drops their events.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: there is a signal.
    pub(super) fn end_subscription(&self, subscription: &[u8; SUBSCRIPTION_SIZE]) -> Result {
        let _taking = self.events.pass()?;
        self.unsubscribe(subscription)
    }

    /// Wakes whoever waits, so that they see an error. May be called in interrupts.
    pub(super) fn wake_for_error(&self) {
        self.notify();
        self.wake(poll::ERR | poll::HUP | poll::IN | poll::OUT | poll::PRI);
    }
}

impl media::Driver for SessionNode {
    type Data = Arc<MediaDevice>;
    type File = Session;

    fn open(device: &Arc<MediaDevice>) -> Result<impl PinInit<Session, Error>> {
        Session::open(device)
    }

    fn opened(handle: &SessionHandle) -> Result {
        handle.device.add_session(handle).inspect_err(|error| {
            if *error == EIO {
                // The ID belongs to another session: it is not for this one to close.
                let close = handle.close.lock().request.take();
                drop(close);
            }
        })
    }

    fn release(handle: SessionHandle) {
        handle.device.remove_session(handle.id, &handle);
        let close = handle.close.lock().request.take();
        if let Some(close) = close {
            let device = handle.device.clone();
            device.close(close, handle);
        }
    }

    fn ioctl(handle: &Handle<Self>, request: Request<'_>) -> Result {
        ioctl::run(handle, request)
    }

    fn log_status(handle: &Handle<Self>) {
        handle.device.log_stats();
    }

    fn take_event(
        handle: &Handle<Self>,
        nonblocking: bool,
        take: &mut dyn FnMut() -> isize,
    ) -> Result<isize> {
        loop {
            if !nonblocking && !handle.has_events() {
                handle.wait_until(|| handle.has_events())?;
            }
            // Nobody else takes what is there.
            let _taking = handle.events.pass()?;
            if handle.has_events() {
                return Ok(take());
            }
            if nonblocking {
                return Err(ENOENT);
            }
        }
    }

    fn poll(handle: &Handle<Self>, requested: u32) -> u32 {
        let ready = handle.ready(requested);
        if ready & requested == 0 {
            // Whatever the device does not know of may be what the program is going to wait for.
            handle.device.settle();
        }
        ready
    }

    fn mmap(handle: &Handle<Self>, vma: &mut Vma<'_>) -> Result {
        memory::map(handle, vma).inspect_err(|error| {
            if *error == EIO {
                handle
                    .device
                    .complain(c_str!("it mapped a buffer where it cannot be"));
            }
        })
    }
}
