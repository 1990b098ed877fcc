// SPDX-License-Identifier: GPL-2.0

//! The module's parameters.

/// Whether devices with virtio ID 30 are taken.
pub(super) fn allow_id30() -> bool {
    let allow: u8 = value(crate::module_parameters::allow_id30.value());
    allow != 0
}

/// How long a command may take, in milliseconds; 0 is for ever.
pub(super) fn timeout_ms() -> u32 {
    value(crate::module_parameters::timeout_ms.value())
}

/// The value of a module parameter, which 7.2 gives by reference and 7.3 by value.
fn value<T: Copy>(value: impl core::borrow::Borrow<T>) -> T {
    *value.borrow()
}
