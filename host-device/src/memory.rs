// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory that guest and devices share.

mod arena;
mod budget;
mod buffer;
mod bytes;
mod plane;
mod region;
mod view;
mod views;
mod vm;

pub use arena::Arena;
pub use buffer::{HostBuffer, PAGE_SIZE, set_limit};
pub use plane::PlaneMemory;
pub use region::{MAX_MAPPINGS, Mapper, Region};
pub use view::{Access, View};
pub use views::Views;
pub use vm::{GuestMemory, Vm};
