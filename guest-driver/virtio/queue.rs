// SPDX-License-Identifier: GPL-2.0

//! Virtqueues that own what is in flight.

use super::fifo::{Context, Fifo, Place};
use super::request::{Completed, Request};
use super::sync::IrqLock;
use crate::bindings;
use core::ptr::{self, NonNull};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{rcu, LockClassKey};

/// A virtqueue whose requests have a context of type `C`.
///
/// A request belongs to the queue from [`submit`](Self::submit) until the device has returned it
/// and [`drain`](Self::drain) hands it out. When the device goes away the queue drops what the
/// device still had; a context whose owner waits must therefore wake it when it is dropped.
///
/// While a queue is full further requests wait, and are passed on as descriptors become free.
///
/// The device notifies only while somebody [awaits](Request::set_awaited) a request or there is a
/// line; what else it has returned is found by whoever drains the queue next.
/// ([`recycle`](Self::recycle) always wants to be notified.)
///
/// All methods may be called in interrupts, except [`detach`](Attach::detach). The queue's lock is
/// a leaf, except that [`recycle`](Self::recycle) calls its closure under it.
#[pin_data]
pub(crate) struct Virtqueue<C: Context> {
    #[pin]
    inner: IrqLock<Inner<C>>,
    /// How often the device was notified of new requests, or did not want to be: the kick batch.
    batches: Atomic<u64>,
    /// How often it was really notified.
    kicks: Atomic<u64>,
}

/// Creates a [`Virtqueue`] initialiser. The queue's lock has this name and a class of its own:
/// queues of one device have other places in the order of locks. (A class that was made in
/// [`Virtqueue::new`] would be that of all queues, whatever their type.)
macro_rules! new_virtqueue {
    ($name:literal) => {
        $crate::virtio::Virtqueue::new(kernel::c_str!($name), kernel::static_lock_class!())
    };
}
pub(crate) use new_virtqueue;

struct Inner<C: Context> {
    ring: Option<Ring>,
    waiting: Fifo<C>,
    /// How many the device has.
    in_flight: usize,
    /// How many of those, and of the waiting ones, somebody awaits.
    awaited: usize,
    /// There are requests in the ring of which the device has not been notified.
    unnotified: bool,
}

/// When the device is to be notified of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notify {
    /// At once.
    Now,
    /// With a later request, or by [`Virtqueue::kick`].
    Later,
}

/// What came of a [`Virtqueue::submit`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submitted {
    /// The kick batch in which the device had not been notified of the request.
    pub(crate) batch: u64,
    /// The device has returned something without a notification, so the queue must be drained now.
    pub(crate) drain: bool,
}

/// The C side of a queue.
///
/// # Invariants
///
/// The pointer is valid, and its buffers' tokens come from `KBox<Request<C>>::into_raw` with the
/// `C` of the [`Virtqueue`] that has this ring, for as long as that one has it; after that, for an
/// RCU grace period.
#[derive(Clone, Copy)]
struct Ring(NonNull<bindings::virtqueue>);

// SAFETY: A virtqueue may be used from any thread; users serialise, which the lock in `Virtqueue`
// does.
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

    /// Asks the device to notify. Fails if it has returned something already, which must be taken
    /// first. The caller holds the queue's lock.
    fn enable_notification(self) -> bool {
        // SAFETY: By the type invariant the pointer is valid; the lock serialises.
        unsafe { bindings::virtqueue_enable_cb(self.as_ptr()) || self.is_broken() }
    }

    /// Whether the device must be notified of new buffers. The caller holds the queue's lock.
    fn kick_prepare(self) -> bool {
        // SAFETY: By the type invariant the pointer is valid; the lock serialises.
        unsafe { bindings::virtqueue_kick_prepare(self.as_ptr()) }
    }

    /// Tells the device. Wants no lock, only that the queue is alive, for which the RCU guard
    /// stands.
    fn notify(self, _guard: &rcu::Guard) {
        // SAFETY: `detach` waits for a grace period after it took the ring away and before the
        // queue is deleted, and the caller saw the ring within its read-side critical section.
        unsafe { bindings::virtqueue_notify(self.as_ptr()) };
    }
}

/// A request that was not taken, and why.
pub(crate) type Refused<C> = (KBox<Request<C>>, Error);

/// Whether submitting may succeed later: no free descriptor, or no memory to map a request now.
fn is_passing(error: Error) -> bool {
    error == ENOSPC || error == ENOMEM
}

impl<C: Context> Inner<C> {
    /// What a [`Place`] knows this queue by.
    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Lets `request` wait for free descriptors, behind all others or, if `first`, before them.
    fn wait(&mut self, mut request: KBox<Request<C>>, first: bool) {
        let at = &raw mut *request;
        if let Some(place) = request.context().place() {
            place.enter(self.address(), at);
        }
        if first {
            self.waiting.push_front(request);
        } else {
            self.waiting.push_back(request);
        }
    }

    /// The request that has waited longest.
    fn next_waiting(&mut self) -> Option<KBox<Request<C>>> {
        let request = self.waiting.pop_front()?;
        if let Some(place) = request.context().place() {
            place.leave(self.address(), &raw const *request);
        }
        Some(request)
    }

    /// All that wait.
    fn take_waiting(&mut self) -> Fifo<C> {
        let mut waiting = Fifo::new();
        while let Some(request) = self.next_waiting() {
            waiting.push_back(request);
        }
        waiting
    }

    /// The request with that `place`, if it waits here.
    fn withdraw(&mut self, place: &Place) -> Option<KBox<Request<C>>> {
        let request = place.find(self.address())?;
        let request = ptr::with_exposed_provenance_mut::<Request<C>>(request);
        // SAFETY: By the type invariant of `Place` it waits in this queue, whose lock is held.
        let request = unsafe { self.waiting.unlink(request) };
        place.leave(self.address(), &raw const *request);
        self.forget(&request);
        Some(request)
    }

    /// Passes on a request that can ever be in the ring: a chain may not be longer than the queue,
    /// with indirect descriptors neither.
    fn check(&self, mut request: KBox<Request<C>>) -> Result<KBox<Request<C>>, Refused<C>> {
        let [(_, readable), (_, writable)] = request.lists();
        if self
            .ring
            .is_some_and(|ring| readable + writable > ring.size())
        {
            return Err((request, E2BIG));
        }
        Ok(request)
    }

    /// Gives `request` to the device. Fails with the request without free descriptors, or without
    /// a device.
    fn add(&mut self, request: KBox<Request<C>>) -> Result<(), Refused<C>> {
        let Some(ring) = self.ring else {
            return Err((request, ENODEV));
        };
        let mut request = self.check(request)?;
        let [(readable, readable_len), (writable, writable_len)] = request.lists();
        let mut lists = [ptr::null_mut(); 2];
        let mut filled = 0;
        for (list, len) in [(readable, readable_len), (writable, writable_len)] {
            if len > 0 {
                lists[filled] = list;
                filled += 1;
            }
        }
        let token = KBox::into_raw(request);
        // SAFETY: The lists are terminated scatterlists over memory that the request owns, and the
        // request is not touched until the queue returns its token. The lock serialises. INVARIANT:
        // The token comes from `into_raw`.
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
        self.unnotified = true;
        Ok(())
    }

    /// Whether the device is to notify when it has returned something.
    fn wants_notification(&self) -> bool {
        self.awaited > 0 || !self.waiting.is_empty()
    }

    /// Passes waiting requests to the device while there are free descriptors.
    ///
    /// # Errors
    ///
    /// Why none will go any more.
    fn refill(&mut self) -> Result {
        while let Some(request) = self.next_waiting() {
            if let Err((request, error)) = self.add(request) {
                self.wait(request, true);
                return if is_passing(error) {
                    Ok(())
                } else {
                    Err(error)
                };
            }
        }
        Ok(())
    }

    /// Nobody awaits that request any more.
    fn forget(&mut self, request: &Request<C>) {
        self.awaited -= usize::from(request.is_awaited());
    }

    /// A request that the device is done with.
    fn take(&mut self) -> Option<Completed<C>> {
        let ring = self.ring?;
        let mut written = 0;
        // SAFETY: By the type invariant the pointer is valid; the lock serialises. The ring keeps
        // its tokens in memory that the device cannot write, and refuses an id that is not in
        // flight.
        let token = unsafe { bindings::virtqueue_get_buf(ring.as_ptr(), &mut written) };
        if token.is_null() {
            return None;
        }
        self.in_flight -= 1;
        // SAFETY: By the type invariant of `Ring`.
        let request = unsafe { KBox::from_raw(token.cast::<Request<C>>()) };
        self.forget(&request);
        Some(Completed::new(request, written as usize))
    }
}

impl<C: Context> Drop for Inner<C> {
    fn drop(&mut self) {
        // No place is to name this queue when it is gone.
        drop(self.take_waiting());
    }
}

impl<C: Context> Virtqueue<C> {
    /// A queue without a device: see [`new_virtqueue`].
    pub(crate) fn new(
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        let inner = Inner {
            ring: None,
            waiting: Fifo::new(),
            in_flight: 0,
            awaited: 0,
            unnotified: false,
        };
        pin_init!(Self {
            inner <- IrqLock::new(inner, name, class),
            batches: Atomic::new(0),
            kicks: Atomic::new(0),
        })
    }

    /// Gives `request` to the device, at once or when descriptors are free. Never sleeps.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the device is gone.
    /// - `EIO`: the device has broken the queue.
    /// - `E2BIG`: the request needs more descriptors than the queue has.
    pub(crate) fn submit(&self, request: KBox<Request<C>>, notify: Notify) -> Result<Submitted> {
        self.try_submit(request, notify)
            .map_err(|(request, error)| {
                drop(request);
                error
            })
    }

    /// As [`Self::submit`], and gives the request back with the error.
    pub(crate) fn try_submit(
        &self,
        request: KBox<Request<C>>,
        notify: Notify,
    ) -> Result<Submitted, Refused<C>> {
        let rcu = rcu::read_lock();
        let mut inner = self.inner.lock();
        if let Err(error) = inner.refill() {
            return Err((request, error));
        }
        let awaited = request.is_awaited();
        let result = if inner.waiting.is_empty() {
            inner.add(request)
        } else {
            inner
                .check(request)
                .and_then(|request| Err((request, ENOSPC)))
        };
        match result {
            Ok(()) => {}
            // It goes with a later one, or when one comes back.
            Err((request, error)) if is_passing(error) => inner.wait(request, false),
            Err(refused) => return Err(refused),
        }
        inner.awaited += usize::from(awaited);
        let drain = inner.wants_notification()
            && inner.ring.is_some_and(|ring| !ring.enable_notification());
        let batch = self.batches.load(Relaxed);
        // What waits moves only if the device works.
        let now = notify == Notify::Now || !inner.waiting.is_empty();
        let kick = if now {
            self.next_batch(&mut inner)
        } else {
            None
        };
        drop(inner);
        self.notify(kick, &rcu);
        Ok(Submitted { batch, drain })
    }

    /// Keeps a request that cannot be submitted until the device is gone.
    pub(crate) fn keep(&self, request: KBox<Request<C>>) {
        let mut inner = self.inner.lock();
        if inner.ring.is_some() {
            inner.awaited += usize::from(request.is_awaited());
            inner.wait(request, false);
            return;
        }
        drop(inner);
        drop(request);
    }

    /// Notifies the device of the requests that it was to be notified of later.
    pub(crate) fn kick(&self) {
        let rcu = rcu::read_lock();
        let mut inner = self.inner.lock();
        let kick = self.next_batch(&mut inner);
        drop(inner);
        self.notify(kick, &rcu);
    }

    /// The kick batch: all that was submitted in an earlier one is known to the device.
    pub(crate) fn batch(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    /// How often the device was notified.
    pub(crate) fn kicks(&self) -> u64 {
        self.kicks.load(Relaxed)
    }

    /// Starts a new kick batch if the device has not been notified of something. Returns the ring
    /// if the device wants to hear it.
    fn next_batch(&self, inner: &mut Inner<C>) -> Option<Ring> {
        if !core::mem::replace(&mut inner.unnotified, false) {
            return None;
        }
        self.batches.fetch_add(1, Relaxed);
        inner.ring.filter(|ring| ring.kick_prepare())
    }

    /// Wants no lock, but the RCU guard from before `ring` was read.
    fn notify(&self, ring: Option<Ring>, rcu: &rcu::Guard) {
        if let Some(ring) = ring {
            self.kicks.fetch_add(1, Relaxed);
            ring.notify(rcu);
        }
    }

    /// Takes back the request with that `place`, if it still waits. One that the device has is not
    /// found.
    pub(crate) fn withdraw(&self, place: &Place) -> Option<KBox<Request<C>>> {
        self.inner.lock().withdraw(place)
    }

    /// Passes the requests that the device is done with to `each`, in order, which owns them from
    /// then on.
    ///
    /// Without the queue's lock: `each` may submit. When there are no more the device's
    /// notification is enabled if it is wanted.
    pub(crate) fn drain(&self, mut each: impl FnMut(Completed<C>)) {
        let mut inner = self.inner.lock();
        // What there was no memory for: if the device has nothing it returns nothing, and this is
        // the only chance.
        let mut refilled = !inner.waiting.is_empty();
        let _ = inner.refill();
        loop {
            let Some(ring) = inner.ring else { return };
            ring.disable_notification();
            while let Some(completed) = inner.take() {
                refilled |= !inner.waiting.is_empty();
                let _ = inner.refill();
                drop(inner);
                each(completed);
                inner = self.inner.lock();
            }
            if !inner.wants_notification() || inner.ring.is_none_or(Ring::enable_notification) {
                break;
            }
        }
        drop(inner);
        if refilled {
            self.kick();
        }
    }

    /// Passes all that the device has returned to `each`, in order, and gives the buffers back to
    /// the device.
    ///
    /// `each` runs under the queue's lock: when this returns, everything that the device had
    /// returned before the call has been passed on, by this call or by one on another CPU.
    pub(crate) fn recycle(&self, mut each: impl FnMut(&Completed<C>)) {
        let rcu = rcu::read_lock();
        let mut inner = self.inner.lock();
        let Some(ring) = inner.ring else { return };
        loop {
            ring.disable_notification();
            while let Some(completed) = inner.take() {
                each(&completed);
                if let Err((request, _)) = inner.add(completed.into_request()) {
                    inner.wait(request, false);
                }
            }
            if ring.enable_notification() {
                break;
            }
        }
        let _ = inner.refill();
        let kick = self.next_batch(&mut inner);
        drop(inner);
        self.notify(kick, &rcu);
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

    /// Stops to use the ring, and drops what the device still had. Returns whether there was one.
    /// May sleep.
    ///
    /// # Safety
    ///
    /// The device has been reset: it uses no memory and calls nobody any more.
    unsafe fn detach(&self) -> bool;
}

impl<C: Context> Attach for Virtqueue<C> {
    unsafe fn attach(&self, ring: NonNull<bindings::virtqueue>) {
        // INVARIANT: By the safety requirements; there are no tokens yet.
        self.inner.lock().ring = Some(Ring(ring));
    }

    unsafe fn detach(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.in_flight = 0;
        inner.awaited = 0;
        inner.unnotified = false;
        let ring = inner.ring.take();
        let waiting = inner.take_waiting();
        drop(inner);
        drop(waiting);
        let Some(ring) = ring else { return false };
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
        true
    }
}
