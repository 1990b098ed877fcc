// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `virtio-v4l2d`, with the devices that there are.

use std::process::ExitCode;

use virtio_v4l2d::{device, startup};

fn main() -> ExitCode {
    startup::main(device::open)
}
