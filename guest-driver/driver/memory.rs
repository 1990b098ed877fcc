// SPDX-License-Identifier: GPL-2.0

//! Memory that guest and device share: planes that are imported for the device, and mappings of the
//! device's own.

mod device;
mod fence;
mod import;
mod mapping;
mod mappings;
mod plane;

pub(super) use device::DeviceMemory;
pub(super) use fence::FenceState;
pub(super) use import::{Import, ImportTable, Outcome};
pub(super) use mapping::{establish, Mapping};
