// SPDX-License-Identifier: GPL-2.0

//! The fence that a buffer may be pending on.

/// Whether a buffer may be given to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Ready {
    /// Not yet.
    Pending,
    /// It may.
    Signalled,
    /// Another device has failed: the buffer's content is undefined.
    Failed,
}

/// The fence of a buffer: whether other devices are done with its memory.
pub(in crate::driver) trait Fence {
    /// Its state.
    fn ready(&self) -> Ready;
}
