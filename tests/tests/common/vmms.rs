// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The daemon behind each of the VMMs that are known.

use std::sync::Arc;

use frontend::{Options, Vmm};
use virtio_v4l2d::config::Limits;
use virtio_v4l2d::device::Device;

use super::Pair;

/// All VMMs as they are, and QEMU 11.2, whose queues are shorter.
pub fn all() -> Vec<Options> {
    let mut all: Vec<Options> = Vmm::ALL.map(Options::of).into();
    all.push(Options {
        queue_size: 128,
        ..Options::of(Vmm::Qemu)
    });
    all
}

/// `device` behind a VMM; the test's output says which.
pub fn pair(device: Arc<dyn Device>, options: &Options) -> Pair {
    println!("{:?}, queues of {}", options.vmm, options.queue_size);
    Pair::limited(device, options, limits(options.vmm))
}

/// What the daemon is to be told for a VMM.
fn limits(vmm: Vmm) -> Limits {
    let default = Limits::default();
    Limits {
        // Without a region it offers memory slots, which this one wants.
        shm_size: if vmm == Vmm::Alioth {
            0
        } else {
            default.shm_size
        },
        ..default
    }
}
