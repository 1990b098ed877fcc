// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The thread that waits for the node.
//!
//! It is no task on tokio, as poll(2) of a V4L2 node is none of a socket. It takes the driver's
//! lock, which a call may hold for seconds: every timer and every file of the daemon would wait
//! with it. It starts a stream of its own for read(2) if it is asked for data while there are no
//! buffers. And it says EPOLLERR when there is nothing to wait for, which tokio takes for the end
//! of the file.
//!
//! So: an epoll for each session that streams or listens, edge-triggered, since EPOLLERR and the
//! end of a stream last; asked for data only while a queue streams.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::round::{Ready, Shared};

const NODE: u64 = 0;
const STOP: u64 = 1;

/// What of the node is waited for.
fn interest(data: bool) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLPRI | EpollFlags::EPOLLET;
    if data {
        flags |= EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
    }
    EpollEvent::new(flags, NODE)
}

#[derive(Debug)]
struct Files {
    epoll: Epoll,
    stop: EventFd,
}

/// The thread; it ends on drop.
#[derive(Debug)]
pub struct Watch {
    files: Arc<Files>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    data: bool,
}

impl Watch {
    /// Waits for V4L2 events of a session whose queues do not stream.
    ///
    /// # Errors
    ///
    /// `ENODEV`; `EAGAIN`, `EMFILE`, `ENOMEM` if the system has no thread or file left.
    pub fn new(shared: &Arc<Shared>) -> Result<Self, Errno> {
        let files = Files {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            stop: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        };
        files
            .epoll
            .add(&files.stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        files.epoll.add(shared.node.as_fd(), interest(false))?;
        let files = Arc::new(files);
        let mine = (Arc::clone(&files), Arc::clone(shared));
        let thread = std::thread::Builder::new()
            .name("v4l2".to_owned())
            .spawn(move || {
                let (files, shared) = mine;
                if catch_unwind(AssertUnwindSafe(|| run(&files, &shared))).is_err() {
                    tracing::error!("panic while waiting for a device, please report it");
                    shared.events.error(Errno::EIO);
                }
            })
            .map_err(|error| error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw))?;
        Ok(Self {
            files,
            shared: Arc::clone(shared),
            thread: Some(thread),
            data: false,
        })
    }

    /// Waits for buffers, too, or no longer. What is ready at that moment wakes the thread.
    ///
    /// # Errors
    ///
    /// `ENODEV`, `ENOMEM`.
    pub fn data(&mut self, data: bool) -> Result<(), Errno> {
        if data != self.data {
            let node = self.shared.node.as_fd();
            self.files.epoll.modify(node, &mut interest(data))?;
            self.data = data;
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Fails only when it is readable anyway.
        let _ = self.files.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(files: &Files, shared: &Shared) {
    let mut ready = [EpollEvent::empty(); 2];
    loop {
        let count = match files.epoll.wait(&mut ready, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return shared.lost(errno),
        };
        for event in ready.iter().take(count) {
            if event.data() == STOP {
                return;
            }
            let flags = event.events();
            if shared.round(Ready::of(flags)).is_err() {
                return;
            }
            if flags.contains(EpollFlags::EPOLLHUP) {
                return shared.lost(Errno::ENODEV);
            }
        }
    }
}
