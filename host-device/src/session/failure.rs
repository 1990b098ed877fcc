// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! How a call fails, and the response header that says so.

use nix::errno::Errno;
use protocol::wire::command::RespHeader;
use zerocopy::IntoBytes as _;

use crate::device::api::Result;

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

/// The error as a number of the wire: positive.
pub(super) fn status(errno: Errno) -> u32 {
    (errno as i32).cast_unsigned()
}

/// Sets the status in the header that `reply` starts with. Makes a header if `reply` is empty.
pub(super) fn set_status(reply: &mut Vec<u8>, result: Result) {
    let header = RespHeader::new(result.map_or_else(status, |()| 0));
    if reply.len() < size_of::<RespHeader>() {
        reply.resize(size_of::<RespHeader>(), 0);
    }
    // Cannot fail: `reply` is long enough now.
    let _ = header.write_to_prefix(reply);
}
