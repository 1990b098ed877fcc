// SPDX-License-Identifier: GPL-2.0

//! Fences: what other devices have yet to do with a buffer.
//!
//! C header: `include/linux/dma-fence.h`

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::types::Opaque;

/// A reference to a `struct dma_fence`.
///
/// # Invariants
///
/// The pointer is valid, and has a reference of its own.
pub(crate) struct Fence(NonNull<bindings::dma_fence>);

// SAFETY: A fence may be used from any thread.
unsafe impl Send for Fence {}
// SAFETY: As above; its functions take its lock.
unsafe impl Sync for Fence {}

impl Fence {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// The pointer is valid, and the caller gives up a reference to it.
    pub(super) unsafe fn from_raw(raw: NonNull<bindings::dma_fence>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(raw)
    }

    /// What became of what it stands for: `None` if it is not over yet.
    ///
    /// Takes the fence's lock.
    pub(crate) fn status(&self) -> Option<Result> {
        // SAFETY: By the type invariant.
        match unsafe { bindings::dma_fence_get_status(self.0.as_ptr()) } {
            0 => None,
            1.. => Some(Ok(())),
            error => Some(Err(Error::from_errno(error))),
        }
    }

    /// Has `signal` called when it is over, unless the watch is dropped before. If it is over
    /// already there is no watch but the result.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn watch<S: Signal>(self, signal: S) -> Result<Result<Watch<S>, Result>> {
        let node = KBox::pin_init(
            pin_init!(Node {
                callback: Opaque::uninit(),
                signal,
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // SAFETY: The node stays where it is until `Watch::drop` has taken the callback back, or it
        // has run.
        // INVARIANT: The callback is in a `Node<S>`.
        let ret = unsafe {
            bindings::dma_fence_add_callback(
                self.0.as_ptr(),
                node.callback.get(),
                Some(Node::<S>::signalled),
            )
        };
        if ret != 0 {
            // It is over.
            return Ok(Err(self.status().unwrap_or(Ok(()))));
        }
        // INVARIANT: It has been added.
        Ok(Ok(Watch { fence: self, node }))
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; the reference ends here.
        unsafe { bindings::v4l2_helper_fence_put(self.0.as_ptr()) };
    }
}

/// Who is to know of a fence.
pub(crate) trait Signal: Send + Sync + 'static {
    /// What it stands for is over. Called in any context, with the fence's lock held and interrupts
    /// off.
    fn signalled(&self, result: Result);
}

/// What the fence's list of callbacks refers to.
#[pin_data]
struct Node<S> {
    #[pin]
    callback: Opaque<bindings::dma_fence_cb>,
    signal: S,
}

impl<S: Signal> Node<S> {
    /// # Safety
    ///
    /// Called by the fence, for the callback in a `Node<S>`, with the fence's lock held.
    unsafe extern "C" fn signalled(
        fence: *mut bindings::dma_fence,
        callback: *mut bindings::dma_fence_cb,
    ) {
        let callback = callback.cast::<Opaque<bindings::dma_fence_cb>>();
        // SAFETY: The node is there: `Watch::drop` would wait for the fence's lock.
        let node = unsafe { &*kernel::container_of!(callback, Self, callback) };
        // SAFETY: The fence is valid, and its error does not change any more.
        let error = unsafe { (*fence).error };
        node.signal.signalled(match error {
            0 => Ok(()),
            error => Err(Error::from_errno(error)),
        });
    }
}

/// Somebody who waits for a fence without sleeping.
///
/// Dropping it ends the wait: no call is under way or comes any more. It must not be dropped in the
/// call itself, nor with a lock held that the call takes.
///
/// # Invariants
///
/// The callback in `node` was added to `fence`.
pub(crate) struct Watch<S: Signal> {
    fence: Fence,
    node: Pin<KBox<Node<S>>>,
}

// SAFETY: Fence and callback may be used from any thread; `S` is `Send`.
unsafe impl<S: Signal> Send for Watch<S> {}
// SAFETY: There is nothing to be changed; `S` is `Sync`.
unsafe impl<S: Signal> Sync for Watch<S> {}

impl<S: Signal> Drop for Watch<S> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. As the callback runs under the fence's lock, which this
        // takes, it is over when this returns, whatever this returns.
        unsafe {
            bindings::dma_fence_remove_callback(self.fence.0.as_ptr(), self.node.callback.get())
        };
    }
}
