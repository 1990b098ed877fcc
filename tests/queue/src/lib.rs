// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Tests of the guest driver's rules for buffers (`guest-driver/driver/queue`), which are compiled
//! here with a stand-in for the `kernel` crate.

#![cfg(test)]

// The files say `kernel::...`, which is this crate with the modules of `shim`.
extern crate self as kernel;

mod driver;
mod shim;

use protocol::wire;
use shim::{page, prelude, sync};
