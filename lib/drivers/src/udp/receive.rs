//! Reading datagrams that the kernel may have joined.
//!
//! quinn-udp reads up to 32 messages at a time and asks for marks and times with each, which costs a small
//! round trip 0.7 us at either end; what is needed here is one read with the length of its segments.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use abi::LinkAddress;
use rustix::net::RecvFlags;

/// What one read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Train {
    pub(super) from: LinkAddress,
    pub(super) len: usize,
    /// Length of each datagram but the last, which may be shorter.
    pub(super) segment: usize,
}

/// Reads one datagram, or several of equal length from one sender. Never blocks. `None` for what is cut short
/// by the buffer or has a sender of another kind.
pub(super) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<Train>> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::uninit();
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: a msghdr is plain numbers and pointers, for which zero is valid.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: all pointers in the header are to live memory of the lengths given, and the kernel writes to
    // it during the call only.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let Ok(len) = usize::try_from(count) else {
        return Err(io::Error::last_os_error());
    };
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Ok(None);
    }
    // SAFETY: the kernel has filled in a name of `msg_namelen` bytes.
    let Some(from) = (unsafe { sender(&name, header.msg_namelen) }) else {
        return Ok(None);
    };
    // SAFETY: the header is the one that the kernel has just filled in, and `control` lives.
    let segment = unsafe { segment(&header) }
        .filter(|segment| *segment > 0)
        .unwrap_or(len);
    Ok(Some(Train { from, len, segment }))
}

/// The same for one datagram, from a socket that joins none.
#[inline]
pub(super) fn receive_alone(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<Train>> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let room = into.len();
    let (_, len, from) = rustix::net::recvfrom(socket, into, flags)?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
    Ok(from.filter(|_| len <= room).map(|from| Train {
        from: super::link_address(from),
        len,
        segment: len,
    }))
}

/// Aligned for control messages.
#[repr(align(8))]
struct Control([u8; CONTROL]);

/// SAFETY: `name` must hold `len` bytes written by the kernel.
unsafe fn sender(
    name: &MaybeUninit<libc::sockaddr_storage>,
    len: libc::socklen_t,
) -> Option<LinkAddress> {
    let len = len as usize;
    if len < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the family is the first field of every address and has been written.
    let family = unsafe { (*name.as_ptr()).ss_family };
    match i32::from(family) {
        libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: an address of this family and length is a sockaddr_in; the storage is aligned for it.
            let address = unsafe { &*name.as_ptr().cast::<libc::sockaddr_in>() };
            let octets = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).octets();
            Some(LinkAddress::ipv4(octets, u16::from_be(address.sin_port)))
        }
        libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above, for sockaddr_in6.
            let address = unsafe { &*name.as_ptr().cast::<libc::sockaddr_in6>() };
            let octets = Ipv6Addr::from(address.sin6_addr.s6_addr).octets();
            let port = u16::from_be(address.sin6_port);
            Some(LinkAddress::ipv6(octets, port, address.sin6_scope_id))
        }
        _ => None,
    }
}

/// The length of the segments, if the kernel has joined some.
///
/// SAFETY: `header` must be as the kernel left it, with its control memory alive.
unsafe fn segment(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the macros stay within `msg_controllen`, which the kernel has set to what it wrote.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // The control memory holds few messages of at least a header each.
    for _ in 0..CONTROL / size_of::<libc::cmsghdr>() {
        // SAFETY: null at the end, otherwise a header inside the control memory.
        let current = unsafe { message.as_ref() }?;
        if current.cmsg_level == libc::SOL_UDP && current.cmsg_type == libc::UDP_GRO {
            // SAFETY: the kernel puts an int there; it may be unaligned.
            let value = unsafe {
                libc::CMSG_DATA(message)
                    .cast::<libc::c_int>()
                    .read_unaligned()
            };
            return usize::try_from(value).ok();
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

const CONTROL: usize = 64;
