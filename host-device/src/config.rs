// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Validated settings.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use crate::cli::Cli;
use crate::memory::{Account, PAGE_SIZE};

/// Limits of the transport, the same for every VMM that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of shared memory region 0, in bytes: a power of two, since VMMs make it a PCI BAR; or 0
    /// for no region.
    pub shm_size: u64,
    /// Most memory that the VM may make the host spend, through all of its devices, in bytes.
    pub max_memory: usize,
    /// Most sessions that hold resources at one time.
    pub max_sessions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shm_size: 4 << 30,
            max_memory: 4 << 30,
            max_sessions: 256,
        }
    }
}

impl Limits {
    /// The limits that the command line asks for.
    ///
    /// # Errors
    ///
    /// One of them makes no sense.
    pub fn new(cli: &Cli) -> anyhow::Result<Self> {
        let bar = cli.shm_size.is_power_of_two() && cli.shm_size >= PAGE_SIZE as u64;
        ensure!(
            bar || cli.shm_size == 0,
            "--shm-size must be a power of two (of at least 4K), since it becomes a PCI BAR, or 0 \
             for no region"
        );
        ensure!(cli.max_memory > 0, "--max-memory must be more than 0");
        Ok(Self {
            shm_size: cli.shm_size,
            max_memory: usize::try_from(cli.max_memory).context("--max-memory is too large")?,
            max_sessions: usize::from(cli.max_sessions),
        })
    }

    /// What a VM with so many devices spends is counted here.
    pub fn account(&self, devices: usize) -> Arc<Account> {
        Account::new(self.max_memory, devices)
    }
}

/// Where the VMMs of a device come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A socket to be made.
    Path(PathBuf),
    /// A socket that was passed on.
    Fd(RawFd),
}

/// What the command line says about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Which it is, for [`device::open`](crate::device::open()).
    pub kind: String,
    /// Settings `KEY=VALUE` of the device, in order.
    pub settings: Vec<(String, String)>,
    /// GStreamer element of each codec that has one named, in order.
    pub elements: Vec<(String, String)>,
}

impl Default for DeviceSpec {
    fn default() -> Self {
        Self {
            kind: "encoder".to_owned(),
            settings: Vec::new(),
            elements: Vec::new(),
        }
    }
}

impl DeviceSpec {
    /// Takes `--device` and `--encoder` apart: at least one device, each at a place of its own.
    /// Whether there is such a device, other keys, codecs and elements are not checked here.
    ///
    /// # Errors
    ///
    /// An option is not of the form `KEY=VALUE`, or it is not clear where a device is to be.
    pub fn all(cli: &Cli) -> anyhow::Result<Vec<(Place, Self)>> {
        let elements: Vec<_> = cli
            .encoder
            .iter()
            .map(|part| pair("--encoder", part))
            .collect::<anyhow::Result<_>>()?;
        let encoder = ["encoder".to_owned()];
        let devices = if cli.device.is_empty() {
            &encoder
        } else {
            &cli.device[..]
        };
        // For the one device, or nobody.
        let given = match (&cli.socket_path, cli.fd) {
            (Some(path), _) => Some(Place::Path(path.clone())),
            (None, fd) => fd.map(Place::Fd),
        };
        ensure!(
            devices.len() == 1 || given.is_none(),
            "several --device want a socket each: write socket=PATH in each of them, instead of \
             --socket-path or --fd"
        );
        let mut specs: Vec<(Place, Self)> = Vec::new();
        for device in devices {
            let (kind, own, settings) = take_apart(device)?;
            let place = match (own, given.clone()) {
                (Some(place), None) | (None, Some(place)) => place,
                (Some(_), Some(_)) => bail!(
                    "--device {device}: it has a socket already; leave --socket-path and --fd out"
                ),
                (None, None) => bail!(
                    "where is {device} to be? Give --socket-path PATH, or socket=PATH in its \
                     --device"
                ),
            };
            ensure!(
                specs.iter().all(|(other, _)| *other != place),
                "two --device have the same socket: each wants its own"
            );
            let elements = elements.clone();
            specs.push((
                place,
                Self {
                    kind,
                    settings,
                    elements,
                },
            ));
        }
        Ok(specs)
    }
}

/// What one `--device` says: which it is, its own place, and its other settings.
type Parts = (String, Option<Place>, Vec<(String, String)>);

fn take_apart(device: &str) -> anyhow::Result<Parts> {
    let mut parts = device.split(',');
    let kind = parts.next().unwrap_or_default().to_owned();
    let (mut place, mut settings) = (None, Vec::new());
    for part in parts {
        let (key, value) = pair("--device", part)?;
        let here = match key.as_str() {
            "socket" => Place::Path(value.into()),
            "fd" => Place::Fd(
                value
                    .parse()
                    .with_context(|| format!("--device: fd={value:?} is no number"))?,
            ),
            _ => {
                settings.push((key, value));
                continue;
            }
        };
        ensure!(
            place.replace(here).is_none(),
            "--device {device}: one socket= or fd= is enough"
        );
    }
    Ok((kind, place, settings))
}

fn pair(option: &str, text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => bail!("{option}: {text:?} is not of the form KEY=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn cli(args: &[&str]) -> Cli {
        Cli::try_parse_from([&["virtio-v4l2d"], args].concat()).unwrap()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn one_device() {
        let all = |args: &[&str]| DeviceSpec::all(&cli(&[&["--fd", "3"], args].concat()));
        let specs = all(&["--device", "encoder,a=b,c=d=e"]).unwrap();
        assert_eq!(specs.len(), 1);
        assert_eq!(specs[0].1.settings, pairs(&[("a", "b"), ("c", "d=e")]));
        assert_eq!(specs[0].0, Place::Fd(3));
        for bad in ["encoder,a", "encoder,=b"] {
            assert!(all(&["--device", bad]).is_err(), "{bad}");
        }
        let specs = all(&["--encoder", "h264=a,hevc=b"]).unwrap();
        assert_eq!(specs[0].1.kind, "encoder");
        assert_eq!(specs[0].1.elements, pairs(&[("h264", "a"), ("hevc", "b")]));
        assert!(all(&["--encoder", "h264"]).is_err());
        let specs =
            DeviceSpec::all(&cli(&["--device", "proxy,socket=/a,path=/dev/video0"])).unwrap();
        assert_eq!(specs[0].1.kind, "proxy");
        assert_eq!(specs[0].0, Place::Path("/a".into()));
        assert_eq!(specs[0].1.settings, pairs(&[("path", "/dev/video0")]));
    }

    #[test]
    fn several_devices() {
        let specs = DeviceSpec::all(&cli(&[
            "--device",
            "proxy,socket=/a,path=/dev/video0",
            "--device",
            "encoder,fd=4",
        ]))
        .unwrap();
        let places = specs.iter().map(|(place, _)| place.clone());
        assert_eq!(
            places.collect::<Vec<_>>(),
            [Place::Path("/a".into()), Place::Fd(4)]
        );
        let complaint = |args: &[&str]| DeviceSpec::all(&cli(args)).unwrap_err().to_string();
        for (args, word) in [
            (&[][..], "--socket-path"),
            (&["--device", "encoder"], "--socket-path"),
            (
                &["--socket-path", "/a", "--device", "encoder,socket=/b"],
                "already",
            ),
            (
                &[
                    "--socket-path",
                    "/a",
                    "--device",
                    "encoder",
                    "--device",
                    "encoder",
                ],
                "several",
            ),
            (
                &["--device", "encoder,socket=/a", "--device", "encoder"],
                "where",
            ),
            (
                &[
                    "--device",
                    "encoder,socket=/a",
                    "--device",
                    "encoder,socket=/a",
                ],
                "two",
            ),
            (&["--device", "encoder,socket=/a,fd=3"], "enough"),
            (&["--device", "encoder,fd=x"], "no number"),
        ] {
            let said = complaint(args);
            assert!(said.contains(word), "{args:?}: {said}");
        }
    }

    #[test]
    fn region_size() {
        assert!(Limits::new(&cli(&["--shm-size", "3G"])).is_err());
        assert!(Limits::new(&cli(&["--shm-size", "2K"])).is_err());
        assert!(Limits::new(&cli(&["--max-memory", "0"])).is_err());
        assert_eq!(Limits::new(&cli(&["--shm-size", "0"])).unwrap().shm_size, 0);
        assert_eq!(Limits::new(&cli(&[])).unwrap(), Limits::default());
    }
}
