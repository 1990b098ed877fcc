// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Guest memory in files that the VMM can truncate: reading a page that is gone raises SIGBUS,
//! which would end the daemon.
//!
//! A memfd that is sealed against shrinking, as those of QEMU are, needs none of this. For other
//! files the signal handler maps a page of zeros in place of the missing one: frames of that guest
//! are wrong, and nobody else is harmed.

use std::ffi::c_int;
use std::os::fd::AsFd;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;

use super::mapping::PAGE_SIZE;

/// Whether nobody can shrink `file`.
pub(super) fn is_sealed(file: impl AsFd) -> bool {
    fcntl(file, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK))
}

/// Seals `file` against shrinking, if it is not yet. Returns whether it is: no memory of a VM gets
/// shorter, so that takes nothing from the VMM, and only of a file that keeps its size a udmabuf
/// can be made. `false` for a memfd that takes no seals, and for other files.
pub(super) fn seal(file: impl AsFd) -> bool {
    is_sealed(&file)
        || fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).is_ok() && is_sealed(&file)
}

/// Addresses that are guarded: start and end, or 0 and 0. A signal handler takes no locks, so it is
/// an array.
static RANGES: [[AtomicUsize; 2]; 8192] = [const { [const { AtomicUsize::new(0) }; 2] }; 8192];
/// The start of a range that is being set.
const SETTING: usize = usize::MAX;
/// A page was missing, and nobody has been told.
static MISSED: AtomicBool = AtomicBool::new(false);

/// A mapping in which missing pages become zeros.
#[derive(Debug)]
pub(super) struct Guard(usize);

impl Guard {
    /// Guards `len` bytes of a mapping from `start`. `ENOMEM` if there are too many such mappings.
    ///
    /// # Safety
    ///
    /// The mapping must be one of memory that others change at any time, to which nobody has a
    /// reference, and last until the guard is dropped.
    pub(super) unsafe fn new(start: usize, len: usize) -> Result<Self, Errno> {
        install();
        report();
        let free = RANGES.iter().position(|[first, _]| {
            first
                .compare_exchange(0, SETTING, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        });
        let at = free.ok_or(Errno::ENOMEM)?;
        let [first, end] = &RANGES[at];
        end.store(start + len, Ordering::Release);
        first.store(start, Ordering::Release);
        Ok(Self(at))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let [first, end] = &RANGES[self.0];
        end.store(0, Ordering::Release);
        first.store(0, Ordering::Release);
        report();
    }
}

fn report() {
    if MISSED.swap(false, Ordering::Relaxed) {
        tracing::warn!("a VMM has cut a file of its guest's memory short; its guest sees zeros");
    }
}

fn is_guarded(address: usize) -> bool {
    RANGES.iter().any(|[first, end]| {
        let first = first.load(Ordering::Acquire);
        first != 0 && (first..end.load(Ordering::Acquire)).contains(&address)
    })
}

/// Puts a page of zeros where one is missing. Only what POSIX allows in a signal handler is used
/// here.
extern "C" fn on_sigbus(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: The kernel hands over a valid `siginfo_t` (SA_SIGINFO), for SIGBUS with an address.
    let address = unsafe { (*info).si_addr() }.expose_provenance();
    let errno = Errno::last_raw();
    let page = address - address % PAGE_SIZE;
    // SAFETY: It takes the place of a page of a mapping of which `Guard::new` was told that nobody
    // has a reference to its content, and that it lasts.
    let mended = is_guarded(address)
        && unsafe {
            libc::mmap(
                with_exposed_provenance_mut(page),
                PAGE_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        } != libc::MAP_FAILED;
    if mended {
        MISSED.store(true, Ordering::Relaxed);
        Errno::set_raw(errno);
    } else {
        // SAFETY: The default action takes no handler. The access is repeated, and ends the
        // process.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    }
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: The structure is plain data, for which zeros are valid; the handler is as
        // `SA_SIGINFO` wants it, and does only what a handler may.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigaction(libc::SIGBUS, &raw const action, null_mut())
        };
        if let Err(errno) = Errno::result(result) {
            tracing::warn!("a VMM that cuts its guest's memory short can end this daemon: {errno}");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::os::fd::OwnedFd;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
    use nix::unistd::ftruncate;

    use super::*;

    #[test]
    fn what_takes_seals_is_sealed() {
        let flags = MFdFlags::MFD_CLOEXEC;
        let open: OwnedFd = memfd_create(c"open", flags | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        ftruncate(&open, 2 * PAGE_SIZE as i64).unwrap();
        assert!(seal(&open) && seal(&open));
        assert_eq!(ftruncate(&open, 0), Err(Errno::EPERM));
        let closed: OwnedFd = memfd_create(c"closed", flags).unwrap();
        let file = std::fs::File::open("/dev/zero").unwrap();
        assert!(!seal(&closed) && !seal(&file));
    }

    #[test]
    fn a_missing_page_is_one_of_zeros() {
        let size = NonZeroUsize::new(2 * PAGE_SIZE).unwrap();
        let file: OwnedFd = memfd_create(c"short", MFdFlags::MFD_CLOEXEC).unwrap();
        ftruncate(&file, 2 * PAGE_SIZE as i64).unwrap();
        assert!(!is_sealed(&file));
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &file, 0) }.unwrap();
        let start = base.as_ptr().expose_provenance();
        // SAFETY: Nobody has a reference to it, and it lasts for longer than the guard.
        let guard = unsafe { Guard::new(start, 2 * PAGE_SIZE) }.unwrap();
        assert!(is_guarded(start) && is_guarded(start + 2 * PAGE_SIZE - 1));
        assert!(!is_guarded(start - 1) && !is_guarded(start + 2 * PAGE_SIZE));
        let second = base.as_ptr().cast::<u8>().wrapping_add(PAGE_SIZE);
        // SAFETY: The accesses are inside the mapping; what is missing there is put there.
        unsafe {
            second.write_volatile(7);
            ftruncate(&file, 1).unwrap();
            assert_eq!(second.read_volatile(), 0);
            second.write_volatile(9);
            assert_eq!(second.read_volatile(), 9);
        }
        assert!(MISSED.load(Ordering::Relaxed));
        drop(guard);
        assert!(!is_guarded(start));
        // SAFETY: The mapping is ours, and nobody uses it any more.
        unsafe { munmap(base, 2 * PAGE_SIZE) }.unwrap();
    }
}
