// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Memory that guest and devices share.

mod arena;
mod budget;
mod buffer;
mod bytes;
mod cache;
mod costs;
mod fence;
mod import;
mod import_cache;
mod ledger;
mod mapping;
mod name;
mod object;
mod plane;
mod region;
mod scatter;
#[cfg(test)]
pub(crate) mod testing;
mod truncated;
mod udmabuf;
mod view;
mod vm;

pub use arena::Arena;
pub use buffer::HostBuffer;
pub(crate) use bytes::MappedDmabuf;
pub use fence::{Fence, Readiness};
pub use import::Import;
pub use import_cache::ImportCache;
pub use ledger::{Account, Ledger, MemoryCharge};
pub use mapping::{Access, PAGE_SIZE};
pub use object::Lookup;
pub use plane::PlaneMemory;
pub use region::{MAX_MAPPINGS, Mapper, Region};
pub use udmabuf::probe as probe_udmabuf;
pub use view::{ImportAs, View};
pub use vm::{GuestMemory, Vm};
