//! Questions to the kernel about one interface.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::frame::ETHER_TYPE;

/// An Ethernet interface, as it was when it was found.
#[derive(Debug)]
pub(super) struct Interface {
    name: [libc::c_char; libc::IFNAMSIZ],
    index: i32,
    mac: [u8; MAC],
    /// Any socket of the network namespace will do for questions.
    socket: OwnedFd,
}

impl Interface {
    pub(super) fn find(name: &str) -> io::Result<Self> {
        let unknown = || {
            let text = format!("no network interface '{name}'");
            io::Error::new(io::ErrorKind::NotFound, text)
        };
        let mut places = [0; libc::IFNAMSIZ];
        if name.is_empty() || name.len() >= places.len() || name.contains('\0') {
            return Err(unknown());
        }
        for (place, byte) in places.iter_mut().zip(name.bytes()) {
            *place = byte.cast_signed() as libc::c_char;
        }
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let mut found = Self {
            name: places,
            index: 0,
            mac: [0; MAC],
            socket,
        };
        let answer = found.ask(libc::SIOCGIFINDEX).map_err(|_none| unknown())?;
        // SAFETY: this is the field that the kernel fills in for this question.
        found.index = unsafe { answer.ifr_ifru.ifru_ifindex };
        let answer = found.ask(libc::SIOCGIFHWADDR)?;
        // SAFETY: this is the field that the kernel fills in for this question.
        let hardware = unsafe { answer.ifr_ifru.ifru_hwaddr };
        if ![libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&hardware.sa_family) {
            let text = format!("the network interface '{name}' is no Ethernet");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        for (byte, value) in found.mac.iter_mut().zip(hardware.sa_data) {
            *byte = value as u8;
        }
        Ok(found)
    }

    pub(super) fn index(&self) -> i32 {
        self.index
    }

    pub(super) fn mac(&self) -> [u8; MAC] {
        self.mac
    }

    /// Bytes that a frame carries now behind its Ethernet header.
    pub(super) fn mtu(&self) -> io::Result<usize> {
        let answer = self.ask(libc::SIOCGIFMTU)?;
        // SAFETY: this is the field that the kernel fills in for this question.
        let mtu = unsafe { answer.ifr_ifru.ifru_mtu };
        usize::try_from(mtu).map_err(|_negative| io::ErrorKind::InvalidData.into())
    }

    /// The place of `mac` on this interface, for frames of our type.
    pub(super) fn address(&self, mac: [u8; MAC]) -> libc::sockaddr_ll {
        let mut place = [0; 8];
        place[..MAC].copy_from_slice(&mac);
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as libc::c_ushort,
            sll_protocol: ETHER_TYPE.to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: MAC as u8,
            sll_addr: place,
        }
    }

    fn ask(&self, question: libc::Ioctl) -> io::Result<libc::ifreq> {
        // SAFETY: an ifreq is plain bytes, for which zero is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name = self.name;
        // SAFETY: the request is a whole ifreq with a name that ends in zero; the kernel writes within it only.
        let answer = unsafe { libc::ioctl(self.socket.as_raw_fd(), question, &raw mut request) };
        if answer == 0 {
            Ok(request)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

const MAC: usize = 6;
