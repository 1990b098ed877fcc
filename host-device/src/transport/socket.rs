// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Sending and receiving files over Unix sockets (`SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockType, SockaddrLike,
    SockaddrStorage, getsockname, getsockopt, recv, recvmsg, send, sendmsg, sockopt,
};

/// Size of the header of a vhost-user message, and the request in it with which the VMM gives us a
/// socket.
const HEADER: usize = 12;
const SET_BACKEND_REQ_FD: u32 = 21;

/// Most files in one message of vhost-user.
const MAX_FILES: usize = 8;

/// Sends `bytes` with a file. Returns how many went out; the rest is to follow without it.
pub(super) fn send_with_file(
    stream: &UnixStream,
    bytes: &[u8],
    file: BorrowedFd<'_>,
) -> Result<usize, Errno> {
    let files = [file.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&files)];
    let bytes = [IoSlice::new(bytes)];
    again(|| {
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(stream.as_raw_fd(), &bytes, &control, flags, None)
    })
}

/// Sends `bytes` if that is possible at once, or nothing: `EAGAIN`.
pub(super) fn send_at_once(stream: &UnixStream, bytes: &[u8]) -> Result<(), Errno> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    match again(|| send(stream.as_raw_fd(), bytes, flags))? {
        sent if sent == bytes.len() => Ok(()),
        // A short message goes into one buffer of the kernel's. Who asks for the rest cannot be
        // told what is missing.
        _ => Err(Errno::EPIPE),
    }
}

/// Fills `bytes`, and takes the files that come with them. False if the stream ends before that.
pub(super) fn receive_with_files(
    stream: &UnixStream,
    bytes: &mut [u8],
) -> Result<(Vec<OwnedFd>, bool), Errno> {
    let mut files = Vec::new();
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match receive(stream, rest, MsgFlags::empty(), &mut files) {
            Ok(0) => return Ok((files, false)),
            Ok(count) => done += count,
            // Half an answer is none.
            Err(Errno::EAGAIN) if done > 0 => return Ok((files, false)),
            Err(errno) => return Err(errno),
        }
    }
    Ok((files, true))
}

/// Receives once, and adds the files that came to `files`.
fn receive(
    stream: &UnixStream,
    bytes: &mut [u8],
    flags: MsgFlags,
    files: &mut Vec<OwnedFd>,
) -> Result<usize, Errno> {
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; MAX_FILES]);
    again(|| {
        let mut bytes = [IoSliceMut::new(bytes)];
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut bytes, Some(&mut control), flags)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                files.extend(received.into_iter().map(|fd| {
                    // SAFETY: The kernel has just opened it for us, and nobody else knows its
                    // number.
                    unsafe { OwnedFd::from_raw_fd(fd) }
                }));
            }
        }
        Ok(message.bytes)
    })
}

/// Whether something can be received at once.
pub(super) fn readable(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    again(|| poll(&mut fds, PollTimeout::ZERO)).is_ok_and(|count| count > 0)
}

/// Waits for the VMM's next message, and leaves it where it is. If it gives us a socket for our
/// requests, returns a duplicate of that: crate `vhost` keeps the one in the message to itself.
pub(super) fn offered(stream: &UnixStream) -> Option<UnixStream> {
    let mut header = [0; HEADER];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_WAITALL;
    let count = again(|| recv(stream.as_raw_fd(), &mut header, flags)).ok()?;
    let request = header.first_chunk().copied().map(u32::from_ne_bytes)?;
    if count < HEADER || request != SET_BACKEND_REQ_FD {
        return None;
    }
    let mut files = Vec::new();
    receive(stream, &mut header, MsgFlags::MSG_PEEK, &mut files).ok()?;
    let file = files.pop().filter(|_| files.is_empty())?;
    is_stream(&file).then(|| UnixStream::from(file))
}

/// Whether it is a connected Unix socket that carries bytes.
fn is_stream(file: &OwnedFd) -> bool {
    getsockname::<SockaddrStorage>(file.as_raw_fd())
        .is_ok_and(|name| name.family() == Some(AddressFamily::Unix))
        && getsockopt(file, sockopt::SockType).is_ok_and(|kind| kind == SockType::Stream)
}

/// Makes a call again that a signal has interrupted.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_file_travels_with_the_first_bytes() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let sent = send_with_file(&here, b"hello", here.as_fd()).unwrap();
        assert_eq!(sent, 5);
        let mut bytes = [0; 5];
        let (files, whole) = receive_with_files(&there, &mut bytes).unwrap();
        assert_eq!((&bytes, files.len(), whole), (b"hello", 1, true));
        there.write_all(b"hal").unwrap();
        drop(there);
        let (files, whole) = receive_with_files(&here, &mut bytes).unwrap();
        assert_eq!((files.len(), whole), (0, false));
    }

    #[test]
    fn the_socket_of_a_message_is_seen_and_left_there() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let (offer, mut other) = UnixStream::pair().unwrap();
        let mut message = [0_u8; 12];
        (&there).write_all(&message).unwrap();
        assert!(offered(&here).is_none());
        here.read_exact(&mut message).unwrap();

        message[0] = 21;
        send_with_file(&there, &message, offer.as_fd()).unwrap();
        drop(offer);
        let mut seen = offered(&here).unwrap();
        let (files, whole) = receive_with_files(&here, &mut message).unwrap();
        assert_eq!((files.len(), whole, message[0]), (1, true, 21));
        drop(files);
        seen.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();

        // No file, and one that is no socket.
        (&there).write_all(&message).unwrap();
        assert!(offered(&here).is_none());
        here.read_exact(&mut message).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        send_with_file(&there, &message, file.as_fd()).unwrap();
        assert!(offered(&here).is_none());
        drop(there);
        receive_with_files(&here, &mut message).unwrap();
        assert!(offered(&here).is_none(), "hung up");
    }
}
