//! The Unix socket on which programs talk to their node.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use abi::system::{DESCRIPTORS_MAX, PACKET_MAX};
use abi::{Gid, Pid, Uid};
use ipc::SocketPeer;
use node::Caller;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::StartError;

/// Packets that wait for a program that does not read; one more and it is disconnected.
const WAITING_MAX: usize = 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Opens the socket for everybody on the machine.
pub(crate) fn listen(path: &Path) -> Result<OwnedFd, StartError> {
    let failed = |error: rustix::io::Errno| StartError::at(path, format!("cannot listen: {error}"));
    let address = SocketAddrUnix::new(path).map_err(|_| {
        StartError::at(
            path,
            "the name is too long for a socket (107 bytes): choose a shorter --dir",
        )
    })?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StartError::at(path, error));
        }
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.map_err(failed)?;
    rustix::net::bind(&socket, &address).map_err(failed)?;
    let everybody = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::chmod(path, everybody).map_err(failed)?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
    Ok(socket)
}

/// One program's connection.
#[derive(Debug)]
pub(crate) struct ProgramSocket {
    socket: OwnedFd,
    /// Tells when the process ends, even if a child of it still has the socket.
    pub(crate) process: Option<OwnedFd>,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

/// What [`ProgramSocket::receive`] found.
pub(crate) enum Received {
    Packet(Vec<u8>, Vec<OwnedFd>),
    Nothing,
    /// Closed, broken, or not keeping to the protocol.
    End,
}

impl ProgramSocket {
    /// Takes one waiting connection, if there is one, and watches the process at its other end if it is to be.
    pub(crate) fn accept(
        listener: &OwnedFd,
        watched: bool,
    ) -> rustix::io::Result<Option<(Self, Caller)>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(listener, flags) {
            Ok(socket) => socket,
            Err(
                rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED,
            ) => return Ok(None),
            Err(error) => return Err(error),
        };
        // A process that this machine's process table does not show could not be told from others.
        let seen = SocketPeer::of(&socket).ok().filter(|peer| peer.pid > 0);
        let Some(SocketPeer { pid, uid, gid }) = seen else {
            return Err(rustix::io::Errno::ACCESS);
        };
        let process = watched.then(|| {
            peer_process(&socket).or_else(|| {
                let pid = rustix::process::Pid::from_raw(pid)?;
                rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
            })
        });
        let caller = Caller {
            pid: Pid(pid.cast_unsigned()),
            started: started(pid),
            uid: Uid(uid),
            gid: Gid(gid),
            groups: peer_groups(&socket),
        };
        Ok(Some((
            Self {
                socket,
                process: process.flatten(),
                waiting: VecDeque::new(),
            },
            caller,
        )))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether packets wait for the program to read.
    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn receive(&self, space: &mut [u8]) -> Received {
        debug_assert!(space.len() > PACKET_MAX);
        let mut ancillary =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut ancillary);
        let mut parts = [IoSliceMut::new(space)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let len = match rustix::net::recvmsg(&self.socket, &mut parts, &mut control, flags) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Received::Nothing,
            Err(_) => return Received::End,
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        // No packet of the protocol is empty: this is the end of the connection. None is longer than the limit.
        if len == 0 || len > PACKET_MAX {
            return Received::End;
        }
        Received::Packet(space[..len].to_vec(), descriptors)
    }

    /// Sends a packet, or keeps it until the program reads. `false` if the program is lost.
    pub(crate) fn send(&mut self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> bool {
        if self.waiting.is_empty() {
            match self.send_now(&bytes, &descriptors) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(()) => return false,
            }
        }
        self.waiting.push_back((bytes, descriptors));
        self.waiting.len() <= WAITING_MAX
    }

    /// Sends what has waited. `false` if the program is lost.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some((bytes, descriptors)) = self.waiting.pop_front() {
            match self.send_now(&bytes, &descriptors) {
                Ok(true) => {}
                Ok(false) => {
                    self.waiting.push_front((bytes, descriptors));
                    return true;
                }
                Err(()) => return false,
            }
        }
        true
    }

    fn send_now(&self, bytes: &[u8], descriptors: &[OwnedFd]) -> Result<bool, ()> {
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {
                Ok(false)
            }
            Err(_) => Err(()),
        }
    }
}

/// A descriptor of the process at the other end, free of the race that its number may have been used again.
fn peer_process(socket: &OwnedFd) -> Option<OwnedFd> {
    /// `SO_PEERPIDFD` of Linux 6.5.
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut descriptor: libc::c_int = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to the place given.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut len,
        )
    };
    // SAFETY: on success the kernel has made a descriptor for us alone.
    (outcome == 0 && descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Supplementary groups of the process at the other end when it connected; none where the kernel does not tell.
fn peer_groups(socket: &OwnedFd) -> Vec<Gid> {
    let mut groups: Vec<libc::gid_t> = vec![0; abi::limits::GROUPS_MAX];
    loop {
        let mut len = (groups.len() * size_of::<libc::gid_t>()) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to the vector's own memory.
        let outcome = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let count = len as usize / size_of::<libc::gid_t>();
        if outcome == 0 {
            groups.truncate(count.min(abi::limits::GROUPS_MAX));
            return groups.into_iter().map(Gid).collect();
        }
        // The kernel says how much room it needs; the limit of groups is 65536.
        let needs_room = std::io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE);
        if !needs_room || count <= groups.len() || count > 65_536 {
            return Vec::new();
        }
        groups.resize(count, 0);
    }
}

/// When a process started, in clock ticks since the machine did; 0 if it is gone.
pub(crate) fn started(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in parentheses that may hold anything; the start time is the 20th after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_ascii_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_start_time_is_known() {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        assert!(started(pid) > 0);
        assert_eq!(started(0), 0);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_with_advice() {
        let text = listen(Path::new(&format!("/tmp/{}", "x".repeat(120))))
            .err()
            .unwrap()
            .to_string();
        assert!(text.contains("shorter --dir"), "{text}");
    }
}
