//! Ctrl-C and a service manager's "stop", as events of the loop instead of interruptions.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};

/// Holds SIGINT and SIGTERM back in this thread and all that it starts, and answers a descriptor that becomes
/// readable when one comes.
pub(crate) fn stop_descriptor() -> std::io::Result<OwnedFd> {
    // SAFETY: a signal set is plain data, for which zeros are valid; sigemptyset initialises it properly.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: all calls get a valid set; signalfd makes a descriptor for us alone.
    let descriptor = unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: checked above.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
