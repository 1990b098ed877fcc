// SPDX-License-Identifier: GPL-2.0

//! What `kernel::sync` does not have yet: a spinlock that may be taken in interrupts, and a
//! completion that a signal or a time limit ends.

use crate::bindings;
use kernel::prelude::*;
use kernel::sync::lock::{Backend, Lock};
use kernel::time::{msecs_to_jiffies, Msecs};
use kernel::types::Opaque;

/// A spinlock that disables interrupts on this CPU while it is held, so that an interrupt handler
/// may take it too. Guards may be dropped in any order: interrupts are enabled again with the last
/// of them.
pub(crate) type IrqLock<T> = Lock<T, IrqSpinLock>;

/// Creates an [`IrqLock`] initialiser with the given name and a lock class of its own.
macro_rules! new_irq_lock {
    ($inner:expr, $name:literal) => {
        $crate::virtio::sync::IrqLock::new(
            $inner,
            kernel::c_str!($name),
            kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_irq_lock;

/// The [`Backend`] of [`IrqLock`]: as `spin_lock_irqsave()`, but the state of interrupts is not the
/// guard's.
pub(crate) struct IrqSpinLock;

// SAFETY: `spinlock_t` ensures mutual exclusion; `relock` is the default, which locks in the same
// way. A guard is not `Send`, so it is dropped by the task that took it, on the same CPU as
// interrupts are off.
unsafe impl Backend for IrqSpinLock {
    type State = bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const kernel::ffi::c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: The caller guarantees that `ptr` is valid for writes and that `name` and `key`
        // live for ever.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) {
        // SAFETY: The caller guarantees that `ptr` is an initialised lock.
        unsafe { bindings::virtio_helper_irq_lock(ptr) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        // SAFETY: The caller guarantees that `ptr` is an initialised lock.
        unsafe { bindings::virtio_helper_irq_trylock(ptr) }.then_some(())
    }

    unsafe fn unlock(ptr: *mut Self::State, _state: &()) {
        // SAFETY: The caller guarantees that it owns the lock.
        unsafe { bindings::virtio_helper_irq_unlock(ptr) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller guarantees that `ptr` is an initialised lock.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}

/// How a [`Completion::wait`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The completion was completed.
    Completed,
    /// The time is over.
    TimedOut,
    /// The task is being killed, or has a signal that it wanted to hear of.
    Interrupted,
}

/// What ends a wait early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A signal that kills the task.
    UntilKilled,
    /// Any signal.
    UntilSignal,
}

/// `struct completion` with waits that end by a fatal signal or a time limit.
///
/// # Invariants
///
/// `inner` is an initialised `struct completion`.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: `struct completion` has its own lock and may be used from any thread.
unsafe impl Send for Completion {}
// SAFETY: As above.
unsafe impl Sync for Completion {}

impl Completion {
    /// A completion that nobody has completed.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for writes. INVARIANT: This initialises it.
            inner <- Opaque::ffi_init(|slot| unsafe {
                bindings::virtio_helper_init_completion(slot)
            }),
        })
    }

    /// Wakes whoever waits, now or later. May be called in an interrupt.
    pub(crate) fn complete(&self) {
        // SAFETY: By the type invariant this is an initialised completion.
        unsafe { bindings::complete_all(self.inner.get()) }
    }

    /// Waits until it is completed, there is a signal, or `timeout` milliseconds are over (0 is for
    /// ever).
    pub(crate) fn wait(&self, timeout: Msecs, patience: Patience) -> Waited {
        let jiffies = if timeout == 0 {
            kernel::ffi::c_long::MAX as usize
        } else {
            msecs_to_jiffies(timeout)
        };
        let done = self.inner.get();
        // SAFETY: By the type invariant this is an initialised completion.
        let left = unsafe {
            match patience {
                Patience::UntilKilled => {
                    bindings::wait_for_completion_killable_timeout(done, jiffies)
                }
                Patience::UntilSignal => {
                    bindings::wait_for_completion_interruptible_timeout(done, jiffies)
                }
            }
        };
        match left {
            0 => Waited::TimedOut,
            1.. => Waited::Completed,
            _ => Waited::Interrupted,
        }
    }
}
