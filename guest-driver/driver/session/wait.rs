// SPDX-License-Identifier: GPL-2.0

//! Waiting for buffers and events.

use super::file::{Session, State};
use crate::driver::caps::direction;
use crate::driver::queue::Nothing;
use crate::media::{poll, Direction};
use crate::wire::v4l2::{self, Buffer, Plane};
use kernel::prelude::*;

impl Session {
    /// Waits for the next buffer of that type, and takes it.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: the queue is not streaming, or there is too short an array for the buffer's
    ///   planes.
    /// - `EPIPE`: the last buffer has been dequeued.
    /// - `EAGAIN`: there is none, and the caller does not want to wait.
    /// - `ERESTARTSYS`: there is a signal.
    /// - as [`Self::check`].
    pub(in crate::driver) fn dqbuf(
        &self,
        buffer: &mut Buffer,
        planes: &mut [Plane],
        nonblocking: bool,
    ) -> Result {
        let mut state = self.state().lock();
        let mut result = self.try_dqbuf(&mut state, buffer, planes);
        if result == Err(Nothing::Yet) {
            // Before the device is notified of everything: a QBUF after that sees the sleeper, and
            // notifies the device at once.
            state.sleepers += 1;
            drop(state);
            self.channel().announce();
            state = self.state().lock();
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
        if buffer.flags & v4l2::BUF_FLAG_LAST != 0 {
            // Others who wait fail with EPIPE from now on.
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
        self.channel().check().map_err(Nothing::Ever)?;
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
    pub(in crate::driver) fn wait_until(&self, ready: impl Fn() -> bool) -> Result {
        let mut state = self.state().lock();
        state.sleepers += 1;
        drop(state);
        self.channel().announce();
        let mut state = self.state().lock();
        let result = loop {
            if ready() {
                break Ok(());
            }
            if let Err(error) = self.channel().check() {
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
    /// Returns the ready subset of `requested`, excluding events.
    pub(in crate::driver) fn ready(&self, requested: u32) -> u32 {
        match self.check() {
            Ok(()) => {}
            // As the core says of a node that is no more.
            Err(error) if error == ENODEV => return poll::ERR | poll::HUP,
            Err(_) => return poll::ERR,
        }
        let capabilities = self.channel().config().device_caps;
        if requested & (poll::IN | poll::OUT) == 0 || capabilities & v4l2::CAP_STREAMING == 0 {
            return 0;
        }
        let state = self.state().lock();
        let capture = state.streams.readiness(false);
        let output = state.streams.readiness(true);
        drop(state);

        let readable = if capture.done || capture.last {
            poll::IN
        } else {
            0
        };
        let writable = if output.done { poll::OUT } else { 0 };
        match direction(capabilities) {
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
