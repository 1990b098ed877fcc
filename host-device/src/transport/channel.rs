// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The backend request channel: what we ask of the VMM.
//!
//! SHMEM_MAP and SHMEM_UNMAP put host memory into the shared memory region; SHARED_OBJECT_ADD,
//! REMOVE and LOOKUP are about dmabufs that devices of a VM share. The messages are ours and not
//! crate `vhost`'s, whose LOOKUP sends a file where the specification wants one back.

use std::collections::VecDeque;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use nix::errno::Errno;
use protocol::wire::SHM_REGION_MMAP;
use protocol::wire::sg::Uuid;
use vhost::vhost_user::message::{VhostUserMMapFlags, VhostUserProtocolFeatures};
use zerocopy::{FromBytes, IntoBytes};

use super::socket;
use crate::memory::{Lookup, Mapper};

/// How long the VMM may take to find an object: the guest's QBUF waits for it.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(2);

/// Requests, as vhost-user numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Request {
    ObjectAdd = 6,
    ObjectRemove = 7,
    ObjectLookup = 8,
    ShmemMap = 9,
    ShmemUnmap = 10,
}

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Header of a message: request, flags, and size of what follows.
type Header = [u32; 3];

/// Size of an answer: the header, and a number that is 0 for success.
const ANSWER: usize = size_of::<Header>() + size_of::<u64>();

/// What SHMEM_MAP and SHMEM_UNMAP say.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    fd_offset: u64,
    offset: u64,
    len: u64,
    flags: VhostUserMMapFlags,
}

impl Mapping {
    fn to_words(self) -> [u64; 5] {
        // The region's number is a byte, and seven of padding follow.
        let region = u64::from_ne_bytes([SHM_REGION_MMAP, 0, 0, 0, 0, 0, 0, 0]);
        [
            region,
            self.fd_offset,
            self.offset,
            self.len,
            self.flags.bits(),
        ]
    }
}

/// How a request failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the VMM is gone")]
    Gone,
    #[error("the VMM does not answer")]
    Late,
    #[error("the VMM refuses: {0}")]
    Refused(i64),
    #[error("the VMM answers with something else: it is not asked again")]
    Broken,
}

/// Where the conversation stands.
#[derive(Default)]
struct State {
    /// The answer to a LOOKUP is still to come.
    late: bool,
    /// Nobody knows what the next bytes would be.
    broken: bool,
}

fn message(request: Request, flags: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let header: Header = [request as u32, VERSION | flags, size];
    [header.as_bytes(), body].concat()
}

/// A channel that the VMM gave us.
struct Socket {
    stream: UnixStream,
    features: u64,
    /// Held for as long as a request is answered.
    state: Mutex<State>,
    /// Objects that are gone, and of which the VMM has not been notified yet.
    removed: Mutex<VecDeque<Uuid>>,
}

impl Socket {
    fn has(&self, feature: VhostUserProtocolFeatures) -> bool {
        self.features & feature.bits() != 0
    }

    fn send(
        &self,
        request: Request,
        flags: u32,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Failure> {
        let message = message(request, flags, body);
        let sent = match fd {
            Some(fd) => {
                socket::send_with_file(&self.stream, &message, fd).map_err(|_| Failure::Gone)?
            }
            None => 0,
        };
        let rest = message.get(sent..).unwrap_or_default();
        (&self.stream).write_all(rest).map_err(|_| Failure::Gone)
    }

    /// The next answer, and the file that came with it.
    fn receive(&self, state: &mut State) -> Result<(u32, u64, Option<OwnedFd>), Failure> {
        let mut bytes = [0; ANSWER];
        let received = socket::receive_with_files(&self.stream, &mut bytes);
        let mut files = match received {
            Ok((files, true)) => files,
            // Cut off in the middle, or it never began.
            Ok((_, false)) => {
                state.broken = true;
                return Err(Failure::Gone);
            }
            Err(Errno::EAGAIN) => return Err(Failure::Late),
            Err(_) => {
                state.broken = true;
                return Err(Failure::Gone);
            }
        };
        let read = Header::read_from_prefix(&bytes)
            .ok()
            .and_then(|(header, rest)| Some((header, u64::from_ne_bytes(rest.try_into().ok()?))));
        match read {
            Some(([request, flags, size], value))
                if flags & VERSION_MASK == VERSION
                    && flags & REPLY != 0
                    && size as usize == size_of::<u64>()
                    && files.len() <= 1 =>
            {
                Ok((request, value, files.pop()))
            }
            _ => {
                state.broken = true;
                Err(Failure::Broken)
            }
        }
    }

    /// The answer to `request`. Answers come in the order of the requests.
    fn answer(
        &self,
        request: Request,
        state: &mut State,
    ) -> Result<(u64, Option<OwnedFd>), Failure> {
        loop {
            let (code, value, file) = self.receive(state)?;
            let late = std::mem::take(&mut state.late);
            if late && code == Request::ObjectLookup as u32 {
                continue;
            }
            if code != request as u32 {
                state.broken = true;
                return Err(Failure::Broken);
            }
            return Ok((value, file));
        }
    }

    /// Makes a request without an answer of its own, and waits for the acknowledgement if the VMM
    /// gives any.
    fn request(
        &self,
        request: Request,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Failure> {
        let result = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.request_in(&mut state, request, body, fd)
        };
        self.tell_removed();
        result
    }

    fn request_in(
        &self,
        state: &mut State,
        request: Request,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Failure> {
        if state.broken {
            return Err(Failure::Gone);
        }
        let wait = self.has(VhostUserProtocolFeatures::REPLY_ACK);
        self.send(request, if wait { NEED_REPLY } else { 0 }, body, fd)?;
        if !wait {
            return Ok(());
        }
        match self.answer(request, state)? {
            (0, None) => Ok(()),
            (0, Some(_)) => {
                state.broken = true;
                Err(Failure::Broken)
            }
            (value, _) => Err(Failure::Refused(value.cast_signed())),
        }
    }

    /// Tells the VMM of an object that is gone, now or when the request that it is answering has
    /// been answered.
    ///
    /// Never waits: buffers are dropped anywhere, also while the VMM waits for us and answers
    /// nobody (RESET_DEVICE).
    fn remove(&self, uuid: Uuid) {
        self.removed().push_back(uuid);
        self.tell_removed();
    }

    fn removed(&self) -> MutexGuard<'_, VecDeque<Uuid>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the VMM of objects that are gone, unless somebody is talking to it: that one does it
    /// then.
    fn tell_removed(&self) {
        while !self.removed().is_empty() {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(error)) => error.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let Some(uuid) = self.removed().pop_front() else {
                return;
            };
            let message = message(Request::ObjectRemove, 0, &uuid.0);
            match socket::send_at_once(&self.stream, &message) {
                Ok(()) => {}
                // The VMM does not read: the next request tries again.
                Err(Errno::EAGAIN) => {
                    self.removed().push_front(uuid);
                    return;
                }
                Err(_) => {
                    state.broken = true;
                    self.removed().clear();
                }
            }
        }
    }

    fn look_up(&self, uuid: Uuid) -> Result<Option<OwnedFd>, Failure> {
        let result = self.look_up_in(uuid);
        self.tell_removed();
        result
    }

    fn look_up_in(&self, uuid: Uuid) -> Result<Option<OwnedFd>, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.broken {
            return Err(Failure::Gone);
        }
        if state.late {
            // Asked again once it has answered: what comes must be known to be of this request.
            if !socket::readable(&self.stream) {
                return Err(Failure::Late);
            }
            self.receive(&mut state)?;
            state.late = false;
        }
        self.send(Request::ObjectLookup, 0, &uuid.0, None)?;
        let patience = |time| self.stream.set_read_timeout(time);
        patience(Some(LOOKUP_PATIENCE)).map_err(|_| Failure::Gone)?;
        let answer = self.answer(Request::ObjectLookup, &mut state);
        patience(None).map_err(|_| Failure::Gone)?;
        state.late |= matches!(answer, Err(Failure::Late));
        match answer? {
            (0, file) => Ok(file),
            (value, _) => Err(Failure::Refused(value.cast_signed())),
        }
    }
}

/// The backend request channel, once the VMM has given us one; clones are handles of the same.
#[derive(Clone, Default)]
pub(super) struct Channel(Arc<Mutex<Option<Arc<Socket>>>>);

impl Channel {
    /// Takes a socket of the VMM, with the protocol features that it has acknowledged.
    pub(super) fn set(&self, stream: UnixStream, features: u64) {
        self.replace(Some(Arc::new(Socket {
            stream,
            features,
            state: Mutex::default(),
            removed: Mutex::default(),
        })));
    }

    /// Ends it: whoever waits for an answer gets none.
    pub(super) fn close(&self) {
        self.replace(None);
    }

    fn replace(&self, socket: Option<Arc<Socket>>) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *current, socket) {
            // Fails only if the VMM was faster.
            let _ = old.stream.shutdown(Shutdown::Both);
        }
    }

    /// The channel, if the VMM has `feature`.
    fn get(&self, feature: VhostUserProtocolFeatures) -> Result<Arc<Socket>, Errno> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*socket {
            Some(socket) if socket.has(feature) => Ok(Arc::clone(socket)),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn shmem(
        &self,
        request: Request,
        mapping: Mapping,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let socket = self.get(VhostUserProtocolFeatures::SHMEM)?;
        socket
            .request(request, mapping.to_words().as_bytes(), fd)
            .map_err(|failure| {
                log(request, &failure);
                Errno::EIO
            })
    }
}

fn log(request: Request, failure: &Failure) {
    match failure {
        Failure::Gone => tracing::debug!("{request:?}: {failure}"),
        _ => tracing::warn!("{request:?}: {failure}"),
    }
}

impl Mapper for Channel {
    fn map(
        &self,
        fd: BorrowedFd<'_>,
        fd_offset: u64,
        offset: u64,
        len: u64,
        writable: bool,
    ) -> Result<(), Errno> {
        let flags = if writable {
            VhostUserMMapFlags::WRITABLE
        } else {
            VhostUserMMapFlags::empty()
        };
        let mapping = Mapping {
            fd_offset,
            offset,
            len,
            flags,
        };
        self.shmem(Request::ShmemMap, mapping, Some(fd))
    }

    fn unmap(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let mapping = Mapping {
            fd_offset: 0,
            offset,
            len,
            flags: VhostUserMMapFlags::empty(),
        };
        self.shmem(Request::ShmemUnmap, mapping, None)
    }
}

impl Lookup for Channel {
    /// `ETIMEDOUT` if the VMM does not answer in time; it is asked for the next object when it has.
    fn lookup(&self, uuid: Uuid) -> Result<OwnedFd, Errno> {
        let socket = self.get(VhostUserProtocolFeatures::SHARED_OBJECT)?;
        match socket.look_up(uuid) {
            Ok(file) => file.ok_or(Errno::ENOENT),
            Err(Failure::Refused(_)) => Err(Errno::ENOENT),
            Err(failure) => {
                log(Request::ObjectLookup, &failure);
                Err(match failure {
                    Failure::Late => Errno::ETIMEDOUT,
                    _ => Errno::EIO,
                })
            }
        }
    }

    fn added(&self, uuid: Uuid) {
        // Without the feature there is nobody to tell.
        if let Ok(socket) = self.get(VhostUserProtocolFeatures::SHARED_OBJECT)
            && let Err(failure) = socket.request(Request::ObjectAdd, &uuid.0, None)
        {
            log(Request::ObjectAdd, &failure);
        }
    }

    /// Does not wait: this may be in the middle of anything.
    fn removed(&self, uuid: Uuid) {
        if let Ok(socket) = self.get(VhostUserProtocolFeatures::SHARED_OBJECT) {
            socket.remove(uuid);
        }
    }
}
