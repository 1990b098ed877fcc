// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A V4L2 device of the host, handed to the guest nearly as it is.
//!
//! Each session is an open file of the host's node. Ioctls go there by checked calls
//! ([`crate::v4l2::node`]); `queues` does what is about buffers and streams.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, anyhow};
use nix::errno::Errno;
use protocol::wire::config::Config;
use v4l2r::bindings::{
    V4L2_CAP_DEVICE_CAPS, V4L2_CAP_EXT_PIX_FORMAT, V4L2_CAP_IO_MC, V4L2_CAP_READWRITE,
};

use crate::config::DeviceSpec;
use crate::device::api::{self, Device, Result};
use crate::device::sessions::OpenSession;
use crate::events::Events;
use crate::memory::Vm;
use crate::v4l2::node::{Identity, Node};

mod allow;
mod controls;
mod queues;
mod session;
mod settings;

use allow::Allow;
use session::Session;
pub use settings::Settings;

/// Of `V4L2_CAP_*`, what a guest cannot have: it has no read(2) and write(2), and no media
/// controller. V4L2_CAP_ASYNCIO stays: today's kernels call that number V4L2_CAP_EDID.
const NOT_FOR_GUESTS: u32 =
    V4L2_CAP_READWRITE | V4L2_CAP_IO_MC | V4L2_CAP_DEVICE_CAPS | V4L2_CAP_EXT_PIX_FORMAT;

/// The host's device.
#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    allow: Arc<Allow>,
    /// What was found when the daemon started. Whatever is found later must be the same.
    identity: Identity,
    /// Another device stands in its place, and that has been said.
    replaced: AtomicBool,
    /// Sessions that are open, of all VMs.
    open: Arc<Mutex<usize>>,
    /// Calls of the node that are being made.
    calls: Arc<AtomicUsize>,
}

impl Proxy {
    /// The proxied device that `spec` describes.
    ///
    /// # Errors
    ///
    /// There is no such setting; as [`new`](Self::new).
    pub fn from_spec(spec: &DeviceSpec) -> anyhow::Result<Self> {
        let mut settings = Settings::default();
        for (key, value) in &spec.settings {
            settings.set(key, value)?;
        }
        Self::new(settings)
    }

    /// Looks at the node that `settings` name.
    ///
    /// # Errors
    ///
    /// There is none, or not one for us: the message says what to do.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let path = settings.path.as_deref();
        let path = path.context("--device proxy: say which, as in proxy,path=/dev/video0")?;
        let node = Node::open(path, Arc::default()).map_err(|error| explain(path, &error))?;
        let identity = node.identity().clone();
        let mut allow = settings.allow.clone();
        if let Some(list) = &settings.controls {
            let of_device = node
                .controls()
                .with_context(|| format!("{}: cannot list its controls", path.display()))?;
            allow.set_controls(allow::controls(list, &of_device)?);
        }
        tracing::info!(
            "{}: {} ({}, {})",
            path.display(),
            identity.card,
            identity.driver,
            identity.bus_info
        );
        Ok(Self {
            settings,
            allow: Arc::new(allow),
            identity,
            replaced: AtomicBool::new(false),
            open: Arc::default(),
            calls: Arc::default(),
        })
    }

    /// Opens the node anew: it may have gone and come back.
    fn node(&self) -> Result<Arc<Node>> {
        let path = self.settings.path.as_deref().ok_or(Errno::ENODEV)?;
        let node = Node::open(path, Arc::clone(&self.calls)).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            match errno {
                // Unplugged: nothing is there, or something that is on its way out.
                Errno::ENOENT | Errno::ENXIO | Errno::ENOTTY => Errno::ENODEV,
                errno => errno,
            }
        })?;
        let same = *node.identity() == self.identity;
        if !same && !self.replaced.swap(true, Ordering::Relaxed) {
            let other = node.identity();
            tracing::warn!(
                "{} is another device now, {} ({}): guests do not get it; start again for that",
                path.display(),
                other.card,
                other.bus_info
            );
        }
        if !same {
            return Err(Errno::ENODEV);
        }
        self.replaced.store(false, Ordering::Relaxed);
        Ok(node)
    }
}

impl Device for Proxy {
    fn config(&self) -> Config {
        let card = self.settings.card.as_deref();
        Config {
            device_caps: self.identity.device_caps & !NOT_FOR_GUESTS,
            device_type: self.identity.kind as u32,
            card: api::text(card.unwrap_or(&self.identity.card)),
        }
    }

    fn open(&self, id: u32, events: Events, vm: Vm) -> Result<Box<dyn api::Session>> {
        // Before the node is opened, which may hang.
        let open = OpenSession::new(&self.open, self.settings.max_sessions)?;
        let node = self.node()?;
        Ok(Box::new(Session::new(
            id,
            node,
            Arc::clone(&self.allow),
            (events, vm),
            open,
        )))
    }

    fn may_wait(&self) -> bool {
        true
    }

    /// Calls of one device, from whatever open file, wait for each other.
    fn is_busy(&self) -> bool {
        self.calls.load(Ordering::Acquire) > 0
    }
}

/// What is wrong with the node at `path`, and what to do.
fn explain(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let shown = path.display();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => {
            anyhow!("{shown}: there is no such device; v4l2-ctl --list-devices shows what there is")
        }
        Some(Errno::EACCES | Errno::EPERM) => anyhow!(
            "{shown}: permission denied; add the daemon's user to the group that owns it, video by \
             default"
        ),
        Some(Errno::EBUSY) => anyhow!("{shown} is in use by another process; stop that first"),
        Some(Errno::ENOTTY | Errno::EISDIR) => anyhow!(
            "{shown} is no V4L2 device that a guest can use; want a video, vbi, radio, swradio or \
             v4l-touch node"
        ),
        _ => anyhow!("{shown} cannot be opened: {error}"),
    }
}
