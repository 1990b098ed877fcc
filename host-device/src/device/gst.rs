// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What devices on GStreamer share.

mod dmabuf;
pub mod formats;
pub mod memory;
mod release;
