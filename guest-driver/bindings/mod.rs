// SPDX-License-Identifier: GPL-2.0

//! Bindings for what the `kernel` crate does not cover yet: virtio and V4L2.
//!
//! Generated from `bindings.h` when the module is built. Types that the crate has are the crate's own.

#![allow(
    clippy::all,
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

include!(env!("VIRTIO_V4L2_BINDINGS"));
