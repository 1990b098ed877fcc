// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! V4L2 on the host: the [nodes](node) that the host has.

pub mod node;
