//! Socket options and queries that neither rustix nor socket2 carries.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an integer option.
pub(crate) fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is a c_int, its length is given, and the kernel only reads it during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for `bytes` of room in both directions.
pub(crate) fn enlarge_buffers(socket: BorrowedFd<'_>, bytes: i32) {
    // Beyond the usual limit only with CAP_NET_ADMIN. Less is what an ordinary user gets; drivers work with any size.
    for (beyond, usual) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        if set(socket, libc::SOL_SOCKET, beyond, bytes).is_err() {
            let _ = set(socket, libc::SOL_SOCKET, usual, bytes);
        }
    }
}

/// Bytes sent and not yet taken by the device (`SIOCOUTQ`).
pub(crate) fn unsent_bytes(socket: BorrowedFd<'_>) -> Option<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one c_int to the place given, during the call only.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        usize::try_from(bytes).ok()
    } else {
        None
    }
}
