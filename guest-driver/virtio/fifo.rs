// SPDX-License-Identifier: GPL-2.0

//! Requests that wait their turn.

use super::request::{Links, Request};
use core::ptr;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

/// Requests in order. Everything takes the same time however many there are.
///
/// Not `kernel::list::List`, whose items are counted references: a request has one owner, who may
/// change it.
///
/// # Invariants
///
/// - `first` and `last` are both null, or the first and the last request of a chain by `links` that
///   ends with null on both sides.
/// - Each request of the chain comes from `KBox::into_raw`, and is owned by the list.
pub(crate) struct Fifo<C> {
    first: *mut Request<C>,
    last: *mut Request<C>,
}

// SAFETY: The list owns its requests.
unsafe impl<C: Send> Send for Fifo<C> {}
// SAFETY: `&self` gives access to no request.
unsafe impl<C: Send> Sync for Fifo<C> {}

impl<C> Fifo<C> {
    pub(crate) const fn new() -> Self {
        // INVARIANT: An empty chain.
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    pub(crate) fn push_back(&mut self, request: KBox<Request<C>>) {
        let last = self.last;
        self.insert(last, ptr::null_mut(), request);
    }

    pub(crate) fn push_front(&mut self, request: KBox<Request<C>>) {
        let first = self.first;
        self.insert(ptr::null_mut(), first, request);
    }

    pub(crate) fn pop_front(&mut self) -> Option<KBox<Request<C>>> {
        if self.first.is_null() {
            return None;
        }
        // SAFETY: It is the first of the chain.
        Some(unsafe { self.unlink(self.first) })
    }

    /// Puts `request` between two neighbours of the chain, or at one of its ends, where there is
    /// none.
    fn insert(
        &mut self,
        previous: *mut Request<C>,
        next: *mut Request<C>,
        mut request: KBox<Request<C>>,
    ) {
        request.links = Links { previous, next };
        let request = KBox::into_raw(request);
        // SAFETY: By the type invariant both neighbours are null or valid. INVARIANT: The request
        // is linked on both sides.
        unsafe {
            match previous.is_null() {
                true => self.first = request,
                false => (*previous).links.next = request,
            }
            match next.is_null() {
                true => self.last = request,
                false => (*next).links.previous = request,
            }
        }
    }

    /// Takes `request` out.
    ///
    /// # Safety
    ///
    /// It is in this list.
    pub(super) unsafe fn unlink(&mut self, request: *mut Request<C>) -> KBox<Request<C>> {
        // SAFETY: By the safety requirements it is the list's, and comes from `into_raw`.
        // INVARIANT: It leaves the chain before anybody else sees it.
        let mut request = unsafe { KBox::from_raw(request) };
        let Links { previous, next } = core::mem::replace(&mut request.links, Links::new());
        // SAFETY: By the type invariant both neighbours are null or valid. INVARIANT: They are
        // linked to each other now.
        unsafe {
            match previous.is_null() {
                true => self.first = next,
                false => (*previous).links.next = next,
            }
            match next.is_null() {
                true => self.last = previous,
                false => (*next).links.previous = previous,
            }
        }
        request
    }
}

impl<C> Drop for Fifo<C> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

/// What a request carries besides its bytes.
pub(crate) trait Context: Send {
    /// Where it is noted that the request waits, if its owner may take it back: see
    /// [`Virtqueue::withdraw`](super::Virtqueue::withdraw).
    fn place(&self) -> Option<&Place> {
        None
    }
}

impl Context for () {}

/// Whether a request waits for free descriptors of a virtqueue, and of which.
///
/// # Invariants
///
/// While `queue` is the address of a queue, only who holds that queue's lock writes here, and while
/// nobody holds it `request` is the address of a request that waits there. Otherwise `queue` is 0.
pub(crate) struct Place {
    queue: Atomic<usize>,
    request: Atomic<usize>,
}

impl Place {
    /// It does not wait.
    pub(crate) const fn new() -> Self {
        Self {
            queue: Atomic::new(0),
            request: Atomic::new(0),
        }
    }

    /// `request` waits in `queue`, whose lock is held. If another with this place waits already,
    /// only that one is found.
    pub(super) fn enter<C>(&self, queue: usize, request: *mut Request<C>) {
        // INVARIANT: Nobody else writes from here on, and the caller lets go of the lock later.
        if self.queue.cmpxchg(0, queue, Relaxed).is_ok() {
            self.request.store(request.expose_provenance(), Relaxed);
        }
    }

    /// `request` has left `queue`, whose lock is held.
    pub(super) fn leave<C>(&self, queue: usize, request: *const Request<C>) {
        if self.find(queue) == Some(request.addr()) {
            self.queue.store(0, Relaxed);
        }
    }

    /// The address of the request that waits in `queue`, whose lock is held.
    pub(super) fn find(&self, queue: usize) -> Option<usize> {
        (self.queue.load(Relaxed) == queue).then(|| self.request.load(Relaxed))
    }
}
