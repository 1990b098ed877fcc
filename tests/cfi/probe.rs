// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Calls through pointers of each type that `cargo xtask test module` asks for; it appends them.

#[path = "BINDINGS_MODULE"]
mod bindings;

/// A pointer to a function of C, which can be called with anything: nobody runs this.
trait Callback {
    unsafe fn call(self);
}

macro_rules! callback {
    ($($argument:ident)*) => {
        impl<R, $($argument),*> Callback for unsafe extern "C" fn($($argument),*) -> R {
            #[inline(always)]
            unsafe fn call(self) {
                unsafe { self($(core::mem::zeroed::<$argument>()),*) };
            }
        }
    };
}
callback!();
callback!(A);
callback!(A B);
callback!(A B C);
callback!(A B C D);
callback!(A B C D E);
callback!(A B C D E F);
callback!(A B C D E F G);

#[inline(always)]
unsafe fn call<F: Callback>(callback: Option<F>) {
    if let Some(callback) = callback {
        unsafe { callback.call() }
    }
}
