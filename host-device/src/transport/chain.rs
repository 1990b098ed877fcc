// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Descriptor chains of the guest, checked and taken apart.
//!
//! Each descriptor is read once, and the content of a chain is copied before it is decoded, so
//! later changes by the guest have no effect.

use std::ops::Deref;

use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::turn::Turn;

/// Most device-readable bytes of a command: an SG list of a frame of 128 MiB in single pages is
/// half of it.
pub(super) const MAX_READABLE: usize = 1 << 20;
/// Most descriptors in a chain. A queue may have 32768, an indirect table 65535.
const MAX_DESCRIPTORS: usize = 4096;

/// Why a chain is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It ends though the last descriptor has a successor: a loop, a bad index or indirect table,
    /// or memory that does not exist.
    #[error("the chain is cut off or loops")]
    Cut,
    #[error("it has no descriptor that can be read")]
    Empty,
    #[error("a readable descriptor follows a writable one")]
    Order,
    #[error("too many bytes or descriptors")]
    TooLong,
    #[error("memory outside of the guest's")]
    Memory,
    #[error("the answers to commands that are out go to too many places")]
    TooManyOut,
    #[error("the guest has made buffers available again that it does not have back")]
    Reused,
}

/// Runs of guest memory, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writable {
    runs: Vec<(GuestAddress, usize)>,
    len: usize,
}

impl Writable {
    /// Room in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.len = 0;
    }

    /// Writes as much of `bytes` as fits. Returns how much that was, or less if memory
    /// is missing.
    pub(super) fn write(&self, memory: &impl GuestMemory, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        for &(address, len) in &self.runs {
            let (now, later) = rest.split_at(len.min(rest.len()));
            if memory.write_slice(now, address).is_err() {
                break;
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        bytes.len() - rest.len()
    }
}

/// What becomes of the device-readable bytes of a chain.
pub(super) enum Readable<'a> {
    /// They are copied here.
    Copied(&'a mut Vec<u8>),
    /// Nobody wants them.
    Ignored,
}

/// Takes `chain` apart, at the expense of `turn`: copies its device-readable bytes to `readable`,
/// and leaves in `writable` where its device-writable part is.
///
/// # Errors
///
/// The chain is malformed. The two arguments then hold nothing of use.
pub(super) fn take_apart<M>(
    chain: &mut DescriptorChain<M>,
    mut readable: Readable<'_>,
    writable: &mut Writable,
    turn: &mut Turn,
) -> Result<(), Malformed>
where
    M: Deref + Clone,
    M::Target: GuestMemory + Sized,
{
    if let Readable::Copied(bytes) = &mut readable {
        bytes.clear();
    }
    writable.clear();
    let mut last_has_next = None;
    let mut count = 0;
    while let Some(descriptor) = chain.next() {
        last_has_next = Some(descriptor.has_next());
        turn.descriptor(0);
        count += 1;
        if count > MAX_DESCRIPTORS {
            return Err(Malformed::TooLong);
        }
        let len = descriptor.len() as usize;
        if descriptor.is_write_only() {
            writable.len = writable.len.checked_add(len).ok_or(Malformed::TooLong)?;
            writable.runs.push((descriptor.addr(), len));
            continue;
        }
        if !writable.runs.is_empty() {
            return Err(Malformed::Order);
        }
        if let Readable::Copied(bytes) = &mut readable {
            copy(chain.memory(), descriptor.addr(), len, bytes)?;
            turn.descriptor(len);
        }
    }
    match last_has_next {
        None => Err(Malformed::Empty),
        Some(true) => Err(Malformed::Cut),
        Some(false) => Ok(()),
    }
}

/// Appends what is at `address` to `bytes`.
fn copy(
    memory: &impl GuestMemory,
    address: GuestAddress,
    len: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let start = bytes.len();
    let end = start
        .checked_add(len)
        .filter(|end| *end <= MAX_READABLE)
        .ok_or(Malformed::TooLong)?;
    bytes.resize(end, 0);
    let to = bytes.get_mut(start..).unwrap_or_default();
    memory
        .read_slice(to, address)
        .map_err(|_| Malformed::Memory)
}
