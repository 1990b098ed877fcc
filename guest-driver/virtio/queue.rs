// SPDX-License-Identifier: GPL-2.0

//! Virtqueues that own what is in flight.

use super::request::{Completed, Fifo, Request};
use super::sync::{new_irq_lock, IrqLock};
use crate::bindings;
use core::ptr::{self, NonNull};
use kernel::prelude::*;
use kernel::sync::rcu;

/// A virtqueue whose requests have a context of type `C`.
///
/// A request belongs to the queue from [`submit`](Self::submit) until the device has returned it and
/// [`drain`](Self::drain) hands it out. When the device goes away the queue drops what the device still had; a
/// context whose owner waits must therefore wake it when it is dropped.
///
/// A queue that is full keeps further requests in line and passes them on as room appears.
///
/// All methods may be called in interrupts, except [`detach`](Attach::detach). The queue's lock is a leaf, except
/// that [`recycle`](Self::recycle) calls its closure under it.
#[pin_data]
pub(crate) struct Virtqueue<C> {
    #[pin]
    inner: IrqLock<Inner<C>>,
}

struct Inner<C> {
    ring: Option<Ring>,
    waiting: Fifo<C>,
    /// How many the device has.
    in_flight: usize,
}

/// The C side of a queue.
///
/// # Invariants
///
/// The pointer is valid, and its buffers' tokens come from `KBox<Request<C>>::into_raw` with the `C` of the
/// [`Virtqueue`] that has this ring, for as long as that one has it; after that, for an RCU grace period.
#[derive(Clone, Copy)]
struct Ring(NonNull<bindings::virtqueue>);

// SAFETY: A virtqueue may be used from any thread; users serialise, which the lock in `Virtqueue` does.
unsafe impl Send for Ring {}

impl Ring {
    fn as_ptr(self) -> *mut bindings::virtqueue {
        self.0.as_ptr()
    }

    /// How many descriptors it has.
    fn size(self) -> usize {
        // SAFETY: By the type invariant the pointer is valid; the size does not change.
        unsafe { bindings::virtqueue_get_vring_size(self.as_ptr()) as usize }
    }

    /// Whether the device has put nonsense into the ring, or is gone.
    fn is_broken(self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::virtqueue_is_broken(self.as_ptr()) }
    }

    /// Asks the device not to notify. The caller holds the queue's lock.
    fn disable_notification(self) {
        // SAFETY: By the type invariant the pointer is valid; the lock serialises.
        unsafe { bindings::virtqueue_disable_cb(self.as_ptr()) };
    }

    /// Asks the device to notify. Fails if it has returned something already, which must be taken first. The
    /// caller holds the queue's lock.
    fn enable_notification(self) -> bool {
        // SAFETY: By the type invariant the pointer is valid; the lock serialises.
        unsafe { bindings::virtqueue_enable_cb(self.as_ptr()) || self.is_broken() }
    }

    /// Whether the device must be told about new buffers. The caller holds the queue's lock.
    fn kick_prepare(self) -> bool {
        // SAFETY: By the type invariant the pointer is valid; the lock serialises.
        unsafe { bindings::virtqueue_kick_prepare(self.as_ptr()) }
    }

    /// Tells the device. Wants no lock, only that the queue is alive, for which the RCU guard stands.
    fn notify(self, _guard: &rcu::Guard) {
        // SAFETY: `detach` waits for a grace period after it took the ring away and before the queue is
        // deleted, and the caller saw the ring within its read-side critical section.
        unsafe { bindings::virtqueue_notify(self.as_ptr()) };
    }
}

impl<C> Inner<C> {
    /// Gives `request` to the device. Fails with the request when there is no room, or no device.
    fn add(&mut self, mut request: KBox<Request<C>>) -> Result<(), (KBox<Request<C>>, Error)> {
        let Some(ring) = self.ring else {
            return Err((request, ENODEV));
        };
        let [(readable, readable_len), (writable, writable_len)] = request.lists();
        if readable_len + writable_len > ring.size() {
            // A chain may not be longer than the queue, with indirect descriptors neither.
            return Err((request, E2BIG));
        }
        let mut lists = [ptr::null_mut(); 2];
        let mut filled = 0;
        for (list, len) in [(readable, readable_len), (writable, writable_len)] {
            if len > 0 {
                lists[filled] = list;
                filled += 1;
            }
        }
        let token = KBox::into_raw(request);
        // SAFETY: The lists are terminated scatterlists over memory that the request owns, and the request is
        // not touched until the queue returns its token. The lock serialises. INVARIANT: The token comes from
        // `into_raw`.
        let ret = unsafe {
            bindings::virtqueue_add_sgs(
                ring.as_ptr(),
                lists.as_mut_ptr(),
                u32::from(readable_len > 0),
                u32::from(writable_len > 0),
                token.cast(),
                bindings::GFP_ATOMIC,
            )
        };
        if ret < 0 {
            // SAFETY: The queue did not take the token, so the box is ours again.
            let request = unsafe { KBox::from_raw(token) };
            return Err((request, Error::from_errno(ret)));
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Passes requests from the line to the device while there is room. Returns whether any went.
    fn refill(&mut self) -> bool {
        let mut any = false;
        while let Some(request) = self.waiting.pop_front() {
            if let Err((request, _)) = self.add(request) {
                self.waiting.push_front(request);
                break;
            }
            any = true;
        }
        any
    }

    /// A request that the device is done with.
    fn take(&mut self) -> Option<Completed<C>> {
        let ring = self.ring?;
        let mut written = 0;
        // SAFETY: By the type invariant the pointer is valid; the lock serialises. The ring keeps its tokens
        // in memory that the device cannot write, and refuses an id that is not in flight.
        let token = unsafe { bindings::virtqueue_get_buf(ring.as_ptr(), &mut written) };
        if token.is_null() {
            return None;
        }
        self.in_flight -= 1;
        // SAFETY: By the type invariant of `Ring`.
        let request = unsafe { KBox::from_raw(token.cast::<Request<C>>()) };
        Some(Completed::new(request, written as usize))
    }
}

impl<C: Send> Virtqueue<C> {
    /// A queue without a device.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_irq_lock!(Inner { ring: None, waiting: Fifo::new(), in_flight: 0 }, "virtqueue"),
        })
    }

    /// Gives `request` to the device, at once or when there is room. Never sleeps.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the device is gone.
    /// - `EIO`: the device has broken the queue.
    /// - `E2BIG`: the request needs more descriptors than the queue has.
    pub(crate) fn submit(&self, request: KBox<Request<C>>) -> Result {
        let rcu = rcu::read_lock();
        let mut inner = self.inner.lock();
        let mut added = inner.refill();
        let result = if inner.waiting.is_empty() {
            inner.add(request)
        } else {
            Err((request, ENOSPC))
        };
        match result {
            Ok(()) => added = true,
            // No room, or no memory to map it just now: it goes with a later one, or when one comes back.
            Err((request, error)) if error == ENOSPC || error == ENOMEM => {
                inner.waiting.push_back(request);
            }
            Err((request, error)) => {
                drop(inner);
                drop(request);
                return Err(error);
            }
        }
        let kick = inner.ring.filter(|ring| added && ring.kick_prepare());
        drop(inner);
        if let Some(ring) = kick {
            ring.notify(&rcu);
        }
        Ok(())
    }

    /// Takes back the first request in line that `wanted` picks. What the device has is not found.
    pub(crate) fn withdraw(&self, wanted: impl Fn(&C) -> bool) -> Option<KBox<Request<C>>> {
        self.inner.lock().waiting.remove(wanted)
    }

    /// Passes the requests that the device is done with to `each`, in order, which owns them from then on.
    ///
    /// Without the queue's lock: `each` may submit. When there are no more the device's notification is enabled.
    pub(crate) fn drain(&self, mut each: impl FnMut(Completed<C>)) {
        let rcu = rcu::read_lock();
        let mut inner = self.inner.lock();
        let mut added = false;
        loop {
            let Some(ring) = inner.ring else { return };
            ring.disable_notification();
            while let Some(completed) = inner.take() {
                added |= inner.refill();
                drop(inner);
                each(completed);
                inner = self.inner.lock();
            }
            if inner.ring.is_none_or(Ring::enable_notification) {
                break;
            }
        }
        let kick = inner.ring.filter(|ring| added && ring.kick_prepare());
        drop(inner);
        if let Some(ring) = kick {
            ring.notify(&rcu);
        }
    }

    /// Passes all that the device has written to `each`, in order, and gives the buffers back to the device.
    ///
    /// `each` runs under the queue's lock: when this returns, everything that the device had returned before
    /// the call has been passed on, by this call or by one on another CPU.
    pub(crate) fn recycle(&self, mut each: impl FnMut(Result<&[u8]>)) {
        let rcu = rcu::read_lock();
        let mut inner = self.inner.lock();
        let Some(ring) = inner.ring else { return };
        let mut any = false;
        loop {
            ring.disable_notification();
            while let Some(completed) = inner.take() {
                each(completed.reply());
                if let Err((request, _)) = inner.add(completed.into_request()) {
                    inner.waiting.push_back(request);
                }
                any = true;
            }
            if ring.enable_notification() {
                break;
            }
        }
        any |= inner.refill();
        let kick = any && ring.kick_prepare();
        drop(inner);
        if kick {
            ring.notify(&rcu);
        }
    }

    /// Whether the device has returned everything that was submitted.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.in_flight == 0 && inner.waiting.is_empty()
    }

    /// How many descriptors the queue has; 0 without a device.
    pub(crate) fn size(&self) -> usize {
        self.inner.lock().ring.map_or(0, Ring::size)
    }
}

/// A [`Virtqueue`] of any kind, as the bus sees it.
pub(crate) trait Attach: Sync {
    /// Starts to use `ring`.
    ///
    /// # Safety
    ///
    /// `ring` is a valid queue without buffers that nobody else uses, and stays valid until
    /// [`detach`](Self::detach) has returned.
    unsafe fn attach(&self, ring: NonNull<bindings::virtqueue>);

    /// Stops to use the ring, and drops what the device still had. May sleep.
    ///
    /// # Safety
    ///
    /// The device has been reset: it uses no memory and calls nobody any more.
    unsafe fn detach(&self);
}

impl<C: Send> Attach for Virtqueue<C> {
    unsafe fn attach(&self, ring: NonNull<bindings::virtqueue>) {
        // INVARIANT: By the safety requirements; there are no tokens yet.
        self.inner.lock().ring = Some(Ring(ring));
    }

    unsafe fn detach(&self) {
        let (ring, waiting) = {
            let mut inner = self.inner.lock();
            (
                inner.ring.take(),
                core::mem::replace(&mut inner.waiting, Fifo::new()),
            )
        };
        drop(waiting);
        let Some(ring) = ring else { return };
        // Somebody may still be about to notify.
        // SAFETY: May always be called where it is fine to sleep.
        unsafe { bindings::synchronize_rcu() };
        loop {
            // SAFETY: The device has been reset, and nobody else has the ring any more.
            let token = unsafe { bindings::virtqueue_detach_unused_buf(ring.as_ptr()) };
            if token.is_null() {
                break;
            }
            // SAFETY: By the type invariant of `Ring`.
            drop(unsafe { KBox::from_raw(token.cast::<Request<C>>()) });
        }
    }
}
