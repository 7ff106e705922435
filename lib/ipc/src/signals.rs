//! Keeping the program's signal handlers out of the library's thread.
#![allow(unsafe_code)]

/// Blocks all signals in the calling thread, so that they go to the program's own threads.
pub(crate) fn block_all() {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises the set, and the mask of the calling thread is only replaced.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}
