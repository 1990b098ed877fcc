// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A daemon inside the test process, and what tests ask of it.

// Each test binary uses its part of this.
#![allow(dead_code, missing_docs)]

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;

use frontend::{Client, Options, PATIENCE};
use virtio_v4l2d::config::Limits;
use virtio_v4l2d::device::Device;
use virtio_v4l2d::transport::{Stop, serve_stream};

pub mod bytes;
pub mod decoder;
pub mod encoder;
pub mod fake;
pub mod hand;
pub mod import;
pub mod leaks;
pub mod program;
pub mod proxy;
pub mod sink;
pub mod vmms;

/// What a command gets that names a session which is not open.
pub const UNKNOWN_SESSION: nix::errno::Errno = nix::errno::Errno::EINVAL;

/// A daemon that serves one frontend.
pub struct Daemon {
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts a daemon with `device`, and gives the frontend's end of its socket.
    pub fn start(device: Arc<dyn Device>, limits: Limits) -> (Self, UnixStream) {
        count_panics();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (sender, done) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let stop = Stop::new().unwrap();
            let result = serve_stream(
                theirs,
                &device,
                (limits, &limits.account(1)),
                runtime.handle(),
                &stop,
            );
            drop(runtime);
            // Held until now: a panic in the daemon hangs up too.
            drop(sender);
            result.unwrap();
        });
        let daemon = Self {
            done,
            thread: Some(thread),
        };
        (daemon, ours)
    }

    /// Waits until it is done with a frontend that hung up.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let ended = self.done.recv_timeout(PATIENCE);
            assert_ne!(
                ended,
                Err(RecvTimeoutError::Timeout),
                "the daemon does not end after the frontend hung up"
            );
            thread.join().expect("the daemon panicked");
        }
    }
}

/// A client and the daemon behind it; the daemon is waited for when both are dropped.
pub struct Pair {
    // Before the daemon: fields are dropped in order.
    pub client: Option<Client>,
    daemon: Option<Daemon>,
}

impl Pair {
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self::with(device, &Options::default())
    }

    pub fn with(device: Arc<dyn Device>, options: &Options) -> Self {
        Self::limited(device, options, Limits::default())
    }

    pub fn limited(device: Arc<dyn Device>, options: &Options, limits: Limits) -> Self {
        let (daemon, stream) = Daemon::start(device, limits);
        let client = Client::new(stream, options).unwrap();
        Self {
            client: Some(client),
            daemon: Some(daemon),
        }
    }

    /// Hangs up and waits for the daemon to be done.
    pub fn end(mut self) {
        self.client = None;
        if let Some(daemon) = self.daemon.take() {
            daemon.join();
        }
    }
}

impl std::ops::Deref for Pair {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().unwrap()
    }
}

impl std::ops::DerefMut for Pair {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().unwrap()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.client = None;
        if let Some(daemon) = self.daemon.take()
            && !std::thread::panicking()
        {
            daemon.join();
        }
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// How many panics the daemon has had in this process: it survives those of a device, which is no
/// reason to have any.
pub fn panics() -> usize {
    PANICS.load(Ordering::SeqCst)
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours = info
                .location()
                .is_some_and(|place| place.file().contains("tests/"));
            if !ours {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(info);
        }));
    });
}

/// Lets one test at a time run, in binaries that count what the process holds.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The host has no /dev/udmabuf: what was to be tested with it is not, which is a failure where the
/// environment says that it is to be there.
pub fn no_udmabuf() {
    assert!(
        std::env::var_os("VIRTIO_V4L2_REQUIRE_UDMABUF").is_none(),
        "no /dev/udmabuf here"
    );
    println!("skipped: no /dev/udmabuf here");
}
