// SPDX-License-Identifier: GPL-2.0

//! Sessions: one for each open file.

use super::gate::Gate;
use super::kinds::ControlKinds;
use crate::driver::channel::{close_request, set_session, Channel, CommandRequest, Undo};
use crate::driver::memory::{DeviceMemory, FenceState, ImportTable};
use crate::driver::queue::{self, Clock};
use crate::media::Handle;
use crate::virtio::sync::{new_irq_lock, IrqLock};
use crate::wire::command::CmdOpen;
use kernel::prelude::*;
use kernel::sync::{new_condvar, Arc, CondVar};

/// The buffers of a session, with the requests of this driver.
pub(in crate::driver) type Streams = queue::Streams<CommandRequest, Arc<FenceState>>;
/// New or old buffers of one type.
pub(in crate::driver) type Slots = queue::Slots<CommandRequest, Arc<FenceState>>;

/// The kind of node that this driver has.
pub(crate) struct SessionNode;

/// An open file with its session.
pub(in crate::driver) type SessionHandle = Arc<Handle<SessionNode>>;

/// A session.
#[pin_data]
pub(crate) struct Session {
    device: Arc<DeviceMemory>,
    id: u32,
    #[pin]
    gate: Gate,
    #[pin]
    state: IrqLock<State>,
    /// Something that DQBUF or DQEVENT waits for has changed: see [`Session::notify`].
    #[pin]
    pub(super) changed: CondVar,
    /// Held by whoever takes events from the V4L2 core's queue.
    #[pin]
    pub(super) events: Gate,
    /// The memory of its buffers that is not the device's own.
    #[pin]
    imports: ImportTable,
    #[pin]
    kinds: ControlKinds,
    /// What ends it on the device.
    #[pin]
    close: IrqLock<Close>,
}

/// The CLOSE of a session that the device has, made when there was memory for it. It is sent by
/// [`Session::close`], or when this is dropped: then opening has failed after all, and nothing was
/// imported.
struct Close {
    channel: Arc<Channel>,
    request: Option<CommandRequest>,
}

impl Drop for Close {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.channel.post(request);
        }
    }
}

/// The part of a session that interrupts change.
pub(in crate::driver) struct State {
    pub(in crate::driver) streams: Streams,
    /// The session is over: what every call fails with.
    pub(super) lost: Option<Error>,
    pub(super) clock: Clock,
    /// How many wait for [`Session::changed`], or are about to.
    pub(in crate::driver) sleepers: usize,
}

impl Session {
    /// Opens a session.
    pub(in crate::driver) fn open(device: &Arc<DeviceMemory>) -> Result<impl PinInit<Self, Error>> {
        let channel = device.channel();
        channel.check_open()?;
        let close = close_request()?;
        let imports = ImportTable::new()?;
        let streams = Streams::new()?;
        let (reply, undo) = channel.command(&CmdOpen::new(), Undo::Close(close))?;
        let id = reply.session_id;
        let mut close = Close {
            channel: channel.clone(),
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
            imports <- imports,
            kinds <- ControlKinds::new(),
            close <- new_irq_lock!(close, "virtio_v4l2_close"),
        }))
    }

    /// Its ID.
    pub(in crate::driver) fn id(&self) -> u32 {
        self.id
    }

    /// The memory of its device.
    pub(in crate::driver) fn device(&self) -> &Arc<DeviceMemory> {
        &self.device
    }

    /// The way to its device.
    pub(in crate::driver) fn channel(&self) -> &Arc<Channel> {
        self.device.channel()
    }

    pub(in crate::driver) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The memory of its buffers that is not the device's own.
    pub(in crate::driver) fn imports(&self) -> &ImportTable {
        &self.imports
    }

    /// What is known of its controls.
    pub(in crate::driver) fn kinds(&self) -> &ControlKinds {
        &self.kinds
    }

    pub(in crate::driver) fn state(&self) -> &IrqLock<State> {
        &self.state
    }

    /// Whether commands of this session may be sent.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the device is gone.
    /// - `EIO`: the device has failed.
    /// - as [`Self::check_alive`].
    pub(in crate::driver) fn check(&self) -> Result {
        self.channel().check()?;
        self.check_alive()
    }

    /// Whether the session has not ended.
    ///
    /// # Errors
    ///
    /// What the device ended it with (`ENODEV`: what is behind it has gone); `EIO` if it was
    /// abandoned here.
    pub(in crate::driver) fn check_alive(&self) -> Result {
        self.state.lock().lost.map_or(Ok(()), Err)
    }

    /// Ends the session, as it is unknown whether the device carried out a command. Everything but
    /// closing fails from now on, and whoever waits is woken.
    pub(in crate::driver) fn abandon(&self) {
        if self.end(EIO) {
            self.channel().wake(self.id);
        }
    }

    /// Everything but closing fails with `error` from now on. Returns whether the session was
    /// alive before.
    pub(super) fn end(&self, error: Error) -> bool {
        let mut state = self.state.lock();
        let alive = state.lost.is_none();
        state.lost = state.lost.or(Some(error));
        alive
    }

    /// Wakes DQBUF and DQEVENT after a change that they must see, of the session or of the device.
    /// The caller does not hold the session's lock.
    ///
    /// They look at everything, and are on the list of those to be woken, before they let go of
    /// that lock. So if it is taken between the change and the wake-up, they either see the change
    /// or are woken.
    pub(in crate::driver) fn notify(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
    }

    /// Held by whoever takes events from the V4L2 core's queue.
    pub(in crate::driver) fn events(&self) -> &Gate {
        &self.events
    }

    /// The request that closes it, if nobody has taken that yet.
    pub(in crate::driver) fn take_close(&self) -> Option<CommandRequest> {
        self.close.lock().request.take()
    }

    /// The device has been reset: gives back all memory of others. May sleep.
    pub(in crate::driver) fn end_imports(&self) {
        // An ioctl may be about to import something. None waits for the device any more; if a
        // signal is why this one does not wait, that ioctl gives it back itself.
        let passing = self.gate.pass();
        self.imports.end();
        drop(passing);
    }
}
