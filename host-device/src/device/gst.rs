// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What devices on GStreamer share.

pub mod formats;
