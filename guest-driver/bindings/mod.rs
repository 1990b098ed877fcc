// SPDX-License-Identifier: GPL-2.0

//! Bindings for what the `kernel` crate does not cover yet: virtio and V4L2.
//!
//! Generated from `bindings.h` when the module is built. Types that the crate has are the crate's
//! own.

#![allow(
    clippy::all,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks
)]

pub(crate) use kernel::bindings::*;
use kernel::ffi;
use pin_init::MaybeZeroable;

type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

// The wire carries these structures as a 64-bit machine has them.
const _: () = {
    assert!(size_of::<v4l2_buffer>() == 88);
    assert!(size_of::<v4l2_plane>() == 64);
    assert!(size_of::<v4l2_format>() == 208);
    assert!(size_of::<v4l2_create_buffers>() == 256);
    assert!(size_of::<v4l2_ext_controls>() == 32);
    assert!(size_of::<v4l2_ext_control>() == 20);
    assert!(size_of::<v4l2_query_ext_ctrl>() == 232);
    assert!(size_of::<v4l2_edid>() == 40);
    assert!(size_of::<v4l2_event>() == 136);
    assert!(size_of::<v4l2_event_subscription>() == 32);
};

include!(env!("VIRTIO_V4L2_BINDINGS"));
