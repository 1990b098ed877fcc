// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! `/dev/udmabuf`: dmabufs of pieces of memfds.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc::{O_CLOEXEC, c_ulong};
use nix::request_code_write;

use super::mapping::PAGE_SIZE;

/// The most pieces and bytes of a dmabuf, unless the module's parameters say otherwise.
const LIST_LIMIT: usize = 1024;
const SIZE_LIMIT_MB: usize = 64;

const UDMABUF_FLAGS_CLOEXEC: u32 = 1;
/// The argument's size is that of the structure without its array: two `u32`.
const UDMABUF_CREATE_LIST: c_ulong = request_code_write!(b'u', 0x43, 8);

/// What the kernel notes of each page of a dmabuf: its folio and an offset.
const PER_PAGE: usize = 16;

/// A piece of a memfd: the file, where it begins, and its length, both in whole pages.
pub(super) type Piece<'a> = (BorrowedFd<'a>, u64, usize);

/// The device.
#[derive(Debug)]
struct Udmabuf {
    file: File,
    list_limit: usize,
    size_limit: usize,
}

fn parameter(name: &str) -> Option<usize> {
    let path = format!("/sys/module/udmabuf/parameters/{name}");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The device, if the host has it. It is looked for once.
fn device() -> Option<&'static Udmabuf> {
    static DEVICE: OnceLock<Option<Udmabuf>> = OnceLock::new();
    let probe = || {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_CLOEXEC)
            .open("/dev/udmabuf");
        match opened {
            Ok(file) => {
                tracing::info!("guest frames: udmabuf");
                Some(Udmabuf {
                    file,
                    list_limit: parameter("list_limit").unwrap_or(LIST_LIMIT),
                    size_limit: parameter("size_limit_mb").unwrap_or(SIZE_LIMIT_MB) << 20,
                })
            }
            Err(error) => {
                tracing::info!("guest frames: mapped (/dev/udmabuf: {error})");
                None
            }
        }
    };
    DEVICE.get_or_init(probe).as_ref()
}

/// Looks for the device, and says in the log how frames of guests will be read.
pub fn probe() -> bool {
    device().is_some()
}

/// Bytes that the kernel takes for a dmabuf of so many bytes, without its pages.
pub(super) fn cost(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_SIZE) * PER_PAGE
}

/// Whether there is such a device, and it takes so many pieces and bytes.
pub(super) fn takes(pieces: &[Piece<'_>]) -> bool {
    let size: usize = pieces.iter().map(|(_, _, len)| len).sum();
    device().is_some_and(|device| pieces.len() <= device.list_limit && size <= device.size_limit)
}

/// A dmabuf of `pieces`, in order. `None` if there is no such device, or it takes none of so many
/// pieces or bytes, or the files are no memfds that are sealed against shrinking.
pub(super) fn create(pieces: &[Piece<'_>]) -> Option<OwnedFd> {
    let device = device().filter(|_| takes(pieces))?;
    let made = device.create(pieces);
    made.inspect_err(|errno| tracing::debug!("no dmabuf of {} pieces: {errno}", pieces.len()))
        .ok()
}

impl Udmabuf {
    fn create(&self, pieces: &[Piece<'_>]) -> Result<OwnedFd, Errno> {
        let count = u32::try_from(pieces.len()).map_err(|_| Errno::EINVAL)?;
        // `struct udmabuf_create_list`: flags and count, then for each piece memfd and padding,
        // offset, size.
        let mut list: Vec<u64> = Vec::with_capacity(1 + 3 * pieces.len());
        list.push(pair(UDMABUF_FLAGS_CLOEXEC, count));
        for &(memfd, offset, len) in pieces {
            list.extend([
                pair(memfd.as_raw_fd().cast_unsigned(), 0),
                offset,
                len as u64,
            ]);
        }
        // SAFETY: The kernel reads a head and as many items as that says, which is what `list`
        // holds.
        let fd = Errno::result(unsafe {
            nix::libc::ioctl(self.file.as_raw_fd(), UDMABUF_CREATE_LIST, list.as_ptr())
        })?;
        // SAFETY: The kernel just made this descriptor, for us to own.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Two fields of 32 bits that follow each other in memory.
fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_as_the_kernel_has_them() {
        let bytes = pair(0x0403_0201, 0x0807_0605).to_ne_bytes();
        if cfg!(target_endian = "little") {
            assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
        }
        assert_eq!(UDMABUF_CREATE_LIST, 0x4008_7543);
    }
}
