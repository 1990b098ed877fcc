// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The rules where the guest driver has them, and their tests, which may see what `driver` may.

mod order;
mod rules;
mod support;

#[allow(dead_code, unused_imports)]
#[path = "../../../guest-driver/driver/queue/mod.rs"]
mod queue;
