//! Packets in Ethernet frames of a type of their own: needs no Internet address on either side.

mod frame;
mod interface;
mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::LinkAddress;
use abi::link_address::Ethernet;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use socket2::Socket;

use crate::{DriverError, PacketDriver, Properties, ReceiveBatch, socket_option};
pub use frame::{ETHER_TYPE, Header};
use interface::Interface;
use socket::Attempt;

/// One port of one Ethernet interface.
///
/// Frames go to the hardware address of the peer, in the type [`ETHER_TYPE`], behind a [`Header`] with both ports.
/// The kernel hands over only frames of this port. Safe to use from several threads at once.
#[derive(Debug)]
pub struct EthernetDriver {
    socket: Socket,
    interface: Interface,
    local: Ethernet,
    properties: Properties,
    /// Packets that the next read will most likely find.
    expected: AtomicUsize,
    /// Nobody else on this interface takes the port while this is open.
    _claim: OwnedFd,
}

impl EthernetDriver {
    /// Opens `port` (0: any free one from 32768 on) of the Ethernet interface of this name, in the network namespace of
    /// this thread.
    ///
    /// The largest frame is what the interface carries now (its MTU) less [`Header::LEN`].
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without the right `CAP_NET_RAW` in the network namespace, `AddrInUse` for a port that
    /// another process has, `NotFound` for an unknown interface, `Unsupported` for one that is no Ethernet; otherwise
    /// what the system says.
    pub fn open(interface: &str, port: u16) -> io::Result<Self> {
        let interface = Interface::find(interface)?;
        let (port, claim) = claim(&interface, port)?;
        let socket = socket::open(&interface, &frame::filter(port))?;
        socket_option::enlarge_buffers(socket.as_fd(), BUFFER);
        let max_frame = max_frame(interface.mtu()?);
        Ok(Self {
            socket,
            local: Ethernet {
                mac: interface.mac(),
                port,
            },
            interface,
            properties: Properties {
                max_frame,
                reliable: false,
                ordered: false,
                trusted: false,
                segments_max: 1,
            },
            expected: AtomicUsize::new(EXPECTED_MIN),
            _claim: claim,
        })
    }

    /// The hardware address and port of this end.
    #[must_use]
    pub fn local_ethernet(&self) -> Ethernet {
        self.local
    }

    fn header(&self, to: u16, len: usize) -> [u8; Header::LEN] {
        Header {
            to,
            from: self.local.port,
            len: len as u16,
        }
        .encode()
    }

    fn too_big(&self) -> DriverError {
        // The interface may carry less than when it was opened.
        let now = self.interface.mtu().map_or(0, max_frame);
        DriverError::TooBig(now.min(self.properties.max_frame))
    }
}

impl PacketDriver for EthernetDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        if segment == 0 {
            return Err(DriverError::Io(libc::EINVAL));
        }
        if segment.min(bytes.len()) > self.properties.max_frame {
            return Err(self.too_big());
        }
        let to = to.as_ethernet().ok_or(DriverError::NoPeer)?;
        let address = self.interface.address(to.mac);
        let whole = self.header(to.port, segment);
        let mut accepted = 0;
        while accepted < bytes.len() {
            let rest = &bytes[accepted..];
            let group = &rest[..rest.len().min(segment * socket::GROUP)];
            // Only the last packet of a train may be shorter.
            let last = self.header(to.port, (group.len() - 1) % segment + 1);
            let (count, tried) =
                socket::send(&self.socket, &address, [&whole, &last], group, segment);
            accepted += (count * segment).min(group.len());
            match tried {
                Attempt::Done => {}
                Attempt::Full => break,
                // The queue of the interface has dropped it, as the network may.
                Attempt::Dropped => accepted += segment.min(bytes.len() - accepted),
                // What went before stays accepted; the error comes back with the next call.
                Attempt::Failed(_later) if accepted > 0 => break,
                Attempt::Failed(DriverError::TooBig(_)) => return Err(self.too_big()),
                Attempt::Failed(error) => return Err(error),
            }
        }
        Ok(accepted)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        let stride = self.properties.max_frame;
        let places = batch.buffer.len() / stride;
        let mut used = 0;
        while used < places {
            let asked = self.expected.load(Ordering::Relaxed).min(places - used);
            let room = &mut batch.buffer[used * stride..(used + asked) * stride];
            let mut arrived = [socket::Arrived::default(); socket::GROUP];
            let count = socket::receive(&self.socket, room, stride, &mut arrived[..asked])?;
            for (place, frame) in arrived[..count].iter().enumerate() {
                if let Some(len) = frame.packet_len(self.local.port) {
                    let from = LinkAddress::ethernet(frame.mac, frame.header().from);
                    batch.push(from, (used + place) * stride, len);
                }
            }
            used += count;
            let next = if count == asked { asked * 2 } else { count + 1 };
            let next = next.clamp(EXPECTED_MIN, socket::GROUP);
            self.expected.store(next, Ordering::Relaxed);
            // Frames that are nobody's must not look like the end.
            if count < asked {
                break;
            }
        }
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn local_address(&self) -> LinkAddress {
        LinkAddress::ethernet(self.local.mac, self.local.port)
    }

    fn backlog(&self) -> Option<usize> {
        socket_option::unsent_bytes(self.socket.as_fd())
    }
}

/// The kernel gives a frame to every packet socket that wants it, so nothing but a name in the network namespace
/// keeps two processes from using one port.
fn claim(interface: &Interface, port: u16) -> io::Result<(u16, OwnedFd)> {
    if port != 0 {
        return Ok((port, claim_one(interface, port)?));
    }
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..CLAIM_ATTEMPTS {
        let mut random = [0; 2];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let port = u16::from_le_bytes(random) | ANY_PORT;
        match claim_one(interface, port) {
            Ok(claim) => return Ok((port, claim)),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

fn claim_one(interface: &Interface, port: u16) -> io::Result<OwnedFd> {
    let name = format!("slashnet-ethernet/{}/{port}", interface.index());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let claim = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&claim, &address)?;
    Ok(claim)
}

fn max_frame(mtu: usize) -> usize {
    mtu.saturating_sub(Header::LEN).clamp(1, ReceiveBatch::SLOT)
}

const BUFFER: i32 = 4 * 1024 * 1024;
/// A small answer is one packet; room for more costs a little for each.
const EXPECTED_MIN: usize = 2;
/// Ports that are given to those who ask for any.
const ANY_PORT: u16 = 0x8000;
const CLAIM_ATTEMPTS: usize = 32;
