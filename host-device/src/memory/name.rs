// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The name of a buffer as a virtio object.

use protocol::wire::sg::Uuid;

/// The UUID that a buffer has as an object. The object is gone when this is dropped.
pub(super) struct ObjectName {
    uuid: Uuid,
    forget: Box<dyn Fn(Uuid) + Send + Sync>,
}

impl ObjectName {
    /// A name; `forget` is called when it is dropped.
    pub(super) fn new(uuid: Uuid, forget: impl Fn(Uuid) + Send + Sync + 'static) -> Self {
        Self {
            uuid,
            forget: Box::new(forget),
        }
    }

    pub(super) fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl std::fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ObjectName").field(&self.uuid).finish()
    }
}

impl Drop for ObjectName {
    fn drop(&mut self) {
        (self.forget)(self.uuid);
    }
}
