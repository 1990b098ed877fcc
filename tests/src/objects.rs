// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Virtio objects of a VM, as the VMM knows them: whose they are, and what it answers when a device
//! looks for one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard};

use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};

/// SHARED_OBJECT_LOOKUP.
const LOOKUP: u32 = 8;
const VERSION: u32 = 1;
const REPLY: u32 = 4;
/// Header, and the UUID that is looked for.
const REQUEST: usize = 12 + 16;

/// What the VMM answers to SHARED_OBJECT_LOOKUP.
#[derive(Debug)]
pub enum Answer {
    /// Success, with these files: one of a VMM that keeps to the rules.
    Files(Vec<File>),
    /// Failure.
    Refusal,
    /// A failure that carries a file all the same.
    RefusalWith(File),
    /// Another message than the one that is waited for.
    Nonsense,
    /// A success with a file, as soon as something is received.
    Late(File, Receiver<()>),
}

#[derive(Default)]
struct State {
    answers: HashMap<[u8; 16], Answer>,
    looked_for: Vec<[u8; 16]>,
    added: Vec<[u8; 16]>,
    removed: Vec<[u8; 16]>,
}

/// The table of objects.
#[derive(Default)]
pub struct Objects(Mutex<State>);

impl Objects {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The next time that a device looks for `uuid`, it gets `answer`.
    pub fn answer(&self, uuid: [u8; 16], answer: Answer) {
        self.state().answers.insert(uuid, answer);
    }

    /// UUIDs that the daemon looked for, oldest first.
    pub fn looked_for(&self) -> Vec<[u8; 16]> {
        self.state().looked_for.clone()
    }

    /// UUIDs that the daemon says it has, oldest first.
    pub fn added(&self) -> Vec<[u8; 16]> {
        self.state().added.clone()
    }

    /// UUIDs that the daemon says it has no more, oldest first.
    pub fn removed(&self) -> Vec<[u8; 16]> {
        self.state().removed.clone()
    }

    pub(crate) fn add(&self, uuid: [u8; 16]) {
        self.state().added.push(uuid);
    }

    pub(crate) fn remove(&self, uuid: [u8; 16]) {
        self.state().removed.push(uuid);
    }

    /// Serves the request that waits on `socket` if it is SHARED_OBJECT_LOOKUP; crate `vhost`
    /// expects a file with that.
    pub(crate) fn serve(&self, socket: RawFd) -> io::Result<bool> {
        let mut bytes = [0; REQUEST];
        let count = recv(socket, &mut bytes, MsgFlags::MSG_PEEK)?;
        let request = bytes.first_chunk().copied().map(u32::from_ne_bytes);
        if count < 4 || request != Some(LOOKUP) {
            return Ok(false);
        }
        let count = recv(socket, &mut bytes, MsgFlags::MSG_WAITALL)?;
        assert_eq!(count, REQUEST, "SHARED_OBJECT_LOOKUP is cut off");
        assert_eq!(bytes[4..12], [1, 0, 0, 0, 16, 0, 0, 0], "flags and size");
        let uuid = *bytes.last_chunk().unwrap();
        let answer = {
            let mut state = self.state();
            state.looked_for.push(uuid);
            state.answers.remove(&uuid)
        };
        match answer {
            Some(Answer::Files(files)) => send(socket, LOOKUP, 0, &files),
            Some(Answer::RefusalWith(file)) => send(socket, LOOKUP, u64::MAX, &[file]),
            Some(Answer::Nonsense) => send(socket, LOOKUP + 1, 0, &[]),
            Some(Answer::Late(file, when)) => {
                // The test may have ended.
                let _ = when.recv();
                send(socket, LOOKUP, 0, &[file])
            }
            Some(Answer::Refusal) | None => send(socket, LOOKUP, u64::MAX, &[]),
        }?;
        Ok(true)
    }
}

fn send(socket: RawFd, request: u32, value: u64, files: &[File]) -> io::Result<()> {
    let mut bytes = Vec::new();
    for word in [request, VERSION | REPLY, 8] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(value.to_ne_bytes());
    let files: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&files)];
    let control = if files.is_empty() { &[] } else { &control[..] };
    let bytes = [IoSlice::new(&bytes)];
    sendmsg::<()>(socket, &bytes, control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}
