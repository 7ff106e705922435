//! The endpoint's own sockets, one for each link of its node that it has used.

use std::net::SocketAddr;
use std::sync::Arc;

use abi::system::NodeLink;
use abi::{Errno, LinkAddress, Result};
use drivers::{PacketDriver, UdpDriver, udp};
use transport::LinkIndex;

use crate::shared::{State, epoll_fd};

/// The endpoint's own sockets, by the daemon's number of the link.
#[derive(Default)]
pub(crate) struct UdpSockets {
    sockets: Vec<(u8, LinkAddress, LinkIndex)>,
}

impl State {
    /// The socket on a link of the node, opened on first use, and its address.
    pub(crate) fn socket_on(&mut self, index: u8) -> Result<(LinkIndex, LinkAddress)> {
        let link = self
            .node
            .links
            .iter()
            .find(|link| link.index == index)
            .ok_or(Errno::ENETDOWN)?;
        let known = |(at, address, _): &&(u8, LinkAddress, LinkIndex)| {
            *at == index && is_same_host(*address, link.address)
        };
        if let Some((_, address, link)) = self.node.sockets.sockets.iter().find(known) {
            return Ok((*link, *address));
        }
        let driver: Arc<dyn PacketDriver> = Arc::new(bind(link)?);
        let address = driver.local_address();
        let epoll = Arc::clone(&self.epoll);
        let link = self.links.add(epoll_fd(&epoll), driver)?;
        self.node.sockets.sockets.push((index, address, link));
        Ok((link, address))
    }
}

/// A socket at the link's address, on one of the ports that a firewall is asked to let through.
fn bind(link: &NodeLink) -> Result<UdpDriver> {
    let mut address = udp::socket_address(&link.address).ok_or(Errno::EAFNOSUPPORT)?;
    let device = std::str::from_utf8(&link.device)
        .ok()
        .filter(|device| !device.is_empty());
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|_| Errno::EIO)?;
    let start = u16::from_le_bytes(random);
    for attempt in 0..PORTS {
        address.set_port(FIRST_PORT + start.wrapping_add(attempt) % PORTS);
        match UdpDriver::bind(address, device) {
            Ok(driver) => return Ok(driver),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EADDRINUSE)
}

fn is_same_host(a: LinkAddress, b: LinkAddress) -> bool {
    let ip = |address| udp::socket_address(&address).as_ref().map(SocketAddr::ip);
    ip(a) == ip(b)
}

/// Ports that programs use; the port before them is the node's own.
const FIRST_PORT: u16 = abi::system::NODE_PORT + 1;
const PORTS: u16 = 999;
