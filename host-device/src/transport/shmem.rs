// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! SHMEM_MAP and SHMEM_UNMAP: asking the VMM to put host memory into the shared memory region.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use protocol::wire::SHM_REGION_MMAP;
use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags};
use vhost::vhost_user::{Backend, Error as VhostError, VhostUserFrontendReqHandler};

use crate::memory::Mapper;

/// The backend request channel, once the VMM has given us one.
#[derive(Clone, Default)]
pub(super) struct Channel(Arc<Mutex<Option<Backend>>>);

impl Channel {
    pub(super) fn set(&self, backend: Backend) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(backend);
    }

    /// The channel. It has a lock of its own for as long as a request is answered.
    fn get(&self) -> Result<Backend, Errno> {
        let backend = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        backend.clone().ok_or(Errno::EOPNOTSUPP)
    }
}

fn request(fd_offset: u64, offset: u64, len: u64, flags: VhostUserMMapFlags) -> VhostUserMMap {
    VhostUserMMap {
        shmid: SHM_REGION_MMAP,
        padding: [0; 7],
        fd_offset,
        shm_offset: offset,
        len,
        flags: flags.bits(),
    }
}

/// What the guest is told when the VMM says no. The crate reports as a plain text that SHMEM was not negotiated,
/// and everything else as an error of its own.
fn refusal(what: &str, error: &std::io::Error) -> Errno {
    let of_protocol = error.get_ref().and_then(|inner| inner.downcast_ref());
    match of_protocol {
        Some(VhostError::SocketBroken(_) | VhostError::Disconnected) => {
            tracing::debug!("{what}: the VMM is gone");
            Errno::EIO
        }
        Some(refused) => {
            tracing::warn!("{what} refused by the VMM: {refused}");
            Errno::EIO
        }
        None => {
            tracing::debug!("{what}: {error}");
            Errno::EOPNOTSUPP
        }
    }
}

impl Mapper for Channel {
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        offset: u64,
        len: u64,
        writable: bool,
    ) -> Result<(), Errno> {
        let flags = if writable {
            VhostUserMMapFlags::WRITABLE
        } else {
            VhostUserMMapFlags::empty()
        };
        self.get()?
            .shmem_map(&request(fd_offset, offset, len, flags), &fd)
            .map(|_| ())
            .map_err(|error| refusal("SHMEM_MAP", &error))
    }

    fn unmap(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.get()?
            .shmem_unmap(&request(0, offset, len, VhostUserMMapFlags::empty()))
            .map(|_| ())
            .map_err(|error| refusal("SHMEM_UNMAP", &error))
    }
}
