// SPDX-License-Identifier: GPL-2.0

//! Dropping what may not be dropped in an interrupt.

use super::fifo::Fifo;
use super::request::Request;
use super::sync::{new_irq_lock, IrqLock};
use crate::bindings;
use kernel::impl_has_work;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::workqueue::{self, Work, WorkItem};

/// Takes requests in any context, and drops them where it is fine to sleep.
#[pin_data]
pub(crate) struct Later<C: Send + 'static> {
    #[pin]
    work: Work<Self>,
    #[pin]
    requests: IrqLock<Fifo<C>>,
}

impl_has_work! {
    impl{C: Send + 'static} HasWork<Self> for Later<C> { self.work }
}

impl<C: Send + 'static> WorkItem for Later<C> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let requests = core::mem::replace(&mut *this.requests.lock(), Fifo::new());
        drop(requests);
    }
}

impl<C: Send + 'static> Later<C> {
    /// With nothing to do.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- kernel::new_work!("virtio_later"),
                requests <- new_irq_lock!(Fifo::new(), "virtio_later"),
            }),
            GFP_KERNEL,
        )
    }

    /// Drops `request` soon. May be called in interrupts.
    pub(crate) fn discard(this: &Arc<Self>, request: KBox<Request<C>>) {
        this.requests.lock().push_back(request);
        // If it is to run already, it finds this one too.
        let _ = workqueue::system_long().enqueue(this.clone());
    }

    /// Waits until all that was discarded is dropped. May sleep.
    pub(crate) fn flush(&self) {
        // SAFETY: `work` is an initialised work item, and lives as long as `self`.
        unsafe { bindings::flush_work(Work::raw_get(&raw const self.work)) };
    }
}
