// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The end of GStreamer's use of a piece of memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gstreamer::glib;

/// What GStreamer holds for as long as it uses a piece of memory.
pub(super) struct Release(Box<dyn FnOnce() + Send>);

impl Release {
    /// Drops `keep`, then calls `on_release`, on whatever thread GStreamer lets go of the memory.
    pub(super) fn new<K: Send + 'static>(
        keep: K,
        on_release: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self(Box::new(move || {
            drop(keep);
            on_release();
        }))
    }

    /// GStreamer is done. Does not panic: a panic must not unwind into C.
    pub(super) fn run(self) {
        if catch_unwind(AssertUnwindSafe(self.0)).is_err() {
            tracing::error!("panic when a buffer was released, please report it");
        }
    }

    /// [`run`](Self::run) for C.
    ///
    /// # Safety
    ///
    /// `data` must be a `Box<Release>` turned into a pointer, and this must run once.
    pub(super) unsafe extern "C" fn notify(data: glib::ffi::gpointer) {
        // SAFETY: As the caller says.
        let release = unsafe { Box::from_raw(data.cast::<Self>()) };
        release.run();
    }
}
