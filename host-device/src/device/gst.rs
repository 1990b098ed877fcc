// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What devices on GStreamer share.

pub(crate) mod bus;
pub(crate) mod caps;
mod dmabuf;
pub(crate) mod element;
pub mod formats;
pub(crate) mod frame;
pub mod memory;
mod release;
