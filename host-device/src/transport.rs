// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! vhost-user: serves a device to one VMM after the other.

mod backend;
mod chain;
mod command;
mod endpoint;
mod event;
mod shmem;
mod stop;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::runtime::Handle;
use vhost::vhost_user::{Error as VhostError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use self::backend::Link;
pub use self::endpoint::Endpoint;
pub use self::stop::Stop;
use crate::config::Limits;
use crate::device::Device;
use crate::memory;

/// How long sessions may take to close when the daemon ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves `device` to whoever connects to `endpoint`, one VMM after the other, until `stop` is set.
///
/// Calls that may block run on `runtime`, as blocking tasks.
///
/// # Errors
///
/// The system refuses what serving needs (threads, file descriptors). What a VMM or a guest does is no error
/// here: it is logged, and the next one is served.
pub fn serve(
    endpoint: &Endpoint,
    device: &Arc<dyn Device>,
    limits: Limits,
    runtime: &Handle,
    stop: &Stop,
) -> anyhow::Result<()> {
    memory::set_limit(limits.max_memory);
    while wait_for_vmm(endpoint, stop)? {
        serve_one(endpoint, device, limits, runtime, stop)?;
    }
    Ok(())
}

/// Waits until a VMM connects (true) or `stop` is set (false).
fn wait_for_vmm(endpoint: &Endpoint, stop: &Stop) -> anyhow::Result<bool> {
    loop {
        if stop.is_set() {
            return Ok(false);
        }
        let mut fds = [
            PollFd::new(endpoint.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[0].any() == Some(true) => return Ok(!stop.is_set()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for a VMM"),
        }
    }
}

fn serve_one(
    endpoint: &Endpoint,
    device: &Arc<dyn Device>,
    limits: Limits,
    runtime: &Handle,
    stop: &Stop,
) -> anyhow::Result<()> {
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let link = Link::new(Arc::clone(device), memory.clone(), limits, runtime.clone());
    let mut daemon = VhostUserDaemon::new("vhost-user".to_owned(), Arc::clone(&link), memory)
        .map_err(|error| anyhow::anyhow!("cannot set up for a VMM: {error}"))?;
    let accepting = endpoint
        .listener()
        .try_clone()
        .context("cannot duplicate the socket")?;
    daemon
        .start(&mut Listener::from(accepting))
        .map_err(|error| anyhow::anyhow!("cannot accept a VMM: {error}"))?;
    tracing::info!("VMM connected");
    stop.watch(daemon.shutdown_handle());
    let result = daemon.wait();
    stop.watch(None);
    match result {
        Ok(())
        | Err(DaemonError::HandleRequest(VhostError::Disconnected | VhostError::PartialMessage)) => {
            tracing::info!("VMM disconnected")
        }
        Err(error) => tracing::warn!("VMM dropped: {error}"),
    }
    link.end();
    // Stops the ring thread.
    drop(daemon);
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    while link.sessions() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    if link.sessions() > 0 {
        tracing::warn!("{} sessions are still closing", link.sessions());
    }
    Ok(())
}
