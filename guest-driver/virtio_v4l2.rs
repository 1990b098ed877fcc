// SPDX-License-Identifier: GPL-2.0

//! Driver of virtio Media Devices (VIRTIO 1.4, "Media Device"): V4L2 devices of the host as
//! `/dev/video*`.

mod bindings;
mod driver;
mod media;
mod virtio;
#[path = "../protocol/src/wire/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::missing_safety_doc)]
mod wire;

module_virtio_driver! {
    type: driver::VirtioV4l2,
    name: "virtio_v4l2",
    authors: ["The virtio-v4l2 developers"],
    description: "V4L2 over virtio: the Media Device of VIRTIO 1.4",
    license: "GPL v2",
    params: {
        allow_id30: u8 {
            default: 0,
            description: "Take virtio ID 30 too, for VMMs that cannot name ID 48 (0 or 1)",
        },
        timeout_ms: u32 {
            default: 5000,
            description: "How long the device may leave a command unanswered, in ms (0: for ever)",
        },
    },
}
