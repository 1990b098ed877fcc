// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Suites in a guest, each in a machine of its own: `cargo xtask test vm [NAME]`.

mod clients;
mod codecs;
mod compliance;
mod counts;
mod daemon_dies;
mod daemon_silent;
mod encoder;
mod hostile_device;
mod load;
mod many_devices;
mod memory;
mod memory_clients;
mod memory_compliance;
mod memory_ends;
mod next_vmm;
mod no_region;
mod other_device;
mod pause;
mod robust;
mod unplug;

/// What is checked on the debug kernel, too.
#[path = "../suites"]
mod suites {
    pub mod compliance;
    pub mod daemon_dies;
    pub mod daemon_silent;
    pub mod encoder;
    pub mod hostile_device;
    pub mod load;
    pub mod memory;
    pub mod memory_ends;
    pub mod other_device;
    pub mod pause;
    pub mod robust;
    pub mod unplug;
}
