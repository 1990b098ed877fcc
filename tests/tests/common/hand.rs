// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A connection for chains that are written by hand.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use frontend::memory::Block;
use frontend::ring::{NEXT, WRITE};
use frontend::{Descriptor, Options, PATIENCE, Used};
use protocol::wire::command::CmdIoctl;
use protocol::wire::ioctl;
use protocol::wire::v4l2::Format;
use zerocopy::IntoBytes;

use super::fake::Fake;
use super::{Pair, alone};

/// Long enough to say that nothing comes.
pub const QUIET: Duration = Duration::from_millis(50);

/// A connection, a session, a command that works and space for its response.
pub struct Hand {
    pub fake: Fake,
    pub pair: Pair,
    pub session: u32,
    pub command: Block,
    pub response: Block,
    /// Tests here count what the process holds: one at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Hand {
    pub fn new() -> Self {
        Self::with(&Options::default())
    }

    pub fn with(options: &Options) -> Self {
        let alone = alone();
        let fake = Fake::default();
        let mut pair = Pair::with(Arc::new(fake.clone()), options);
        let session = pair.open().unwrap();
        let command = ioctl_bytes(session, ioctl::G_FMT, &[0; 208]);
        let command = pair.link.memory.place(&command);
        let response = pair.link.memory.alloc(8 + 208, 16);
        Self {
            fake,
            pair,
            session,
            command,
            response,
            _alone: alone,
        }
    }

    /// Makes a chain available whose descriptors are `make` of fresh indices, and waits for it to
    /// come back.
    #[track_caller]
    pub fn submit(
        &mut self,
        count: usize,
        make: impl FnOnce(&[u16], &Self) -> Vec<Descriptor>,
    ) -> Used {
        let indices = self.pair.link.commands.take_descriptors(count);
        let descriptors = make(&indices, self);
        let ring = &mut self.pair.link.commands;
        for (index, descriptor) in indices.iter().zip(descriptors) {
            ring.set_descriptor(*index, descriptor);
        }
        ring.make_available(indices[0]);
        ring.kick();
        let used = ring
            .wait_used(PATIENCE)
            .expect("a malformed command does not come back");
        assert_eq!(used.id, u32::from(indices[0]));
        ring.give_descriptors(indices);
        used
    }

    /// As `submit`; the device writes nothing, and the session is not asked.
    #[track_caller]
    pub fn refused(&mut self, count: usize, make: impl FnOnce(&[u16], &Self) -> Vec<Descriptor>) {
        let used = self.submit(count, make);
        assert_eq!(used.len, 0);
        assert_eq!(self.fake.calls(), []);
        self.works();
    }

    /// The next good command works.
    #[track_caller]
    pub fn works(&mut self) {
        self.pair
            .ioctl(self.session, ioctl::G_FMT, &mut Format::default())
            .unwrap();
        assert_eq!(self.fake.calls().len(), 1);
    }

    pub fn readable(&self, next: Option<u16>) -> Descriptor {
        descriptor(&self.command, 0, next)
    }

    pub fn writable(&self, next: Option<u16>) -> Descriptor {
        descriptor(&self.response, WRITE, next)
    }
}

pub fn descriptor(block: &Block, flags: u16, next: Option<u16>) -> Descriptor {
    Descriptor {
        addr: block.addr,
        len: block.len,
        flags: flags | if next.is_some() { NEXT } else { 0 },
        next: next.unwrap_or(0),
    }
}

/// An IOCTL command with `payload`.
pub fn ioctl_bytes(session: u32, code: u32, payload: &[u8]) -> Vec<u8> {
    [CmdIoctl::new(session, code).as_bytes(), payload].concat()
}

pub fn table(descriptors: &[Descriptor]) -> Vec<u8> {
    descriptors.iter().flat_map(|d| d.to_bytes()).collect()
}
