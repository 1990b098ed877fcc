// SPDX-License-Identifier: GPL-2.0

//! V4L2 events, in the core's queue of each file handle.

use super::node::{Driver, Handle};
use crate::bindings;
use kernel::error::to_result;
use kernel::prelude::*;

/// `struct v4l2_event` as bytes.
pub(crate) const EVENT_SIZE: usize = size_of::<bindings::v4l2_event>();
/// `struct v4l2_event_subscription` as bytes.
pub(crate) const SUBSCRIPTION_SIZE: usize = size_of::<bindings::v4l2_event_subscription>();

/// How many events of one subscription wait to be dequeued, for types whose events cannot be
/// merged.
const DEPTH: u32 = 8;

/// Later events of these types take the place of earlier ones, and say together what changed.
const MERGING: bindings::v4l2_subscribed_event_ops = bindings::v4l2_subscribed_event_ops {
    add: None,
    del: None,
    replace: Some(replace),
    merge: None,
};

impl<T: Driver> Handle<T> {
    /// Starts to keep events that `subscription` is for. Has no effect on one that exists.
    ///
    /// # Errors
    ///
    /// `EINVAL` for `V4L2_EVENT_ALL`; `ENOMEM`.
    pub(crate) fn subscribe(&self, subscription: &[u8; SUBSCRIPTION_SIZE]) -> Result {
        // SAFETY: Any bytes are a `v4l2_event_subscription`.
        let subscription: bindings::v4l2_event_subscription = unsafe {
            subscription
                .as_ptr()
                .cast::<bindings::v4l2_event_subscription>()
                .read_unaligned()
        };
        let merges = matches!(
            subscription.type_,
            bindings::V4L2_EVENT_CTRL | bindings::V4L2_EVENT_SOURCE_CHANGE
        );
        let (depth, ops) = if merges {
            (1, core::ptr::from_ref(&MERGING))
        } else {
            (DEPTH, core::ptr::null())
        };
        // SAFETY: By the type invariant of `Handle`; `ops` is null or has static lifetime.
        to_result(unsafe { bindings::v4l2_event_subscribe(self.fh(), &subscription, depth, ops) })
    }

    /// Ends a subscription and drops its events; for `V4L2_EVENT_ALL` all of them.
    pub(crate) fn unsubscribe(&self, subscription: &[u8; SUBSCRIPTION_SIZE]) -> Result {
        // SAFETY: As in `subscribe`.
        let subscription: bindings::v4l2_event_subscription = unsafe {
            subscription
                .as_ptr()
                .cast::<bindings::v4l2_event_subscription>()
                .read_unaligned()
        };
        // SAFETY: By the type invariant of `Handle`.
        to_result(unsafe { bindings::v4l2_event_unsubscribe(self.fh(), &subscription) })
    }

    /// Queues an event, if it is subscribed to, and wakes who waits for it. The core numbers it and
    /// gives it the time. May be called in interrupts.
    pub(crate) fn queue_event(&self, event: &[u8; EVENT_SIZE]) {
        // SAFETY: Any bytes are a `v4l2_event`.
        let event: bindings::v4l2_event = unsafe {
            event
                .as_ptr()
                .cast::<bindings::v4l2_event>()
                .read_unaligned()
        };
        // SAFETY: By the type invariant of `Handle`.
        unsafe { bindings::v4l2_event_queue_fh(self.fh(), &event) };
    }

    /// Whether an event waits to be dequeued.
    pub(crate) fn has_events(&self) -> bool {
        // SAFETY: By the type invariant of `Handle`.
        unsafe { bindings::v4l2_event_pending(self.fh()) != 0 }
    }
}

/// `old`, which nobody has seen, gives way to `new`.
///
/// # Safety
///
/// Both are valid events.
unsafe extern "C" fn replace(old: *mut bindings::v4l2_event, new: *const bindings::v4l2_event) {
    // Both `ctrl` and `src_change` begin with `changes`.
    // SAFETY: By the safety requirements.
    unsafe {
        let earlier = (*old).u.src_change.as_ref().changes;
        core::ptr::copy_nonoverlapping(&raw const (*new).u, &raw mut (*old).u, 1);
        (*old).u.src_change.as_mut().changes |= earlier;
    }
}
