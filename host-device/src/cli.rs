// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Arguments of the command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{ArgGroup, Parser};

const EXAMPLE: &str = "SIGUSR1 has it log counts and latencies of the VMs that it serves.

Examples, for QEMU with -chardev socket,id=video,path=/run/video.sock:
  virtio-v4l2d --socket-path /run/video.sock --encoder h264=vah264enc
  virtio-v4l2d --socket-path /run/video.sock --device proxy,path=/dev/video0
  virtio-v4l2d --device encoder,socket=/run/enc.sock \\
    --device proxy,path=/dev/video0,socket=/run/cam.sock";

/// Serves video encoders and the host's V4L2 devices to virtual machines as VIRTIO Media Devices
/// (virtio-v4l2), over vhost-user.
#[derive(Clone, Debug, Parser)]
#[command(version, about, after_help = EXAMPLE)]
#[command(group(ArgGroup::new("where").args(["socket_path", "fd", "print_capabilities"])))]
pub struct Cli {
    /// Listen on this Unix socket; it is created, and removed at the end.
    #[arg(long, value_name = "PATH")]
    pub socket_path: Option<PathBuf>,

    /// Listen on the socket that is open as this file descriptor.
    #[arg(long, value_name = "N")]
    pub fd: Option<RawFd>,

    /// Print the capabilities of this vhost-user backend as JSON, and exit.
    #[arg(long)]
    pub print_capabilities: bool,

    /// A device to serve, with its settings: NAME[,KEY=VALUE...]; encoder, if there is none.
    /// `encoder` has preset, threads, rank, card, sessions, formats. `proxy` is a V4L2 device of
    /// the host: path, card, sessions; ioctls and controls, which say what guests may do. Give it
    /// several times for several devices, each with socket=PATH or fd=N in the place of
    /// --socket-path and --fd.
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,

    /// GStreamer element to encode with, for each codec: h264, hevc, vp8, vp9. For all encoders.
    #[arg(long, value_name = "CODEC=ELEMENT", value_delimiter = ',')]
    pub encoder: Vec<String>,

    /// What to log, as in RUST_LOG: a level, or TARGET=LEVEL[,...].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// Size of the shared memory region in which guests see buffers: a power of two, like 4G. With
    /// 0 there is none: buffers are then the guest's own pages.
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = size)]
    pub shm_size: u64,

    /// Most memory that the VM may make the host spend, through all devices together: on buffers,
    /// views of its memory, and encoders.
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = size)]
    pub max_memory: u64,

    /// Most sessions (open files of guests) at one time.
    #[arg(
        long, value_name = "N", default_value_t = 256,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_sessions: u16,
}

/// A size in bytes, with K, M, G or T.
fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (text.get(..at), 10),
        Some((at, 'M' | 'm')) => (text.get(..at), 20),
        Some((at, 'G' | 'g')) => (text.get(..at), 30),
        Some((at, 'T' | 't')) => (text.get(..at), 40),
        _ => (Some(text), 0),
    };
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "want a number of bytes, or one with K, M, G or T, like 512M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("2k"), Ok(2048));
        assert_eq!(size("4G"), Ok(4 << 30));
        for bad in ["", "G", "-1", "1.5G", "99999999999T", "4GB", "4\u{20ac}"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_place_to_listen() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["virtio-v4l2d"], args].concat());
        assert!(parse(&["--fd", "3", "--socket-path", "/x"]).is_err());
        let cli = parse(&["--fd", "3", "--encoder", "h264=a,hevc=b"]).unwrap();
        assert_eq!(cli.encoder, ["h264=a", "hevc=b"]);
        assert!(parse(&["--print-capabilities"]).unwrap().print_capabilities);
    }
}
