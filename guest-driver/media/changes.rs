// SPDX-License-Identifier: GPL-2.0

//! Notices that memory of a process has been unmapped or replaced.
//!
//! C header: `include/linux/mmu_notifier.h`

use crate::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::types::Opaque;

/// Watches a range of a process's addresses. Dropping it may sleep.
///
/// # Invariants
///
/// The notifier in `node` has been inserted.
pub(super) struct Changes {
    node: Pin<KBox<Node>>,
}

/// What the memory management refers to.
#[pin_data]
struct Node {
    #[pin]
    notifier: Opaque<bindings::mmu_interval_notifier>,
    seen: Atomic<u32>,
}

// SAFETY: The notifier may be removed by any thread, and `seen` is an atomic.
unsafe impl Send for Changes {}
// SAFETY: As above; there is nothing else to be changed.
unsafe impl Sync for Changes {}

impl Changes {
    /// Watches `len` bytes from `addr` on of the calling process.
    ///
    /// # Errors
    ///
    /// `EFAULT`: it is no process, or that is no range; `ENOMEM`.
    pub(super) fn watch(addr: usize, len: usize) -> Result<Self> {
        let node = KBox::pin_init(
            pin_init!(Node {
                notifier: Opaque::zeroed(),
                seen: Atomic::new(0),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // SAFETY: The node stays where it is until `drop` has removed the notifier.
        to_result(unsafe {
            bindings::v4l2_helper_watch(node.notifier.get(), addr, len, &Node::OPERATIONS)
        })?;
        // INVARIANT: It was inserted just now.
        Ok(Self { node })
    }

    /// Whether anything has changed: the memory has been unmapped, replaced or copied on write, or
    /// may be so soon.
    pub(super) fn seen(&self) -> bool {
        self.node.seen.load(Relaxed) != 0
    }
}

impl Changes {
    /// Whether it is the calling process whose addresses are watched.
    pub(super) fn is_of_caller(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::v4l2_helper_watches_caller(self.node.notifier.get()) }
    }
}

impl Node {
    const OPERATIONS: bindings::mmu_interval_notifier_ops = bindings::mmu_interval_notifier_ops {
        invalidate: Some(Self::invalidate),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// As called by the memory management, for the notifier in a `Node`.
    unsafe extern "C" fn invalidate(
        notifier: *mut bindings::mmu_interval_notifier,
        _range: *const bindings::mmu_notifier_range,
        _sequence: usize,
    ) -> bool {
        let notifier = notifier.cast::<Opaque<bindings::mmu_interval_notifier>>();
        // SAFETY: `Changes::drop` waits for this before the node goes.
        let node = unsafe { &*kernel::container_of!(notifier, Self, notifier) };
        node.seen.store(1, Relaxed);
        true
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. It is called where sleeping is fine.
        unsafe { bindings::mmu_interval_notifier_remove(self.node.notifier.get()) };
    }
}
