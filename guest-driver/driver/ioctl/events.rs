// SPDX-License-Identifier: GPL-2.0

//! Subscriptions to events.

use super::forward::forward;
use crate::driver::session::SessionNode;
use crate::media::{Handle, Request};
use kernel::prelude::*;

pub(super) fn subscribe(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let subscription = (&*request.payload).try_into().map_err(|_| EINVAL)?;
    // First here: the device may send the initial event before it answers.
    handle.subscribe(subscription)?;
    let copy = *subscription;
    forward(handle, request).inspect_err(|_| {
        let _ = handle.end_subscription(&copy);
    })
}

pub(super) fn unsubscribe(handle: &Handle<SessionNode>, request: &mut Request<'_>) -> Result {
    let subscription = (&*request.payload).try_into().map_err(|_| EINVAL)?;
    handle.end_subscription(subscription)?;
    forward(handle, request)
}
