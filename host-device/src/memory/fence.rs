// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Implicit fences of dmabufs: waiting until other devices are done with one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::mapping::Access;

/// How long a fence may take. The kernel's own drivers give up on theirs in a few seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `DMA_BUF_SYNC_READ`: wait for those who write. `DMA_BUF_SYNC_RW`: for those who read too.
const SYNC_READ: u32 = 1;
const SYNC_RW: u32 = 3;

/// `struct dma_buf_export_sync_file`.
#[repr(C)]
struct ExportSyncFile {
    flags: u32,
    fd: i32,
}

/// `struct sync_file_info`, asked for without its list of fences.
#[repr(C)]
struct SyncFileInfo {
    name: [u8; 32],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    sync_fence_info: u64,
}

nix::ioctl_readwrite!(dma_buf_export_sync_file, b'b', 2, ExportSyncFile);
nix::ioctl_readwrite!(sync_ioc_file_info, b'>', 4, SyncFileInfo);

/// Where a fence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is not signalled yet.
    Pending,
    /// It is signalled: the memory can be used.
    Ready,
    /// It was signalled with an error, or not in time: what is in the memory is nothing.
    Failed,
}

const PENDING: u8 = 0;
const READY: u8 = 1;
const FAILED: u8 = 2;

/// What must happen before memory is used. Dropped, it is no longer waited for.
#[derive(Debug)]
pub struct Fence {
    state: Arc<AtomicU8>,
    task: AbortHandle,
}

impl Fence {
    /// Where it stands.
    pub fn readiness(&self) -> Readiness {
        match self.state.load(Ordering::Acquire) {
            PENDING => Readiness::Pending,
            READY => Readiness::Ready,
            _ => Readiness::Failed,
        }
    }

    /// Waits on `runtime` for all of `files`, which become readable, but no longer than `timeout`,
    /// and then calls `then`.
    pub fn new(
        files: Vec<OwnedFd>,
        timeout: Duration,
        runtime: &Handle,
        then: impl FnOnce() + Send + 'static,
    ) -> Self {
        let state = Arc::new(AtomicU8::new(PENDING));
        let done = Arc::clone(&state);
        let task = runtime.spawn(async move {
            let all = async {
                for file in files {
                    // SAFETY: An owned descriptor stays the same and open until it is dropped,
                    // which is when `AsyncFd` lets go of it.
                    let file =
                        unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }?;
                    file.readable().await?.retain_ready();
                    check(file.get_ref().as_fd())?;
                }
                std::io::Result::Ok(())
            };
            let outcome = match tokio::time::timeout(timeout, all).await {
                Ok(Ok(())) => READY,
                Ok(Err(error)) => {
                    tracing::debug!("a fence failed: {error}");
                    FAILED
                }
                Err(_) => {
                    tracing::warn!("a fence of a dmabuf was not signalled in {timeout:?}");
                    FAILED
                }
            };
            done.store(outcome, Ordering::Release);
            then();
        });
        Self {
            state,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a sync file that is signalled was so without an error. What is no sync file has none.
fn check(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut info = SyncFileInfo {
        name: [0; 32],
        status: 0,
        flags: 0,
        num_fences: 0,
        pad: 0,
        sync_fence_info: 0,
    };
    // SAFETY: The kernel writes to `info`, which is of the type that the request has, and to no
    // list: it has no room.
    match unsafe { sync_ioc_file_info(file.as_raw_fd(), &raw mut info) } {
        Ok(_) if info.status < 0 => Err(Errno::from_raw(-info.status)),
        Ok(_) | Err(Errno::ENOTTY) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The fence of a dmabuf that must be awaited before it is used for `access`. `None` if it is
/// signalled, or the file has no fences.
///
/// # Errors
///
/// The fence was signalled with an error (`EIO`), or the system is out of file descriptors or
/// memory.
pub(super) fn export(dmabuf: BorrowedFd<'_>, access: Access) -> Result<Option<OwnedFd>, Errno> {
    let mut request = ExportSyncFile {
        flags: match access {
            Access::Read => SYNC_READ,
            Access::ReadWrite => SYNC_RW,
        },
        fd: -1,
    };
    // SAFETY: The kernel reads and writes `request`, which is of the type that the request has.
    match unsafe { dma_buf_export_sync_file(dmabuf.as_raw_fd(), &raw mut request) } {
        Ok(_) => {}
        // A memfd, or a kernel before 6.0.
        Err(Errno::ENOTTY | Errno::EINVAL) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // SAFETY: The kernel just made this descriptor, for us to own.
    let file = unsafe { OwnedFd::from_raw_fd(request.fd) };
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO)? == 0 {
        return Ok(Some(file));
    }
    check(file.as_fd()).map_err(|errno| {
        tracing::debug!("a fence failed: {errno}");
        Errno::EIO
    })?;
    Ok(None)
}

/// The fence of several dmabufs together, as [`Vm::fence`](super::Vm::fence) has it.
pub(super) fn of<'a>(
    dmabufs: impl Iterator<Item = BorrowedFd<'a>>,
    access: Access,
    runtime: Option<&Handle>,
    then: impl FnOnce() + Send + 'static,
) -> Result<Option<Fence>, Errno> {
    let mut files = Vec::new();
    for dmabuf in dmabufs {
        files.extend(export(dmabuf, access)?);
    }
    if files.is_empty() {
        return Ok(None);
    }
    let runtime = runtime.ok_or(Errno::EOPNOTSUPP)?;
    Ok(Some(Fence::new(files, TIMEOUT, runtime, then)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use nix::sys::eventfd::{EfdFlags, EventFd};

    use super::*;
    use crate::memory::HostBuffer;

    const LONG: Duration = Duration::from_secs(20);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    fn events() -> (EventFd, OwnedFd) {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
        let copy = event.as_fd().try_clone_to_owned().unwrap();
        (event, copy)
    }

    #[test]
    fn all_files_must_be_signalled() {
        let runtime = runtime();
        let [(first, a), (second, b)] = [events(), events()];
        let (sender, done) = channel();
        let fence = Fence::new(vec![a, b], LONG, runtime.handle(), move || {
            sender.send(()).unwrap();
        });
        assert_eq!(fence.readiness(), Readiness::Pending);
        second.write(1).unwrap();
        assert_eq!(fence.readiness(), Readiness::Pending);
        first.write(1).unwrap();
        done.recv_timeout(LONG).unwrap();
        assert_eq!(fence.readiness(), Readiness::Ready);
    }

    #[test]
    fn one_that_never_comes_fails() {
        let runtime = runtime();
        let (_never, file) = events();
        let (sender, done) = channel();
        let timeout = Duration::from_millis(10);
        let fence = Fence::new(vec![file], timeout, runtime.handle(), move || {
            sender.send(()).unwrap();
        });
        done.recv_timeout(LONG).unwrap();
        assert_eq!(fence.readiness(), Readiness::Failed);
    }

    #[test]
    fn one_that_nobody_waits_for_ends() {
        let runtime = runtime();
        let (_never, file) = events();
        let (sender, done) = channel::<()>();
        let fence = Fence::new(vec![file], LONG * 100, runtime.handle(), move || {
            drop(sender)
        });
        drop(fence);
        // The closure goes, uncalled, with the file.
        let gone = Err(RecvTimeoutError::Disconnected);
        assert_eq!(done.recv_timeout(LONG), gone);
    }

    #[test]
    fn what_is_no_dmabuf_has_none() {
        let buffer = HostBuffer::new(1).unwrap();
        assert!(export(buffer.fd(), Access::Read).unwrap().is_none());
    }
}
