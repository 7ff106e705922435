//! Whether the daemon at the other end of a socket is one to be trusted: who comes first may listen in a directory where
//! anybody may, and the daemon says who others are.

use std::os::fd::OwnedFd;

use abi::{Errno, Result};

use crate::socket_peer::SocketPeer;

/// Whom the kernel names in place of a user that this process's user namespace does not show.
const HIDDEN: u32 = 65_534;

/// # Errors
/// `EACCES` if the one who listens is neither root nor this process's user. In a user namespace that does not show root, one
/// whom it does not show either is taken for root: whoever made the namespace has chosen what is found there.
pub(crate) fn check(socket: &OwnedFd) -> Result {
    let owner = SocketPeer::of(socket).map_err(|_| Errno::EACCES)?.uid;
    let own = rustix::process::geteuid().as_raw();
    let shows_root = || {
        let map = std::fs::read_to_string("/proc/self/uid_map");
        map.is_ok_and(|map| maps_root(&map))
    };
    if owner == 0 || owner == own || owner == HIDDEN && !shows_root() {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Whether the users of the namespace outside, of which a line of the kernel's map has the first in its second field and
/// their number in the third, include root.
fn maps_root(map: &str) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some("0") && fields.next().is_some_and(|count| count != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    };

    fn socket() -> OwnedFd {
        let flags = SocketFlags::CLOEXEC;
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn the_own_user_is_trusted() {
        let place = tempfile::tempdir().unwrap();
        let address = SocketAddrUnix::new(place.path().join("socket")).unwrap();
        let (here, there) = (socket(), socket());
        bind(&there, &address).unwrap();
        listen(&there, 1).unwrap();
        connect(&here, &address).unwrap();
        assert_eq!(check(&here), Ok(()));
    }

    #[test]
    fn a_namespace_shows_root_if_root_outside_is_somebody_inside() {
        assert!(maps_root("         0          0 4294967295\n"));
        assert!(maps_root("1000 1000 1\n0 0 1\n"));
        assert!(!maps_root("1000 1000 1\n"));
        assert!(!maps_root("0 100000 65536\n"));
    }
}
