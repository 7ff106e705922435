//! The endpoint's own places on the links of its node: a socket each, or a share of the relay.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use abi::system::{LinkKind, NodeLink};
use abi::{Errno, LinkAddress, Result};
use drivers::{EthernetDriver, NeighbourDriver, PacketDriver, UdpDriver, udp};
use transport::LinkIndex;

use crate::shared::{State, epoll_fd};

/// The endpoint's own places on links.
#[derive(Default)]
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<Socket>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    /// The node's number of the link.
    pub(crate) node_link: u8,
    /// Of the link when the socket was made.
    pub(crate) epoch: u32,
    /// The link's own address then.
    pub(crate) host: LinkAddress,
    /// Where peers reach this endpoint.
    pub(crate) address: LinkAddress,
    pub(crate) link: LinkIndex,
    pub(crate) is_up: bool,
    /// It is a share of the relay.
    pub(crate) is_relayed: bool,
}

impl Sockets {
    /// The node's number of a link, if a socket of the endpoint is on it.
    pub(crate) fn node_link(&self, link: LinkIndex) -> u8 {
        let socket = self.sockets.iter().find(|socket| socket.link == link);
        socket.map_or(NO_LINK, |socket| socket.node_link)
    }
}

impl State {
    /// The socket on a link of the node, opened on first use, and its address.
    pub(crate) fn socket_on(&mut self, index: u8) -> Result<(LinkIndex, LinkAddress)> {
        let known = |socket: &&Socket| socket.node_link == index;
        if let Some(socket) = self.node.sockets.sockets.iter().find(known) {
            return Ok((socket.link, socket.address));
        }
        let node_link = self.node.links.iter().find(|link| link.index == index);
        let node_link = node_link.ok_or(Errno::ENETDOWN)?.clone();
        let driver = self.driver_on(&node_link, None)?;
        let address = driver.local_address();
        let epoll = Arc::clone(&self.epoll);
        let link = self.links.add(epoll_fd(&epoll), driver)?;
        self.node.sockets.sockets.push(Socket {
            node_link: index,
            epoch: node_link.epoch,
            host: node_link.address.with_port(0),
            address,
            link,
            is_up: true,
            is_relayed: self.node.is_relayed(&node_link),
        });
        Ok((link, address))
    }

    /// A fresh driver for a link of the node, on the port that peers know if that is free.
    pub(crate) fn driver_on(
        &self,
        link: &NodeLink,
        port: Option<u16>,
    ) -> Result<Arc<dyn PacketDriver>> {
        if self.node.is_relayed(link) {
            return self.node.relay.driver(link);
        }
        Ok(match link.kind {
            LinkKind::Udp => Arc::new(bind(link, port)?),
            LinkKind::Ethernet => {
                let name = std::str::from_utf8(&link.device).map_err(|_| Errno::ENODEV)?;
                Arc::new(EthernetDriver::open(name, port.unwrap_or(0))?)
            }
            LinkKind::Memory => {
                let place = link.address.as_neighbour().ok_or(Errno::EAFNOSUPPORT)?;
                let directory = Path::new(OsStr::from_bytes(&link.device));
                let port = port.unwrap_or(0);
                Arc::new(NeighbourDriver::open(directory, place.host, port)?)
            }
        })
    }
}

/// A socket at the link's address, on one of the ports that a firewall is asked to let through.
fn bind(link: &NodeLink, port: Option<u16>) -> Result<UdpDriver> {
    let mut address = udp::socket_address(&link.address).ok_or(Errno::EAFNOSUPPORT)?;
    let device = std::str::from_utf8(&link.device)
        .ok()
        .filter(|device| !device.is_empty());
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|_| Errno::EIO)?;
    let start = u16::from_le_bytes(random);
    let others = (0..PORTS).map(|attempt| FIRST_PORT + start.wrapping_add(attempt) % PORTS);
    for port in port.into_iter().chain(others) {
        address.set_port(port);
        match UdpDriver::bind(address, device) {
            Ok(driver) => return Ok(driver),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EADDRINUSE)
}

/// The number of no link of the node.
pub(crate) const NO_LINK: u8 = u8::MAX;
/// Ports that programs use; the port before them is the node's own.
const FIRST_PORT: u16 = abi::system::NODE_PORT + 1;
const PORTS: u16 = 999;
