// SPDX-License-Identifier: GPL-2.0

//! What clients map: the offsets of planes, and who has mapped a buffer.

use super::rules::MAX_BUFFERS;
use crate::wire::v4l2::VIDEO_MAX_PLANES;
use kernel::page::PAGE_SHIFT;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

/// The types of the queues of one node differ in their last three bits: no more goes into an offset
/// of 32 bits, with large pages.
pub(super) const RESIDUES: usize = 8;

/// Where a client maps a plane. These are the driver's numbers whatever the device calls its
/// planes: some buffers may be of the driver's own pages, of which the device knows no offset.
///
/// # Errors
///
/// `EINVAL` if there is no such number.
pub(in crate::driver) fn offset(buf_type: u32, index: u32, plane: usize) -> Result<u64> {
    let pages = u64::from(buf_type % RESIDUES as u32) << 13 | u64::from(index) << 3 | plane as u64;
    let offset = pages << PAGE_SHIFT;
    if index >= MAX_BUFFERS || plane >= VIDEO_MAX_PLANES || offset > u64::from(u32::MAX) {
        return Err(EINVAL);
    }
    Ok(offset)
}

/// How many have mapped or exported a buffer.
pub(super) struct Users(Atomic<i32>);

impl Users {
    pub(super) fn none() -> Result<Arc<Self>> {
        Ok(Arc::new(Self(Atomic::new(0)), GFP_KERNEL_ACCOUNT)?)
    }

    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

/// One of those who have mapped or exported a buffer, until it is dropped.
pub(in crate::driver) struct User(Arc<Users>);

impl User {
    pub(super) fn new(users: &Arc<Users>) -> Self {
        users.0.fetch_add(1, Relaxed);
        Self(users.clone())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0 .0.fetch_add(-1, Relaxed);
    }
}

/// A plane that is to be mapped.
pub(in crate::driver) struct Mappable {
    pub(in crate::driver) buf_type: u32,
    pub(in crate::driver) index: u32,
    pub(in crate::driver) plane: usize,
    /// Its length in bytes.
    pub(in crate::driver) length: u32,
    /// What the device calls it.
    pub(in crate::driver) at: u64,
    pub(in crate::driver) user: User,
}
