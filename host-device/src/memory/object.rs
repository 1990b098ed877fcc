// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Virtio objects: buffers that have a UUID, by which other sessions and other devices of the VM
//! find them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use protocol::wire::sg::Uuid;

use super::buffer::HostBuffer;
use super::name::ObjectName;

/// Who knows the objects of other devices: the VMM.
pub trait Lookup: Send + Sync {
    /// The dmabuf of the object `uuid`. Waits for the VMM's answer.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no device has it, `EOPNOTSUPP` if the VMM cannot be asked, `EIO` if it is gone.
    fn lookup(&self, uuid: Uuid) -> Result<OwnedFd, Errno>;

    /// The object `uuid` is ours from now on: other devices may ask for it.
    fn added(&self, uuid: Uuid) {
        let _ = uuid;
    }

    /// It is no more.
    fn removed(&self, uuid: Uuid) {
        let _ = uuid;
    }
}

/// Nobody has objects.
impl Lookup for () {
    fn lookup(&self, _: Uuid) -> Result<OwnedFd, Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// What a UUID names.
#[derive(Debug)]
pub(super) enum Object {
    /// A buffer of this device.
    Own(Arc<HostBuffer>),
    /// A dmabuf of another device.
    Foreign(OwnedFd),
}

/// Objects of a VM.
pub(super) struct Objects {
    own: Mutex<HashMap<[u8; 16], Weak<HostBuffer>>>,
    lookup: Box<dyn Lookup>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl Objects {
    pub(super) fn new(lookup: impl Lookup + 'static) -> Arc<Self> {
        Arc::new(Self {
            own: Mutex::default(),
            lookup: Box::new(lookup),
        })
    }

    fn own(&self) -> MutexGuard<'_, HashMap<[u8; 16], Weak<HostBuffer>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The UUID of `buffer`: a random one that it keeps. `EIO` if the system has no random numbers.
    pub(super) fn name(self: &Arc<Self>, buffer: &Arc<HostBuffer>) -> Result<Uuid, Errno> {
        let mut new = None;
        let uuid = {
            let mut name = buffer.name();
            match &*name {
                Some(name) => name.uuid(),
                None => {
                    let uuid = random()?;
                    new = Some(uuid);
                    let objects = Arc::downgrade(self);
                    *name = Some(ObjectName::new(uuid, move |uuid| {
                        if let Some(objects) = objects.upgrade() {
                            objects.own().remove(&uuid.0);
                            objects.lookup.removed(uuid);
                        }
                    }));
                    self.own().insert(uuid.0, Arc::downgrade(buffer));
                    uuid
                }
            }
        };
        if let Some(uuid) = new {
            self.lookup.added(uuid);
        }
        Ok(uuid)
    }

    /// The buffer of this device that `uuid` names.
    pub(super) fn buffer(&self, uuid: Uuid) -> Option<Arc<HostBuffer>> {
        self.own().get(&uuid.0).and_then(Weak::upgrade)
    }

    /// What `uuid` names. `EINVAL` if nobody knows it.
    pub(super) fn find(&self, uuid: Uuid) -> Result<Object, Errno> {
        if let Some(buffer) = self.buffer(uuid) {
            return Ok(Object::Own(buffer));
        }
        let found = self.lookup.lookup(uuid);
        found.map(Object::Foreign).map_err(|errno| {
            tracing::debug!("no object {:02x?}: {errno}", uuid.0);
            Errno::EINVAL
        })
    }
}

/// A random UUID (version 4).
fn random() -> Result<Uuid, Errno> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| {
            tracing::error!("no random numbers, so no UUID for a buffer: {error}");
            Errno::EIO
        })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(Uuid(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Vm;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Lookup for Seen {
        fn lookup(&self, _: Uuid) -> Result<OwnedFd, Errno> {
            self.0.lock().unwrap().push("lookup".to_owned());
            Err(Errno::ENOENT)
        }

        fn added(&self, _: Uuid) {
            self.0.lock().unwrap().push("added".to_owned());
        }

        fn removed(&self, _: Uuid) {
            self.0.lock().unwrap().push("removed".to_owned());
        }
    }

    #[test]
    fn a_buffer_has_one_name_for_as_long_as_it_lives() {
        let seen = Seen::default();
        let objects = Objects::new(seen.clone());
        let vm = Vm::without_guest();
        let [first, second] = [1, 2].map(|len| vm.buffer(len).unwrap());
        let name = objects.name(&first).unwrap();
        assert_eq!(objects.name(&first), Ok(name));
        assert_ne!(objects.name(&second), Ok(name));
        assert_eq!((name.0[6] >> 4, name.0[8] >> 6), (4, 2));
        assert!(
            matches!(objects.find(name), Ok(Object::Own(found)) if Arc::ptr_eq(&found, &first))
        );
        drop(first);
        assert_eq!(objects.find(name).unwrap_err(), Errno::EINVAL);
        assert_eq!(objects.own().len(), 1);
        let seen = seen.0.lock().unwrap();
        assert_eq!(*seen, ["added", "added", "removed", "lookup"]);
    }
}
