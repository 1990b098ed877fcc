// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The command queue.

use std::sync::{Arc, Weak};

use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::QueueT;
use vm_memory::GuestAddressSpace;

use super::backend::{Link, Memory};
use super::chain::{Writable, take_apart};
use crate::session::{Progress, Ticket};

/// Memory that every command uses in turn, so that none allocates.
#[derive(Default)]
pub(super) struct Scratch {
    readable: Vec<u8>,
    writable: Writable,
    reply: Vec<u8>,
}

/// Bytes that a scratch buffer keeps between commands; a longer one was an exception.
const KEEP: usize = 64 << 10;

/// Carries out all commands that wait. Runs in the ring thread.
pub(super) fn process(link: &Arc<Link>, vring: &VringMutex, scratch: &mut Scratch) {
    loop {
        // No kicks while we look anyway.
        if let Err(error) = vring.disable_notification() {
            tracing::debug!("command queue: {error}");
            return;
        }
        while let Some(pending) = Pending::pop(link, vring, scratch) {
            pending.carry_out(scratch);
        }
        signal(vring);
        match vring.enable_notification() {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::debug!("command queue: {error}");
                break;
            }
        }
        if !vring.get_ref().get_queue().ready() {
            break;
        }
    }
    scratch.readable.shrink_to(KEEP);
    scratch.reply.shrink_to(KEEP);
}

/// Tells the guest of used buffers that it has not been told of, if it wants to know.
pub(super) fn signal(vring: &VringMutex) {
    let mut vring = vring.get_mut();
    if vring.needs_notification().unwrap_or(true)
        && let Err(error) = vring.signal_used_queue()
    {
        tracing::debug!("cannot signal the guest: {error}");
    }
}

/// A command that has been taken off the ring.
struct Pending<'a> {
    link: &'a Arc<Link>,
    vring: &'a VringMutex,
    memory: Memory,
    head: u16,
    generation: u64,
}

impl<'a> Pending<'a> {
    /// The next well-formed command. Malformed ones go back to the guest at once.
    fn pop(
        link: &'a Arc<Link>,
        vring: &'a VringMutex,
        scratch: &mut Scratch,
    ) -> Option<Pending<'a>> {
        loop {
            let memory = link.memory();
            let (mut chain, generation) = {
                let mut vring = vring.get_mut();
                if !vring.is_enabled() || !vring.get_queue().ready() {
                    return None;
                }
                let chain = vring
                    .get_queue_mut()
                    .pop_descriptor_chain(memory.memory())?;
                (chain, link.generation())
            };
            let pending = Pending {
                link,
                vring,
                memory,
                head: chain.head_index(),
                generation,
            };
            match take_apart(&mut chain, &mut scratch.readable, &mut scratch.writable) {
                Ok(()) => return Some(pending),
                Err(malformed) => {
                    tracing::debug!("command refused: {malformed}");
                    pending.give_back(&Writable::default(), &[]);
                }
            }
        }
    }

    fn carry_out(self, scratch: &mut Scratch) {
        let Scratch {
            readable,
            writable,
            reply,
        } = scratch;
        let progress = self
            .link
            .table()
            .submit(readable, writable.len(), reply, || {
                Box::new(Late(Some(Owned {
                    link: Arc::downgrade(self.link),
                    vring: self.vring.clone(),
                    memory: self.memory.clone(),
                    head: self.head,
                    generation: self.generation,
                    writable: std::mem::take(writable),
                })))
            });
        if progress == Progress::Answered {
            self.give_back(&scratch.writable, &scratch.reply);
        }
    }

    /// Puts the command into the used ring, with as much of `response` as fits. Does not signal.
    fn give_back(&self, writable: &Writable, response: &[u8]) {
        give_back(
            self.link,
            self.vring,
            &self.memory,
            (self.head, self.generation),
            writable,
            response,
        );
    }
}

fn give_back(
    link: &Link,
    vring: &VringMutex,
    memory: &Memory,
    (head, generation): (u16, u64),
    writable: &Writable,
    response: &[u8],
) {
    // Under the ring's lock: a stop or reset comes before or after, and after it nothing is written.
    let mut vring = vring.get_mut();
    if generation != link.generation() || !vring.get_queue().ready() {
        return;
    }
    // A response that does not fit is cut off; a header that does not fit is none.
    let len = if writable.len() < size_of::<protocol::wire::command::RespHeader>() {
        0
    } else {
        writable.write(&*memory.memory(), response)
    };
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if let Err(error) = vring.add_used(head, len) {
        tracing::debug!("cannot return a command: {error}");
    }
}

/// A command that is answered later, from another thread.
struct Owned {
    link: Weak<Link>,
    vring: VringMutex,
    memory: Memory,
    head: u16,
    generation: u64,
    writable: Writable,
}

/// Gives the command back even if nobody answers it.
struct Late(Option<Owned>);

impl Late {
    fn finish(&mut self, response: &[u8]) {
        let Some(command) = self.0.take() else {
            return;
        };
        let Some(link) = command.link.upgrade() else {
            return;
        };
        give_back(
            &link,
            &command.vring,
            &command.memory,
            (command.head, command.generation),
            &command.writable,
            response,
        );
        signal(&command.vring);
    }
}

impl Ticket for Late {
    fn answer(mut self: Box<Self>, response: &[u8]) {
        self.finish(response);
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.finish(&[]);
    }
}
