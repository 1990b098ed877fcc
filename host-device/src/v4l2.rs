// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2: the [framework](mod@core) of our own devices, and the [nodes](node) that the host has.

pub mod core;
pub mod node;
