//! One word that a forked child sees as zero.
//!
//! A child inherits a copy of every key and packet counter. Sealing one packet with them would repeat a
//! nonce, which breaks AES-GCM for good. The word lives in a page that the kernel gives to a child as
//! zeros, so the test is one load and cannot be forgotten by a missing `pthread_atfork` handler.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::{Errno, Result};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Tells the process that made it from every child forked later.
pub(crate) struct ForkGuard {
    page: NonNull<AtomicU32>,
}

// SAFETY: the page is only ever read and written through an atomic, and is unmapped by the one owner's drop.
unsafe impl Send for ForkGuard {}
// SAFETY: as above; a shared reference only loads the atomic.
unsafe impl Sync for ForkGuard {}

impl ForkGuard {
    /// Maps the page. `ENOMEM` when the kernel has none left.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice touches no memory in use.
        let address = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .map_err(|_| Errno::ENOMEM)?;
        // SAFETY: the range was mapped just above, is not shared yet, and holds nothing that wiping could lose.
        let wiped = unsafe { madvise(address, PAGE, Advice::LinuxWipeOnFork) };
        let page = NonNull::new(address.cast::<AtomicU32>()).ok_or(Errno::ENOMEM)?;
        let guard = Self { page };
        wiped.map_err(|_| Errno::ENOSYS)?;
        guard.word().store(ALIVE, Ordering::Relaxed);
        Ok(guard)
    }

    /// Whether this is still the process that made the guard.
    #[inline]
    pub(crate) fn is_owner(&self) -> bool {
        self.word().load(Ordering::Relaxed) == ALIVE
    }

    /// `EBADF` in a forked child.
    #[inline]
    pub(crate) fn check(&self) -> Result {
        if self.is_owner() {
            Ok(())
        } else {
            Err(Errno::EBADF)
        }
    }

    #[inline]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: `page` points to a live, aligned mapping of at least four bytes until drop.
        unsafe { self.page.as_ref() }
    }
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nobody else refers to it any more.
        let _ = unsafe { munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

/// Mappings are made in pages; more than one page on larger-page machines is rounded up by the kernel.
const PAGE: usize = 4096;
/// Any value but the zero of a wiped page.
const ALIVE: u32 = 0x534c_4e54;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maker_owns_the_guard() {
        let guard = ForkGuard::new().unwrap();
        assert!(guard.is_owner());
        assert_eq!(guard.check(), Ok(()));
    }

    #[test]
    fn a_forked_child_does_not_own_the_guard() {
        let guard = ForkGuard::new().unwrap();
        // SAFETY: the child only loads a word and leaves by `_exit`, both safe after fork in a threaded process.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(guard.is_owner());
            // SAFETY: `_exit` runs no destructors and touches no lock of the parent.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: waits for the child forked above, with a valid place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 0);
        assert!(guard.is_owner());
    }
}
