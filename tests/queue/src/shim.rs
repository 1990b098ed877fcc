// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the rules for buffers use of the `kernel` crate.

/// `kernel::page`.
pub(crate) mod page {
    pub(crate) const PAGE_SHIFT: usize = 12;
}

/// `kernel::sync`.
pub(crate) mod sync {
    use super::prelude::{AllocError, Flags};
    use std::ops::Deref;

    pub(crate) mod atomic {
        use std::sync::atomic::{AtomicI32, Ordering};

        pub(crate) struct Relaxed;

        pub(crate) struct Atomic<T>(AtomicI32, std::marker::PhantomData<T>);

        impl Atomic<i32> {
            pub(crate) fn new(value: i32) -> Self {
                Self(AtomicI32::new(value), std::marker::PhantomData)
            }

            pub(crate) fn load(&self, _: Relaxed) -> i32 {
                self.0.load(Ordering::Relaxed)
            }

            pub(crate) fn fetch_add(&self, value: i32, _: Relaxed) -> i32 {
                self.0.fetch_add(value, Ordering::Relaxed)
            }
        }
    }

    pub(crate) struct Arc<T>(std::sync::Arc<T>);

    impl<T> Arc<T> {
        pub(crate) fn new(value: T, _: Flags) -> Result<Self, AllocError> {
            Ok(Self(std::sync::Arc::new(value)))
        }
    }

    impl<T> Clone for Arc<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Deref for Arc<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }
}

/// `kernel::prelude`.
pub(crate) mod prelude {
    use std::ops::{Deref, DerefMut};

    pub(crate) type Result<T = (), E = Error> = core::result::Result<T, E>;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Error(i32);

    impl Error {
        pub(crate) const fn from_errno(errno: i32) -> Self {
            Self(errno)
        }
    }

    pub(crate) const ENOMEM: Error = Error(-12);
    pub(crate) const EIO: Error = Error(-5);
    pub(crate) const EBUSY: Error = Error(-16);
    pub(crate) const EINVAL: Error = Error(-22);
    pub(crate) const EPIPE: Error = Error(-32);
    pub(crate) const ENODEV: Error = Error(-19);

    /// Never happens here.
    #[derive(Debug)]
    pub(crate) struct AllocError;

    impl From<AllocError> for Error {
        fn from(_: AllocError) -> Self {
            ENOMEM
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Flags;

    pub(crate) const GFP_KERNEL_ACCOUNT: Flags = Flags;

    /// A vector whose capacity is what was asked for.
    pub(crate) struct KVec<T> {
        items: Vec<T>,
        capacity: usize,
    }

    pub(crate) type KVVec<T> = KVec<T>;

    impl<T> KVec<T> {
        pub(crate) const fn new() -> Self {
            Self {
                items: Vec::new(),
                capacity: 0,
            }
        }

        pub(crate) fn with_capacity(capacity: usize, _: Flags) -> Result<Self, AllocError> {
            Ok(Self {
                items: Vec::new(),
                capacity,
            })
        }

        pub(crate) fn push(&mut self, item: T, _: Flags) -> Result<(), AllocError> {
            self.items.push(item);
            self.capacity = self.capacity.max(self.items.len());
            Ok(())
        }

        pub(crate) fn push_within_capacity(&mut self, item: T) -> Result<(), T> {
            if self.items.len() >= self.capacity {
                return Err(item);
            }
            self.items.push(item);
            Ok(())
        }
    }

    impl<T> Deref for KVec<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.items
        }
    }

    impl<T> DerefMut for KVec<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.items
        }
    }
}
