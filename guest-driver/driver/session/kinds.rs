// SPDX-License-Identifier: GPL-2.0

//! What a session knows of its controls, so that it need not ask the device for each use.

use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};

/// Most controls of which a session notes what they are like.
const MAX_KINDS: usize = 1024;

/// Which of a session's controls have their value behind a pointer, as far as that is known.
#[pin_data]
pub(in crate::driver) struct ControlKinds {
    #[pin]
    known: Mutex<KVec<(u32, bool)>>,
}

impl ControlKinds {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            known <- new_mutex!(KVec::new()),
        })
    }

    pub(in crate::driver) fn get(&self, id: u32) -> Option<bool> {
        let known = self.known.lock();
        let entry = known.iter().find(|entry| entry.0 == id);
        entry.map(|entry| entry.1)
    }

    /// Remembers a control. If that fails (no memory, too many) the device is asked again.
    pub(in crate::driver) fn note(&self, id: u32, elsewhere: bool) {
        let mut known = self.known.lock();
        if known.len() < MAX_KINDS {
            let _ = known.push((id, elsewhere), GFP_KERNEL_ACCOUNT);
        }
    }
}
