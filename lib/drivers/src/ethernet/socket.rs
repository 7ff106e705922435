//! The packet socket: opening it, and many frames with one system call.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd};

use libc::{iovec, mmsghdr, sockaddr_ll};
use socket2::{Domain, SockFilter, Socket, Type};

use super::frame::Header;
use super::interface::Interface;
use crate::{DriverError, socket_option};

/// Most frames of one system call.
pub(super) const GROUP: usize = 64;

/// How a `send` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Everything went, or as much as one call takes.
    Done,
    /// No room for the next frame.
    Full,
    /// The next frame was thrown away on the way to the interface.
    Dropped,
    /// The next frame did not go.
    Failed(DriverError),
}

/// One frame that was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    header: [u8; Header::LEN],
    /// Bytes in the frame behind the header.
    behind: usize,
    cut: bool,
    pub(super) mac: [u8; 6],
}

impl Arrived {
    pub(super) fn header(&self) -> Header {
        Header::decode(self.header)
    }

    /// Length of the packet in the frame, if it is a whole one for `port`.
    pub(super) fn packet_len(&self, port: u16) -> Option<usize> {
        if self.cut {
            return None;
        }
        self.header().packet_len(port, self.behind)
    }
}

/// A socket for the frames of one interface that `filter` passes; it never sees any other.
pub(super) fn open(interface: &Interface, filter: &[SockFilter]) -> io::Result<Socket> {
    // Without a protocol it takes no frames yet.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None).map_err(explain)?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(filter)?;
    socket_option::set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)?;
    let address = interface.address([0; 6]);
    // SAFETY: the address is a whole sockaddr_ll, which the kernel only reads during the call.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if bound == 0 {
        Ok(socket)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn explain(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let text = "bare Ethernet needs the right CAP_NET_RAW, which this process does not have";
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Sends packets of `segment` bytes each, at most [`GROUP`], with `headers`: that of a whole one, that of the last.
/// Returns how many went, and what became of the next one.
pub(super) fn send(
    socket: &Socket,
    to: &sockaddr_ll,
    headers: [&[u8; Header::LEN]; 2],
    bytes: &[u8],
    segment: usize,
) -> (usize, Attempt) {
    let [whole, last] = headers;
    let count = bytes.len().div_ceil(segment);
    assert!(count <= GROUP, "more frames than one call takes");
    let mut parts = [[EMPTY; 2]; GROUP];
    // SAFETY: an mmsghdr is plain numbers and pointers, for which zero is valid.
    let mut messages: [mmsghdr; GROUP] = unsafe { zeroed() };
    for (index, packet) in bytes.chunks(segment).enumerate() {
        let header = if index + 1 == count { last } else { whole };
        parts[index] = [part(header), part(packet)];
        let message = &mut messages[index].msg_hdr;
        message.msg_name = (&raw const *to).cast_mut().cast();
        message.msg_namelen = size_of_val(to) as libc::socklen_t;
        message.msg_iov = parts[index].as_mut_ptr();
        message.msg_iovlen = 2;
    }
    // SAFETY: the first `count` messages point to live memory of the lengths given, which the kernel only reads, and
    // only during the call; it writes their lengths into `messages`.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as u32,
            libc::MSG_DONTWAIT as _,
        )
    };
    if let Ok(sent) = usize::try_from(sent) {
        return (sent, Attempt::Done);
    }
    let error = io::Error::last_os_error();
    let attempt = match error.raw_os_error() {
        Some(libc::ENOBUFS) => Attempt::Dropped,
        _ => match DriverError::from(error) {
            DriverError::WouldBlock => Attempt::Full,
            other => Attempt::Failed(other),
        },
    };
    (0, attempt)
}

/// Reads as many frames as `arrived` has places, and returns their number, 0 if there are none. Frame `i` leaves its
/// packet at `i * stride` of `room`.
pub(super) fn receive(
    socket: &Socket,
    room: &mut [u8],
    stride: usize,
    arrived: &mut [Arrived],
) -> Result<usize, DriverError> {
    let wanted = arrived.len();
    assert!(
        wanted <= GROUP && wanted * stride <= room.len(),
        "a place for each frame"
    );
    let mut parts = [[EMPTY; 2]; GROUP];
    // SAFETY: a sockaddr_ll is plain numbers, for which zero is valid.
    let mut names: [sockaddr_ll; GROUP] = unsafe { zeroed() };
    // SAFETY: an mmsghdr is plain numbers and pointers, for which zero is valid.
    let mut messages: [mmsghdr; GROUP] = unsafe { zeroed() };
    for (index, (place, frame)) in room.chunks_exact_mut(stride).zip(&mut *arrived).enumerate() {
        parts[index] = [part_mut(&mut frame.header), part_mut(place)];
        let message = &mut messages[index].msg_hdr;
        message.msg_name = (&raw mut names[index]).cast();
        message.msg_namelen = size_of_val(&names[index]) as libc::socklen_t;
        message.msg_iov = parts[index].as_mut_ptr();
        message.msg_iovlen = 2;
    }
    // SAFETY: the first `wanted` messages point to live memory of the lengths given, each to other places, and the
    // kernel writes there during the call only. Without a timeout nothing else is touched.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            wanted as u32,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let Ok(count) = usize::try_from(count) else {
        return match DriverError::from(io::Error::last_os_error()) {
            DriverError::WouldBlock => Ok(0),
            other => Err(other),
        };
    };
    for ((frame, message), name) in arrived.iter_mut().zip(&messages).zip(&names).take(count) {
        let len = message.msg_len as usize;
        frame.cut = len < Header::LEN || message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        frame.behind = len.saturating_sub(Header::LEN);
        frame.mac.copy_from_slice(&name.sll_addr[..6]);
    }
    Ok(count)
}

fn part(bytes: &[u8]) -> iovec {
    iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn part_mut(bytes: &mut [u8]) -> iovec {
    iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

const EMPTY: iovec = iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};
