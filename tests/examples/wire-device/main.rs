// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! A device that is not ours: the `simple_device` of the crate `virtio-media`, behind a small
//! vhost-user front.
//!
//! `wire-device --socket-path PATH`. With LIES=SEED in the environment it lies, from the first
//! reset by the guest on: in any byte of its answers and events. SEED decides how.

mod backend;
mod lies;
mod simple;

fn main() {
    let path = std::env::args()
        .skip_while(|arg| arg != "--socket-path")
        .nth(1)
        .expect("usage: wire-device --socket-path PATH");
    let seed = std::env::var("LIES").ok().map(|seed| {
        seed.parse()
            .expect("LIES is a number, from which all lies follow")
    });
    eprintln!("lies: {seed:?}");
    backend::serve(path.as_ref(), move |vmm| {
        lies::Liar::new(simple::Simple::new(vmm), seed)
    });
}
