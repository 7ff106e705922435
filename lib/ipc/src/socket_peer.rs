//! Who is at the other end of a Unix socket, as the kernel says.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use abi::{Errno, Result};

/// The process at the other end of a Unix socket, at the moment when it connected or listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPeer {
    /// Its number; 0 for a process that this one's process table does not show, as one in another pid namespace.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl SocketPeer {
    /// Asks the kernel. Never blocks.
    ///
    /// # Errors
    /// `ENOTSOCK` and what else `getsockopt` answers.
    pub fn of(socket: impl AsFd) -> Result<Self> {
        let mut credentials = libc::ucred {
            pid: 0,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to the place given.
        let outcome = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut credentials).cast(),
                &raw mut len,
            )
        };
        if outcome != 0 {
            return Err(Errno::from(std::io::Error::last_os_error()));
        }
        let libc::ucred { pid, uid, gid } = credentials;
        Ok(Self { pid, uid, gid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        let own = SocketPeer {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        assert_eq!(SocketPeer::of(&here), Ok(own));
    }

    #[test]
    fn what_is_no_socket_has_no_other_end() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(SocketPeer::of(&file), Err(Errno::ENOTSOCK));
    }
}
