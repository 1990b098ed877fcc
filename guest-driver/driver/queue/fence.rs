// SPDX-License-Identifier: GPL-2.0

//! What a buffer may have to wait for.

/// Whether a buffer may be given to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Ready {
    /// Not yet.
    Pending,
    /// It may.
    Signalled,
    /// What another device was to do has failed: the buffer's content is not what it should be.
    Failed,
}

/// What other devices have yet to do with a buffer.
pub(in crate::driver) trait Fence {
    /// Whether they have done it.
    fn ready(&self) -> Ready;
}
