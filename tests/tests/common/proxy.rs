// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A node of this machine behind the proxy, and the same node asked directly.
//!
//! The machine is a VM with vivid and vicodec. tests/e2e/src/devices.rs loads them, and says where
//! their nodes are, by the environment.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, MutexGuard};

use frontend::{Client, Host, Options};
use nix::errno::Errno;
use protocol::wire::ioctl;
use protocol::wire::v4l2::{self, FIELD_NONE, Format, PixFormat};
use virtio_v4l2d::config::{DeviceSpec, Limits};
use virtio_v4l2d::device::Device;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Pair, alone, panics};

pub const META_CAPTURE: u32 = v4l2::BUF_TYPE_META_CAPTURE;
pub const META_OUTPUT: u32 = v4l2::BUF_TYPE_META_OUTPUT;
pub const SDR_CAPTURE: u32 = v4l2::BUF_TYPE_SDR_CAPTURE;
pub const SLICED_VBI_CAPTURE: u32 = v4l2::BUF_TYPE_SLICED_VBI_CAPTURE;
pub const VBI_CAPTURE: u32 = v4l2::BUF_TYPE_VBI_CAPTURE;
pub const VBI_OUTPUT: u32 = v4l2::BUF_TYPE_VBI_OUTPUT;
pub const VIDEO_CAPTURE: u32 = v4l2::BUF_TYPE_VIDEO_CAPTURE;
pub const VIDEO_OUTPUT: u32 = v4l2::BUF_TYPE_VIDEO_OUTPUT;

/// Nodes of vivid, by the variables that have them.
pub const VIVID: [&str; 10] = [
    "VIVID_CAP",
    "VIVID_OUT",
    "VIVID_VBI_CAP",
    "VIVID_VBI_OUT",
    "VIVID_RADIO_RX",
    "VIVID_RADIO_TX",
    "VIVID_SDR",
    "VIVID_META_CAP",
    "VIVID_META_OUT",
    "VIVID_TOUCH",
];

/// The node that environment variable `name` has.
pub fn node(name: &str) -> PathBuf {
    let path = std::env::var_os(name);
    PathBuf::from(path.unwrap_or_else(|| panic!("{name} is not set: see e2e::devices")))
}

/// The device `--device proxy,path=PATH` with further settings.
pub fn device_with(path: &Path, settings: &[(&str, &str)]) -> Arc<dyn Device> {
    let path = path.display().to_string();
    let settings = [("path", path.as_str())]
        .into_iter()
        .chain(settings.iter().copied());
    let spec = DeviceSpec {
        kind: "proxy".to_owned(),
        settings: settings
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..DeviceSpec::default()
    };
    virtio_v4l2d::device::open(&spec).unwrap()
}

pub fn device(path: &Path) -> Arc<dyn Device> {
    device_with(path, &[])
}

/// A client of the proxied node, and the node itself.
pub struct Both {
    pub path: PathBuf,
    pub pair: Pair,
    pub session: u32,
    pub host: Host,
    /// The devices are there once: one test at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Both {
    /// Of the node that environment variable `name` has.
    pub fn open(name: &str) -> Self {
        Self::open_with(name, &[], Limits::default())
    }

    pub fn open_with(name: &str, settings: &[(&str, &str)], limits: Limits) -> Self {
        let alone = alone();
        let path = node(name);
        let device = device_with(&path, settings);
        let options = Options {
            memory: vec![(0, 64 << 20), (1 << 32, 1 << 20)],
            ..Options::default()
        };
        let mut pair = Pair::limited(device, &options, limits);
        let session = pair.open().unwrap();
        let host = Host::open(&path).unwrap();
        // As it is after loading, whatever the test before did: another input or output and back
        // sets the format anew.
        for mut number in [1u32, 0] {
            let _ = host.call(ioctl::S_INPUT, &mut number);
            let _ = host.call(ioctl::S_OUTPUT, &mut number);
        }
        Self {
            path,
            pair,
            session,
            host,
            _alone: alone,
        }
    }

    /// The same ioctl on both: what they answer is the same, to the byte.
    #[track_caller]
    pub fn same<T>(&mut self, code: u32, payload: &T) -> Result<T, Errno>
    where
        T: FromBytes + IntoBytes + Immutable + KnownLayout + Clone + Debug,
    {
        let mut there = payload.clone();
        let theirs = self.host.call(code, &mut there);
        self.like(code, payload, theirs.map(|()| there))
    }

    /// As [`same`](Self::same), with what the host has answered.
    #[track_caller]
    pub fn like<T>(&mut self, code: u32, payload: &T, theirs: Result<T, Errno>) -> Result<T, Errno>
    where
        T: FromBytes + IntoBytes + Immutable + KnownLayout + Clone + Debug,
    {
        let mut here = payload.clone();
        let ours = self.pair.ioctl(self.session, code, &mut here);
        let ours = ours.map(|()| here);
        let bytes = |result: &Result<T, Errno>| {
            let value = result.as_ref().map_err(|errno| *errno);
            value.map(|value| value.as_bytes().to_vec())
        };
        assert_eq!(
            bytes(&ours),
            bytes(&theirs),
            "{} of {payload:?}: {ours:?}, on the host {theirs:?}",
            ioctl::lookup(code).unwrap().name
        );
        ours
    }

    /// Sets a single-planar format.
    #[track_caller]
    pub fn set_format(
        &mut self,
        type_: u32,
        format: &[u8; 4],
        (width, height): (u32, u32),
    ) -> PixFormat {
        set_format(&mut self.pair, self.session, type_, format, (width, height))
    }

    /// The device still serves.
    #[track_caller]
    pub fn works(&mut self) {
        let session = self.pair.open().unwrap();
        self.pair.close(session);
        assert_eq!(panics(), 0);
        assert_eq!(self.pair.link.shared.violations(), [""; 0]);
    }

    /// Closes the session and hangs up.
    pub fn end(self) {
        self.pair.end();
        assert_eq!(panics(), 0);
    }
}

#[track_caller]
pub fn set_format(
    client: &mut Client,
    session: u32,
    type_: u32,
    pixelformat: &[u8; 4],
    (width, height): (u32, u32),
) -> PixFormat {
    let mut format = Format {
        type_,
        ..Format::default()
    };
    format.set_pix(&PixFormat {
        width,
        height,
        pixelformat: u32::from_le_bytes(*pixelformat),
        field: FIELD_NONE,
        ..PixFormat::default()
    });
    client.ioctl(session, ioctl::S_FMT, &mut format).unwrap();
    let set = format.pix();
    assert_eq!(set.pixelformat, u32::from_le_bytes(*pixelformat));
    assert_eq!((set.width, set.height), (width, height));
    set
}

/// What a program prints.
///
/// # Panics
///
/// It fails.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// v4l2-ctl of `path`.
#[track_caller]
pub fn v4l2_ctl(path: &Path, args: &[&str]) -> String {
    let path = path.display().to_string();
    run("v4l2-ctl", &[&["-d", &path], args].concat())
}
