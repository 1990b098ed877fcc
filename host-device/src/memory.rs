// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory that guest and devices share.

mod arena;
mod buffer;
mod region;

pub use arena::Arena;
pub use buffer::{HostBuffer, PAGE_SIZE, set_limit};
pub use region::{MAX_MAPPINGS, Mapper, Region};
