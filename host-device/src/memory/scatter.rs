// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Small pieces of guest memory, copied in and out.

use nix::errno::Errno;
use protocol::wire::sg::SgEntry;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Calls `each` with the address of every piece of `entries`, and the range of the first `len`
/// bytes that is there.
fn pieces(
    entries: &[SgEntry],
    len: usize,
    mut each: impl FnMut(GuestAddress, std::ops::Range<usize>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut done = 0;
    for entry in entries {
        let count = (entry.len as usize).min(len - done);
        each(GuestAddress(entry.start), done..done + count)?;
        done += count;
    }
    if done == len {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Fills `data` from `entries`. `EINVAL` if they have less, `EFAULT` if the guest has no memory
/// there.
pub(super) fn read(
    guest: &GuestMemoryMmap,
    entries: &[SgEntry],
    data: &mut [u8],
) -> Result<(), Errno> {
    pieces(entries, data.len(), |address, range| {
        let data = data.get_mut(range).ok_or(Errno::EINVAL)?;
        guest.read_slice(data, address).map_err(|_| Errno::EFAULT)
    })
}

/// Copies `data` to `entries`. Fails as [`read`].
pub(super) fn write(
    guest: &GuestMemoryMmap,
    entries: &[SgEntry],
    data: &[u8],
) -> Result<(), Errno> {
    pieces(entries, data.len(), |address, range| {
        let data = data.get(range).ok_or(Errno::EINVAL)?;
        guest.write_slice(data, address).map_err(|_| Errno::EFAULT)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_pieces() {
        let guest = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x1000), 0x2000)]).unwrap();
        let entry = SgEntry::new;
        let entries = [entry(0x1ffe, 4), entry(0x1000, 3)];
        write(&guest, &entries, b"abcdefg").unwrap();
        let mut back = [0; 6];
        read(&guest, &entries, &mut back).unwrap();
        assert_eq!(&back, b"abcdef");
        guest
            .read_slice(&mut back[..3], GuestAddress(0x1000))
            .unwrap();
        assert_eq!(&back[..3], b"efg");

        assert_eq!(write(&guest, &entries, &[0; 8]), Err(Errno::EINVAL));
        assert_eq!(read(&guest, &[], &mut back), Err(Errno::EINVAL));
        for outside in [entry(0x2ffe, 6), entry(u64::MAX - 1, 6), entry(0, 6)] {
            assert_eq!(read(&guest, &[outside], &mut back), Err(Errno::EFAULT));
            assert_eq!(write(&guest, &[outside], &back), Err(Errno::EFAULT));
        }
    }
}
