// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Validated settings.

use anyhow::{Context, bail, ensure};

use crate::cli::Cli;
use crate::memory::PAGE_SIZE;

/// Limits of the transport, the same for every VMM that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of shared memory region 0, in bytes: a power of two, since VMMs make it a PCI BAR; or 0 for no region.
    pub shm_size: u64,
    /// Most memory of all MMAP buffers together, in bytes.
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
            "--shm-size must be a power of two (of at least 4K), since it becomes a PCI BAR, or 0 for no region"
        );
        ensure!(cli.max_memory > 0, "--max-memory must be more than 0");
        Ok(Self {
            shm_size: cli.shm_size,
            max_memory: usize::try_from(cli.max_memory).context("--max-memory is too large")?,
            max_sessions: usize::from(cli.max_sessions),
        })
    }
}

/// Which device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// A video encoder on GStreamer.
    #[default]
    Encoder,
    /// A V4L2 device of the host.
    Proxy,
}

/// What `--device` and `--encoder` say about the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Which it is.
    pub kind: DeviceKind,
    /// Settings `KEY=VALUE` of the device, in order.
    pub settings: Vec<(String, String)>,
    /// GStreamer element of each codec that has one named, in order.
    pub elements: Vec<(String, String)>,
}

impl DeviceSpec {
    /// Takes `--device` and `--encoder` apart. Keys, codecs and elements are the device's to check.
    ///
    /// # Errors
    ///
    /// There is no such device, or an option is not of the form `KEY=VALUE`.
    pub fn new(cli: &Cli) -> anyhow::Result<Self> {
        let mut parts = cli.device.split(',');
        let kind = match parts.next() {
            Some("encoder") => DeviceKind::Encoder,
            Some("proxy") => DeviceKind::Proxy,
            other => bail!(
                "--device: there is no device {:?}; there are: encoder, proxy",
                other.unwrap_or_default()
            ),
        };
        Ok(Self {
            kind,
            settings: parts
                .map(|part| pair("--device", part))
                .collect::<anyhow::Result<_>>()?,
            elements: cli
                .encoder
                .iter()
                .map(|part| pair("--encoder", part))
                .collect::<anyhow::Result<_>>()?,
        })
    }
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
        Cli::try_parse_from([&["virtio-v4l2d", "--fd", "3"], args].concat()).unwrap()
    }

    #[test]
    fn devices() {
        let spec = DeviceSpec::new(&cli(&["--device", "encoder,a=b,c=d=e"])).unwrap();
        let expected = [("a", "b"), ("c", "d=e")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(spec.settings, expected);
        for bad in ["decoder", "encoder,a", "encoder,=b", ""] {
            assert!(DeviceSpec::new(&cli(&["--device", bad])).is_err(), "{bad}");
        }
        let spec = DeviceSpec::new(&cli(&["--encoder", "h264=a,hevc=b"])).unwrap();
        let expected = [("h264", "a"), ("hevc", "b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(spec.elements, expected);
        assert!(DeviceSpec::new(&cli(&["--encoder", "h264"])).is_err());
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
