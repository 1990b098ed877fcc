// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Numbers of ioctls, and the call itself.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;
use protocol::wire::ioctl::{self, Direction, Ioctl};

/// The table's entry for `code`.
pub(crate) fn entry(code: u32) -> Result<&'static Ioctl, Errno> {
    ioctl::lookup(code).ok_or(Errno::ENOTTY)
}

/// The number by which the kernel knows `ioctl`: `_IOC(direction, 'V', code, size)`.
pub(super) const fn number(ioctl: &Ioctl) -> libc::Ioctl {
    const WRITE: u32 = 1;
    const READ: u32 = 2;
    let direction = match ioctl.direction {
        Direction::None => 0,
        Direction::Read => READ,
        Direction::Write => WRITE,
        Direction::ReadWrite => READ | WRITE,
    };
    let number = direction << 30 | (ioctl.size as u32) << 16 | (b'V' as u32) << 8 | ioctl.code;
    number as libc::Ioctl
}

/// Makes the call, as often as signals interrupt it.
///
/// # Safety
///
/// `argument` must point to as many bytes as `ioctl` has, readable and writable; and each pointer
/// and file in them that the kernel may follow must be one that it may use as the ioctl says.
pub(super) unsafe fn call(
    fd: BorrowedFd<'_>,
    ioctl: &Ioctl,
    argument: *mut u8,
) -> Result<(), Errno> {
    loop {
        // SAFETY: As this function's contract says.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), number(ioctl), argument) };
        match Errno::result(result) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::wire::ioctl::lookup;

    #[test]
    fn numbers() {
        for (code, expected) in [
            (ioctl::QUERYCAP, 0x8068_5600_u32),
            (ioctl::S_FMT, 0xc0d0_5605),
            (ioctl::STREAMON, 0x4004_5612),
            (ioctl::LOG_STATUS, 0x5646),
        ] {
            let ioctl = lookup(code).unwrap();
            assert_eq!(number(ioctl) as u32, expected, "{}", ioctl.name);
        }
    }
}
