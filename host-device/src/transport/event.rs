// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The event queue: buffers that the guest left for events.

use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::QueueT;
use vm_memory::GuestAddressSpace;

use super::backend::Memory;
use super::chain::{Writable, take_apart};
use super::command::signal;
use crate::events::{Outbox, Put};

/// Sends what the outbox holds for as long as the guest has buffers for it. Runs in any thread.
pub(super) fn flush(outbox: &Outbox, vring: &VringMutex, memory: &Memory) {
    let mut sent = false;
    let mut writable = Writable::default();
    let mut unread = Vec::new();
    loop {
        let mut starved = false;
        outbox.drain(|bytes| {
            let put = put(vring, memory, &mut unread, &mut writable, bytes);
            starved = put == Put::Full;
            sent |= put == Put::Done;
            put
        });
        if !starved {
            break;
        }
        // Ask for a kick; look again if buffers came in the meantime.
        let more = {
            let mut vring = vring.get_mut();
            vring.is_enabled()
                && vring.get_queue().ready()
                && vring.enable_notification().unwrap_or(false)
        };
        if !more {
            break;
        }
        let _ = vring.disable_notification();
    }
    if sent {
        signal(vring);
    }
}

/// Writes one event into the next buffer. Buffers that are too small, or none, go back empty.
fn put(
    vring: &VringMutex,
    memory: &Memory,
    unread: &mut Vec<u8>,
    writable: &mut Writable,
    bytes: &[u8],
) -> Put {
    let mut vring = vring.get_mut();
    if !vring.is_enabled() || !vring.get_queue().ready() {
        return Put::Full;
    }
    loop {
        let chain = vring.get_queue_mut().pop_descriptor_chain(memory.memory());
        let Some(mut chain) = chain else {
            return Put::Full;
        };
        let fits =
            take_apart(&mut chain, unread, writable).is_ok() && writable.len() >= bytes.len();
        let written = if fits {
            writable.write(&*memory.memory(), bytes)
        } else {
            0
        };
        let len = if written == bytes.len() { written } else { 0 };
        let returned = vring.add_used(chain.head_index(), u32::try_from(len).unwrap_or(0));
        if let Err(error) = returned {
            tracing::debug!("cannot return an event buffer: {error}");
        } else if len == bytes.len() {
            return Put::Done;
        }
        tracing::debug!("an event buffer of the guest is malformed or too small");
    }
}
