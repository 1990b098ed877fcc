// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Virtual machines with our device and driver, for the tests that run in them.
//!
//! A [`TestVm`] is a stock Debian guest under QEMU with one daemon beside it. The test stays on the
//! host: it runs commands in the guest, unplugs the device, stops the daemon, and compares. What it
//! finds goes to [`Results`], one line for each check.
//!
//! ```text
//! test ── Guest ──── virtio-serial ─── guest-agent ── bash -c COMMAND
//!      ── Monitor ── QMP ───────────── QEMU
//!      ── Daemon ─── signals, log ──── virtio-v4l2d ── vhost-user ── QEMU
//! ```
//!
//! [`parts`] finds the kernel, the guest's root file system and QEMU, which `tests/vm/prepare`
//! makes. [`job`] is `make vm-run`: one script in such a guest.

pub mod accel;
pub mod agent;
pub mod cache;
pub mod cargo_tests;
pub mod comparison;
pub mod compliance;
pub mod counters;
pub mod daemon;
pub mod devices;
pub mod fixtures;
pub mod gst_launch;
pub mod guest;
pub mod job;
pub mod kernel_log;
pub mod libtest;
pub mod machine;
pub mod monitor;
pub mod nested;
pub mod nodes;
pub mod parts;
pub mod process;
pub mod programs;
pub mod results;
pub mod rundir;
pub mod splats;
pub mod streams;
pub mod suite;
pub mod vm;
pub mod watch;

pub use guest::{Guest, Output, Process};
pub use machine::{Devices, Role, Spec};
pub use monitor::Monitor;
pub use results::Results;
pub use suite::{Suite, suite};
pub use vm::TestVm;
