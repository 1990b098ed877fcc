// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How a call ends, other than well, and the header that tells it.

use nix::errno::Errno;
use protocol::wire::command::RespHeader;

/// Size of the header that every response starts with.
pub(super) const HEADER: usize = size_of::<RespHeader>();

/// Why a call was not made, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may take long: nothing was done.
    Slow,
    /// As it says.
    Errno(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}
