// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The socket that VMMs connect to.

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use nix::sys::socket::{getsockopt, sockopt};

/// A listening socket. Its file, if it made one, goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: Option<PathBuf>,
}

/// Where VMMs come from.
#[derive(Debug)]
pub enum Endpoint {
    /// One after the other, from here.
    Listening(Listener),
    /// This one only.
    Connected(UnixStream),
}

impl Endpoint {
    /// Listens at `path`. Takes the place of a socket that nobody listens on any more.
    ///
    /// # Errors
    ///
    /// Says what is in the way and what to do.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if let Ok(metadata) = path.symlink_metadata() {
            ensure!(
                metadata.file_type().is_socket(),
                "{shown} exists and is not a socket; choose another path"
            );
            match UnixStream::connect(path) {
                Ok(_) => bail!(
                    "{shown} is in use: another process listens there; stop it, or choose another \
                     path"
                ),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)
                        .with_context(|| format!("cannot remove the stale socket {shown}"))?;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot tell who uses {shown}"));
                }
            }
        }
        let listener = UnixListener::bind(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow::anyhow!("the directory of {shown} does not exist; create it first")
            }
            ErrorKind::PermissionDenied => {
                anyhow::anyhow!("may not create {shown}; choose a directory that is yours")
            }
            _ => anyhow::anyhow!("cannot listen on {shown}: {error}"),
        })?;
        Ok(Self::Listening(Listener {
            socket: listener,
            path: Some(path.to_owned()),
        }))
    }

    /// Takes the Unix socket, listening or connected, that the process was started with as `fd`.
    ///
    /// # Errors
    ///
    /// `fd` is not open, or not a Unix socket.
    pub fn inherit(fd: RawFd) -> anyhow::Result<Self> {
        ensure!(fd > 2, "--fd {fd} is not a socket that was passed on");
        // SAFETY: Borrowed for this check only; a number that is not open makes it fail.
        let open = fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_GETFD);
        ensure!(open.is_ok(), "--fd {fd} is not open in this process");
        // SAFETY: It is open (above), and whoever started us passed it on for us to own. `main`
        // calls this once for a number, before anything else opens files.
        let fd_owned = unsafe { OwnedFd::from_raw_fd(fd) };
        let unix = getsockname::<SockaddrStorage>(fd)
            .is_ok_and(|name| name.family() == Some(AddressFamily::Unix));
        ensure!(unix, "--fd {fd} is not a Unix socket");
        Ok(
            if getsockopt(&fd_owned, sockopt::AcceptConn).unwrap_or(false) {
                UnixListener::from(fd_owned).into()
            } else {
                Self::Connected(UnixStream::from(fd_owned))
            },
        )
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening(Listener {
                path: Some(path), ..
            }) => path.display().fmt(f),
            Self::Listening(_) | Self::Connected(_) => f.write_str("passed on"),
        }
    }
}

impl From<UnixListener> for Endpoint {
    fn from(socket: UnixListener) -> Self {
        Self::Listening(Listener { socket, path: None })
    }
}

impl std::ops::Deref for Listener {
    type Target = UnixListener;

    fn deref(&self) -> &UnixListener {
        &self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}
