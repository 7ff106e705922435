//! Packets as UDP datagrams, in trains: the kernel cuts what is sent and joins what has arrived (GSO, GRO).

mod joining;
mod receive;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use abi::LinkAddress;
use abi::link_address::Internet;
use joining::Joining;
use quinn_udp::{Transmit, UdpSocketState};
use receive::Train;
use rustix::net::SendFlags;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{DriverError, PacketDriver, Properties, ReceiveBatch, driver, socket_option};

/// One UDP socket, bound to one address of one link.
///
/// Datagrams are never fragmented. Safe to use from several threads at once.
#[derive(Debug)]
pub struct UdpDriver {
    socket: Socket,
    state: UdpSocketState,
    properties: Properties,
    local: SocketAddr,
    /// Where link-local addresses are looked for; 0 if there is no such link.
    scope: u32,
    /// The only peer, to which the socket is connected.
    focus: Mutex<Option<SocketAddr>>,
    joining: Mutex<Joining>,
    /// A socket that chose its port itself would lose it with its peer.
    keeps_port: bool,
    /// The network device that it is bound to.
    device: Option<String>,
}

impl UdpDriver {
    /// Binds a socket to `local` (port 0: any free one) and, where `device` is given, to that network device.
    ///
    /// Packets then neither leave nor enter by another device, whatever the routing table says. A link-local IPv6
    /// address without a scope id gets that of the device. The same holds for the addresses that packets are sent
    /// to: the scope id of a peer's link-local address means nothing here, but the link does.
    ///
    /// # Errors
    ///
    /// What the system says: `EADDRINUSE`, `EADDRNOTAVAIL` for an address that this machine does not have,
    /// `ENODEV` for an unknown device, `EPERM` where binding to a device is not allowed.
    pub fn bind(local: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(device) = device {
            prefer(&socket, local.is_ipv4(), device)?;
            socket.bind_device(Some(device.as_bytes()))?;
        }
        let scope = scope(&local, &socket, device)?;
        let local = within(local, scope);
        socket.bind(&local.into())?;
        // quinn-udp finds out what the kernel can do. It also asks for marks, times and addresses with each
        // datagram, at which nobody here looks and which cost time, so it gets a socket of its own for it.
        let probe = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        let state = UdpSocketState::new((&probe).into())?;
        socket.set_nonblocking(true)?;
        prepare(socket.as_fd(), local.is_ipv4())?;
        socket_option::enlarge_buffers(socket.as_fd(), BUFFER);
        let keeps_port = local.port() != 0;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let properties = Properties {
            max_frame: if local.is_ipv4() { UDP4_MAX } else { UDP6_MAX },
            reliable: false,
            ordered: false,
            trusted: false,
            segments_max: state.max_gso_segments(),
        };
        Ok(Self {
            socket,
            state,
            properties,
            local,
            scope,
            focus: Mutex::new(None),
            joining: Mutex::new(Joining::new()),
            keeps_port,
            device: device.map(str::to_owned),
        })
    }

    /// The address and port that the socket is bound to.
    #[must_use]
    pub fn local_socket_address(&self) -> SocketAddr {
        self.local
    }

    fn reach(&self, to: &LinkAddress) -> Option<SocketAddr> {
        socket_address(to).map(|to| within(to, self.scope))
    }

    fn send_train(
        &self,
        to: SocketAddr,
        train: &[u8],
        segment: usize,
    ) -> Result<bool, DriverError> {
        if train.len() <= segment {
            return self.send_one(to, train);
        }
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: train,
            segment_size: Some(segment),
            src_ip: None,
        };
        self.despite_reports(|| self.state.try_send((&self.socket).into(), &transmit))
    }

    /// Without the control messages that quinn-udp adds to every datagram.
    #[inline]
    fn send_one(&self, to: SocketAddr, packet: &[u8]) -> Result<bool, DriverError> {
        let connected = *self.focus.lock().unwrap_or_else(PoisonError::into_inner) == Some(to);
        self.despite_reports(|| {
            // The kernel looks for the way to an address with each datagram, but only once for a connection.
            if connected {
                rustix::net::send(&self.socket, packet, SendFlags::DONTWAIT)?;
            } else {
                rustix::net::sendto(&self.socket, packet, SendFlags::DONTWAIT, &to)?;
            }
            Ok(())
        })
    }

    /// A pending report about an earlier datagram takes the place of the next one, which is sent again then.
    #[inline]
    fn despite_reports(
        &self,
        mut send: impl FnMut() -> io::Result<()>,
    ) -> Result<bool, DriverError> {
        for _ in 0..SEND_ATTEMPTS {
            match send().map_err(DriverError::from) {
                Ok(()) => return Ok(true),
                Err(DriverError::WouldBlock) => return Ok(false),
                Err(DriverError::NoPeer) => {}
                Err(other) => return Err(other),
            }
        }
        Err(DriverError::NoPeer)
    }
}

impl PacketDriver for UdpDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        if segment == 0 {
            return Err(DriverError::Io(libc::EINVAL));
        }
        if segment.min(bytes.len()) > self.properties.max_frame {
            return Err(DriverError::TooBig(self.properties.max_frame));
        }
        let to = self.reach(to).ok_or(DriverError::NoPeer)?;
        if !bytes.is_empty() && bytes.len() <= segment {
            let sent = self.send_one(to, bytes)?;
            return Ok(if sent { bytes.len() } else { 0 });
        }
        // Read each time: the count drops to 1 when a device turns out not to support offload.
        let segments = self
            .state
            .max_gso_segments()
            .min(self.properties.max_frame / segment)
            .max(1);
        let trains = bytes.chunks(segments * segment);
        driver::send_trains(trains, |train| self.send_train(to, train, segment))
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        let slots = batch.buffer.len() / ReceiveBatch::SLOT;
        for slot in 0..slots {
            let start = slot * ReceiveBatch::SLOT;
            let Some(train) = self.read(&mut batch.buffer[start..start + ReceiveBatch::SLOT])?
            else {
                break;
            };
            for at in (0..train.len).step_by(train.segment.max(1)) {
                batch.push(train.from, start + at, train.segment.min(train.len - at));
            }
            // A short read is usually the last one; asking again would cost a small message more than
            // waking up again costs a busy socket.
            if train.len < TRAIN_LONG {
                break;
            }
        }
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn focus(&self, peer: Option<&LinkAddress>) {
        let peer = peer.and_then(|peer| self.reach(peer));
        let mut focus = self.focus.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.keeps_port || *focus == peer {
            return;
        }
        let result = match peer {
            Some(peer) => rustix::net::connect(&self.socket, &peer),
            None => self.disconnect(),
        };
        // Unconnected it works as well, only slower; connected to another peer it would not.
        *focus = if result.is_ok() { peer } else { None };
        if result.is_err() {
            let _ = self.disconnect();
        }
    }

    fn local_address(&self) -> LinkAddress {
        link_address(self.local)
    }

    fn backlog(&self) -> Option<usize> {
        socket_option::unsent_bytes(self.socket.as_fd())
    }
}

impl UdpDriver {
    /// Linux takes the device away with the peer.
    fn disconnect(&self) -> rustix::io::Result<()> {
        rustix::net::connect_unspec(&self.socket)?;
        let Some(device) = &self.device else {
            return Ok(());
        };
        let bound = self.socket.bind_device(Some(device.as_bytes()));
        bound.map_err(|error| {
            rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
        })
    }

    #[inline]
    fn read(&self, into: &mut [u8]) -> Result<Option<Train>, DriverError> {
        let mut joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..RECEIVE_ATTEMPTS {
            match joining
                .read(self.socket.as_fd(), into)
                .map_err(DriverError::from)
            {
                Ok(Some(train)) => return Ok(Some(train)),
                Err(DriverError::WouldBlock) => return Ok(None),
                // A report about a datagram sent earlier, or a datagram that is nobody's.
                Ok(None) | Err(DriverError::NoPeer | DriverError::TooBig(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }
}

/// The scope id of link-local addresses on the link of `local`.
fn scope(local: &SocketAddr, socket: &Socket, device: Option<&str>) -> io::Result<u32> {
    match (local, device) {
        (SocketAddr::V6(own), _) if own.scope_id() != 0 => Ok(own.scope_id()),
        (SocketAddr::V6(_), Some(device)) => {
            Ok(rustix::net::netdevice::name_to_index(socket, device)?)
        }
        _ => Ok(0),
    }
}

fn within(address: SocketAddr, scope: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(mut there) if scope != 0 && there.ip().is_unicast_link_local() => {
            there.set_scope_id(scope);
            there.into()
        }
        other => other,
    }
}

/// The link address of an Internet address and port.
#[must_use]
pub fn link_address(address: SocketAddr) -> LinkAddress {
    match address {
        SocketAddr::V4(v4) => LinkAddress::ipv4(v4.ip().octets(), v4.port()),
        SocketAddr::V6(v6) => LinkAddress::ipv6(v6.ip().octets(), v6.port(), v6.scope_id()),
    }
}

/// The Internet address and port of a link address, `None` if it is of another kind.
#[must_use]
pub fn socket_address(address: &LinkAddress) -> Option<SocketAddr> {
    Some(match address.internet()? {
        Internet::V4(octets, port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::from(octets)), port),
        Internet::V6(octets, port, scope) => {
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope))
        }
    })
}

/// Names the device by which packets leave while the socket is bound to none: for a moment, when it loses its peer.
fn prefer(socket: &Socket, is_ipv4: bool, device: &str) -> io::Result<()> {
    let (level, name) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_UNICAST_IF)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF)
    };
    let index = rustix::net::netdevice::name_to_index(socket, device)?;
    // The kernel wants it in network byte order.
    socket_option::set(socket.as_fd(), level, name, index.to_be().cast_signed())
}

/// No fragments, and trains where the kernel can.
fn prepare(socket: BorrowedFd<'_>, is_ipv4: bool) -> io::Result<()> {
    if is_ipv4 {
        let probe = libc::IP_PMTUDISC_PROBE;
        socket_option::set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
    } else {
        let probe = libc::IPV6_PMTUDISC_PROBE;
        socket_option::set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        socket_option::set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
    }
    // Older kernels cannot join datagrams; the driver works without.
    let _ = socket_option::set(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    Ok(())
}

/// Largest UDP payload over IPv4 and IPv6 in bytes.
const UDP4_MAX: usize = 65_507;
const UDP6_MAX: usize = 65_527;
/// From here on a read is one of several, most likely.
const TRAIN_LONG: usize = 16 * 1024;
const BUFFER: i32 = 4 * 1024 * 1024;
const SEND_ATTEMPTS: usize = 2;
/// Reports about earlier datagrams that one receive skips.
const RECEIVE_ATTEMPTS: usize = 8;
