// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A USB camera in user space, for machines without one: it speaks USB/IP with the kernel's
//! `vhci_hcd`, and the kernel's own `uvcvideo` drives it. It streams MJPEG from files and YUYV from
//! a pattern, over a bulk endpoint.
//!
//! `usb-camera attach DIR` plugs it in; it is unplugged when the program ends.
//! `usb-camera check DIR FORMAT SIZE FILE` tells whether a recording is what it sends, to the byte
//! and without a gap.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

mod check;
mod control;
mod descriptors;
mod device;
mod frames;
mod properties;
mod stream;
mod usbip;

use frames::Frames;

/// `vhci_hcd` in sysfs.
const HOST_CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// `USB_SPEED_HIGH`.
const HIGH_SPEED: u32 = 3;
/// Bus and number of the device on its own side, which is nowhere.
const DEVICE_ID: u32 = 1 << 16 | 1;

const USAGE: &str = "usage: usb-camera attach DIR | \
    usb-camera check DIR MJPG|YUYV WIDTHxHEIGHT FILE|-\n\
    DIR has the MJPEG frames: DIR/WIDTHxHEIGHT/*.jpg, shown in the order of their names";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["attach", dir] => attach(Path::new(dir)),
        ["check", dir, format, size, file] => check(Path::new(dir), format, size, file),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usb-camera: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Plugs the camera in, and is it until somebody detaches it.
fn attach(dir: &Path) -> Result<()> {
    let frames = Frames::read(dir)?;
    let (ours, theirs) = UnixStream::pair()?;
    let port = free_port()?;
    let line = format!("{port} {} {DEVICE_ID} {HIGH_SPEED}", theirs.as_raw_fd());
    fs::write(format!("{HOST_CONTROLLER}/attach"), line)
        .map_err(|e| format!("attaching to port {port} of {HOST_CONTROLLER}: {e}"))?;
    // The kernel has a reference of its own. With ours the end of the connection would not be seen.
    drop(theirs);
    println!("port {port}");
    device::serve(ours, frames)?;
    Ok(())
}

/// The first free high-speed port, by the table in sysfs: `hub port state ...`, where state 4 is a
/// free one.
fn free_port() -> Result<u32> {
    let status = fs::read_to_string(format!("{HOST_CONTROLLER}/status")).map_err(|e| {
        format!("no USB/IP host controller ({HOST_CONTROLLER}: {e}); run: modprobe vhci_hcd")
    })?;
    status
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (hub, port, state) = (fields.next()?, fields.next()?, fields.next()?);
            (hub == "hs" && state == "004").then(|| port.parse().ok())?
        })
        .next()
        .ok_or_else(|| "no free port on the USB/IP host controller".into())
}

/// Compares a recording with what the camera sends.
fn check(dir: &Path, format: &str, size: &str, file: &str) -> Result<()> {
    let size = frames::SIZES
        .iter()
        .position(|known| known.to_string() == size)
        .ok_or_else(|| format!("the camera has no size {size}"))?;
    let mut recording: Box<dyn Read> = match file {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(fs::File::open(path).map_err(|e| format!("{path}: {e}"))?),
    };
    let count = match format {
        "YUYV" => check::yuyv_recording(&mut recording, size)?,
        "MJPG" => check::mjpeg(&mut recording, &Frames::read(dir)?, size)?,
        _ => return Err(format!("the camera has no format {format}").into()),
    };
    println!("{count} frames");
    Ok(())
}
