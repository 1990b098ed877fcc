// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! vhost-user: serves a device to one VMM after the other.
//!
//! Of the crates of rust-vmm this uses `vhost` for the messages and `virtio-queue` for the rings.
//! It does not use `vhost-user-backend`, which takes no connected socket, leaks a file descriptor
//! for each VMM, and ends its ring thread on an error.

mod chain;
mod channel;
mod command;
mod connection;
mod endpoint;
mod event;
mod layout;
mod regions;
mod request_handler;
mod ring;
mod socket;
mod stop;
mod turn;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::runtime::Handle;
use vhost::vhost_user::{BackendReqHandler, Error as VhostError};

use self::connection::VmmConnection;
pub use self::endpoint::Endpoint;
use self::request_handler::RequestHandler;
pub use self::stop::Stop;
use crate::config::Limits;
use crate::device::api::Device;
use crate::memory::Account;

/// How long sessions may take to close when their VMM is gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// After how many milliseconds the next VMM is accepted if one could not be.
const RETRY: u16 = 1000;

/// Serves `device` to whoever connects to `endpoint`, one VMM after the other, until `stop` is set.
/// An endpoint that is connected already serves that one VMM.
///
/// Calls that may block run on threads of the VMM's own; fences are awaited on `runtime`.
///
/// # Errors
///
/// The system refuses a connected endpoint what serving needs (threads, file descriptors, memory).
/// Of those who connect later that is logged, and the next one is served, as it is with what a VMM
/// or a guest does.
pub fn serve(
    endpoint: Endpoint,
    device: &Arc<dyn Device>,
    (limits, account): (Limits, &Arc<Account>),
    runtime: &Handle,
    stop: &Stop,
) -> anyhow::Result<()> {
    let listener = match endpoint {
        Endpoint::Connected(stream) => {
            return serve_stream(stream, device, (limits, account), runtime, stop);
        }
        Endpoint::Listening(listener) => listener,
    };
    while wait(Some(listener.as_fd()), stop, PollTimeout::NONE) {
        let served = listener
            .accept()
            .context("cannot accept a VMM")
            .and_then(|(stream, _)| serve_stream(stream, device, (limits, account), runtime, stop));
        if let Err(error) = served {
            // What is missing may be there again later. A VMM that was not accepted is waiting.
            tracing::warn!("a VMM is not served, next try in a second: {error:#}");
            wait(None, stop, RETRY.into());
        }
    }
    Ok(())
}

/// Waits until a VMM connects (true), or `stop` is set or `timeout` has passed (false).
fn wait(listener: Option<BorrowedFd<'_>>, stop: &Stop, timeout: PollTimeout) -> bool {
    let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::POLLIN)));
    loop {
        let polled = poll(&mut fds, timeout);
        if stop.is_set() {
            return false;
        }
        match polled {
            Ok(count) => return count > 0,
            Err(Errno::EINTR) => {}
            Err(errno) => {
                tracing::warn!("cannot wait for a VMM: {errno}");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

/// Serves `device` to the VMM at the other end of `stream` until it hangs up or `stop` is set. On
/// return nothing of it is left: no session, mapping, thread or file descriptor.
///
/// # Errors
///
/// As [`serve`].
pub fn serve_stream(
    stream: UnixStream,
    device: &Arc<dyn Device>,
    (limits, account): (Limits, &Arc<Account>),
    runtime: &Handle,
    stop: &Stop,
) -> anyhow::Result<()> {
    // One that was passed on may be anything.
    stream
        .set_nonblocking(false)
        .context("cannot wait on the socket")?;
    let hangup = stream.try_clone().context("cannot duplicate the socket")?;
    let peeked = stream.try_clone().context("cannot duplicate the socket")?;
    let connection = VmmConnection::new(Arc::clone(device), (limits, account), runtime.clone())
        .context("cannot set up for a VMM")?;
    let rings = connection.spawn()?;
    stop.watch(Some(hangup));
    tracing::info!("VMM connected");

    let handler = Arc::new(Mutex::new(RequestHandler::new(Arc::clone(&connection))));
    let mut requests = BackendReqHandler::from_stream(stream, Arc::clone(&handler));
    match serve_requests(&mut requests, &handler, &peeked) {
        // At the end, PartialMessage is an end of file where a header was to be.
        VhostError::Disconnected | VhostError::PartialMessage | VhostError::SocketBroken(_) => {
            tracing::info!("VMM disconnected");
        }
        _ if stop.is_set() => tracing::info!("VMM disconnected by us"),
        error => tracing::warn!("VMM disconnected by us, for a request we cannot meet: {error}"),
    }

    stop.watch(None);
    end(&connection, rings);
    Ok(())
}

/// Answers requests until one cannot be: why. `peeked` is the socket that they come from.
fn serve_requests(
    requests: &mut BackendReqHandler<Mutex<RequestHandler>>,
    handler: &Mutex<RequestHandler>,
    peeked: &UnixStream,
) -> VhostError {
    loop {
        if let Some(socket) = socket::offered(peeked) {
            let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
            handler.offer(socket);
        }
        match requests.handle_request() {
            Ok(()) | Err(VhostError::SocketRetry(_)) => {}
            Err(error) => {
                let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
                if !handler.has_refused() {
                    return error;
                }
                // The VMM got that answer, if it asked for one: both sides still know what comes
                // next.
                tracing::warn!("a request of the VMM is refused: {error}");
            }
        }
    }
}

/// Ends a connection: its ring thread, its sessions and their threads.
fn end(connection: &VmmConnection, rings: JoinHandle<()>) {
    connection.end();
    if rings.join().is_err() {
        tracing::error!("the ring thread panicked, please report it");
    }
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    while connection.sessions() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    if connection.sessions() > 0 {
        tracing::warn!("{} sessions are still closing", connection.sessions());
    }
    connection.end_threads();
    connection.vm.counters().log();
}
