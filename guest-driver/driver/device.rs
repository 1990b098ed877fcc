// SPDX-License-Identifier: GPL-2.0

//! The device: its sessions, and its end.

use super::channel::{Channel, CommandRequest, Completion, Posting};
use super::event;
use super::memory::DeviceMemory;
use super::session::SessionHandle;
use crate::virtio::sync::{new_irq_lock, IrqLock};
use crate::virtio::{self, Completed};
use crate::wire::config::Config;
use kernel::device::Bound;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNodeReservation};
use kernel::sync::Arc;

/// The open sessions of a device.
#[pin_data]
pub(super) struct Sessions {
    /// By ID. While an event is delivered the lock is held, so the session is not freed meanwhile.
    #[pin]
    open: IrqLock<RBTree<u32, SessionHandle>>,
}

impl Sessions {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                open <- new_irq_lock!(RBTree::new(), "virtio_v4l2_sessions"),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the session known, so that events reach it.
    ///
    /// # Errors
    ///
    /// `EIO` if there is one with that ID already; `ENOMEM`.
    pub(super) fn add(&self, session: &SessionHandle) -> Result {
        let reservation = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let node = reservation.into_node(session.id(), session.clone());
        let mut open = self.open.lock();
        if open.get(&session.id()).is_some() {
            drop(open);
            drop(node);
            return Err(EIO);
        }
        open.insert(node);
        Ok(())
    }

    /// Ends [`Self::add`]. When this returns no interrupt looks at the session.
    pub(super) fn remove(&self, session: &SessionHandle) {
        let mut open = self.open.lock();
        let own = open
            .get(&session.id())
            .is_some_and(|known| Arc::ptr_eq(known, session));
        let node = own.then(|| open.remove_node(&session.id()));
        drop(open);
        drop(node);
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.open.lock().values().count()
    }

    /// The device has been reset: sessions that are still open give back all memory of others. May
    /// sleep.
    fn end_imports(&self) {
        let mut last = None;
        loop {
            let open = self.open.lock();
            let next = open.iter().find(|(id, _)| Some(**id) > last);
            let Some((id, session)) = next.map(|(id, session)| (*id, session.clone())) else {
                break;
            };
            drop(open);
            session.end_imports();
            last = Some(id);
        }
    }
}

impl Completion for Sessions {
    fn buffer_answered(
        &self,
        posting: &Posting,
        refused: bool,
        request: CommandRequest,
    ) -> Option<CommandRequest> {
        match self.open.lock().get(&posting.session_id) {
            Some(session) => session.buffer_answered(posting, refused, request),
            None => Some(request),
        }
    }

    fn event(&self, event: &Completed<()>) -> Result<bool> {
        event::deliver(event, &|id, action| {
            match self.open.lock().get(&id) {
                Some(session) => action(session),
                // The session may have been closed while the event was on its way.
                None => Ok(false),
            }
        })
    }

    fn advance(&self, session: u32) -> Option<bool> {
        let open = self.open.lock();
        open.get(&session).map(|session| session.advance_pending())
    }

    fn wake(&self, session: u32) {
        if let Some(session) = self.open.lock().get(&session) {
            session.wake_for_error();
        }
    }

    fn wake_all(&self) {
        for session in self.open.lock().values() {
            session.wake_for_error();
        }
    }

    fn is_used(&self) -> bool {
        !self.open.lock().is_empty()
    }
}

/// A Media Device.
///
/// It is the node's, and outlives the device itself if files stay open.
pub(crate) struct MediaDevice {
    channel: Arc<Channel>,
    memory: Arc<DeviceMemory>,
    sessions: Arc<Sessions>,
}

impl MediaDevice {
    /// A device without queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(dev: &virtio::Device<Bound>, config: &Config) -> Result<Arc<Self>> {
        let sessions = Sessions::new()?;
        let channel = Channel::new(dev, config, sessions.clone())?;
        let memory = DeviceMemory::new(dev, channel.clone())?;
        let device = Self {
            channel,
            memory,
            sessions,
        };
        Ok(Arc::new(device, GFP_KERNEL)?)
    }

    /// Its queues.
    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Its memory.
    pub(super) fn memory(&self) -> &Arc<DeviceMemory> {
        &self.memory
    }

    /// Its sessions.
    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The device goes away: nothing new is sent to it, and whoever waits fails. Returns whether
    /// it still answers.
    pub(super) fn remove(&self) -> bool {
        let alive = self.channel.remove();
        self.memory.close();
        self.channel.wake_all();
        alive
    }

    /// The system is to be suspended, and the device will lose its state. Waits a little until it
    /// has answered posted commands. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY`: there are sessions, or what was mapped in one.
    pub(super) fn freeze(&self) -> Result {
        let sessions = self.sessions.count();
        let mappings = self.memory.mapped();
        if sessions > 0 || mappings > 0 {
            dev_err!(
                self.channel.dev(),
                "cannot be suspended: programs have the device open {} times and {} of its buffers \
                 mapped; end them first\n",
                sessions,
                mappings
            );
            return Err(EBUSY);
        }
        self.channel.flush(self.channel.check().is_ok());
        Ok(())
    }

    /// The device has been reset: nothing of it runs any more when this has returned. May sleep.
    pub(super) fn end(&self) {
        self.sessions.end_imports();
        self.channel.end_discards();
    }
}
