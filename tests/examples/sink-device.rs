// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The daemon, with encoders that encode nothing: for counting what a frame costs besides. It takes
//! the daemon's command line.

use std::process::ExitCode;

#[path = "../tests/common/sink.rs"]
mod sink;

fn main() -> ExitCode {
    virtio_v4l2d::startup::main(sink::open)
}
