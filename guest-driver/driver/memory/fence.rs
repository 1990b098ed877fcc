// SPDX-License-Identifier: GPL-2.0

//! Waiting for the fences of a buffer without sleeping.

use super::plane::ImportedBuffer;
use crate::driver::channel::Channel;
use crate::driver::queue::{Fence, Ready};
use crate::media::fence::{Signal, Watch};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;

/// State of the fences of one QBUF. May be read and dropped in any context.
pub(in crate::driver) struct FenceState {
    pending: Atomic<i32>,
    failed: Atomic<u32>,
}

impl Fence for Arc<FenceState> {
    fn ready(&self) -> Ready {
        // Ordered: what was written before the fence was signalled is visible, and so is `failed`.
        if self.pending.load(kernel::sync::atomic::Acquire) > 0 {
            Ready::Pending
        } else if self.failed.load(Relaxed) != 0 {
            Ready::Failed
        } else {
            Ready::Signalled
        }
    }
}

impl FenceState {
    /// One of the fences has signalled. Returns whether it was the last.
    fn end(&self, result: Result) -> bool {
        if result.is_err() {
            self.failed.store(1, Relaxed);
        }
        self.pending.fetch_add(-1, Full) == 1
    }
}

/// What the callback of a fence needs.
struct Waiter {
    state: Arc<FenceState>,
    channel: Arc<Channel>,
    session: u32,
}

impl Signal for Waiter {
    fn signalled(&self, result: Result) {
        if self.state.end(result) {
            self.channel.advance(self.session);
        }
    }
}

/// The fences of one QBUF; none by default. Dropped by processes only, and with no lock of the
/// driver's that interrupts take.
#[derive(Default)]
pub(super) struct Watches {
    state: Option<Arc<FenceState>>,
    watches: KVec<Watch<Waiter>>,
}

impl Watches {
    /// Nothing to wait for.
    pub(super) const fn none() -> Self {
        Self {
            state: None,
            watches: KVec::new(),
        }
    }

    /// Watches the fences of the memory: a reader waits for writers, a writer for everybody.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        channel: &Arc<Channel>,
        session: u32,
        imported: &ImportedBuffer,
        output: bool,
    ) -> Result<Self> {
        let mut this = Self::none();
        for dmabuf in imported.dmabufs() {
            let Some(fence) = dmabuf.fence(!output)? else {
                continue;
            };
            let state = match &this.state {
                Some(state) => state.clone(),
                None => {
                    let state = FenceState {
                        // One is this function's.
                        pending: Atomic::new(1),
                        failed: Atomic::new(0),
                    };
                    this.state
                        .insert(Arc::new(state, GFP_KERNEL_ACCOUNT)?)
                        .clone()
                }
            };
            this.watches.reserve(1, GFP_KERNEL_ACCOUNT)?;
            state.pending.fetch_add(1, Full);
            let waiter = Waiter {
                state: state.clone(),
                channel: channel.clone(),
                session,
            };
            match fence.watch(waiter)? {
                Ok(watch) => this.watches.push(watch, GFP_KERNEL_ACCOUNT)?,
                Err(result) => {
                    state.end(result);
                }
            }
        }
        if let Some(state) = &this.state {
            state.end(Ok(()));
            if state.ready() == Ready::Signalled {
                return Ok(Self::none());
            }
        }
        Ok(this)
    }

    /// Their state, if there are any.
    pub(super) fn state(&self) -> Option<Arc<FenceState>> {
        self.state.clone()
    }
}
