//! Which of our sockets speaks to which of the peer's.

use alloc::vec::Vec;

use abi::LinkAddress;
use abi::link_address::Internet;
use abi::system::peer::Introduce;
use abi::system::{Lane, Protection, SocketOnLink};

use crate::interface::LinkConfig;
use crate::limits::LINKS_MAX;

/// Bits that two addresses must share to be tried as a lane beside the one that is known to work: hosts of one
/// organisation are that near, and a lane that leads nowhere only costs probes.
const NEAR_V4: u32 = 16;
const NEAR_V6: u32 = 48;

/// A lane between a client elsewhere and a server here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LanePlan {
    id: u8,
    client_link: u8,
    client: LinkAddress,
    server_link: u8,
    mtu: u16,
}

impl LanePlan {
    pub(crate) const fn for_server(&self) -> Lane {
        Lane {
            id: self.id,
            link: self.server_link,
            peer: self.client,
            mtu: self.mtu,
            protection: Protection::Sealed,
        }
    }

    /// The same lane for the client, once the server has named its sockets.
    pub(crate) fn for_client(&self, sockets: &[SocketOnLink]) -> Option<Lane> {
        let socket = sockets
            .iter()
            .find(|socket| socket.link == self.server_link)?;
        Some(Lane {
            id: self.id,
            link: self.client_link,
            peer: socket.address,
            mtu: self.mtu,
            protection: Protection::Sealed,
        })
    }
}

/// Pairs each of the client's sockets with one of our links: first the pair that the node channel uses, then the
/// nearest addresses; every link is used once.
pub(crate) fn plan(
    links: &[LinkConfig],
    introduce: &Introduce,
    working: Option<(u8, LinkAddress)>,
) -> Vec<LanePlan> {
    let mut pairs = Vec::new();
    for (socket, mtu) in introduce.sockets.iter().zip(&introduce.mtu).take(LINKS_MAX) {
        for (link, index) in links.iter().zip(0_u8..) {
            let works =
                working.is_some_and(|(l, peer)| l == index && same_host(&peer, &socket.address));
            let Some(shared) = shared_bits(&link.address, &socket.address) else {
                continue;
            };
            if works || near(&link.address, shared) {
                let nearness = if works { u32::MAX } else { shared };
                pairs.push((
                    core::cmp::Reverse(nearness),
                    socket.link,
                    index,
                    socket.address,
                    mtu.bytes.min(link.mtu),
                ));
            }
        }
    }
    pairs.sort_unstable();
    let mut lanes: Vec<LanePlan> = Vec::new();
    for (_, client_link, server_link, client, mtu) in pairs {
        let used = lanes
            .iter()
            .any(|lane| lane.client_link == client_link || lane.server_link == server_link);
        if !used {
            lanes.push(LanePlan {
                id: lanes.len() as u8,
                client_link,
                client,
                server_link,
                mtu,
            });
        }
    }
    lanes
}

/// Which link reaches an address best: the one whose own address shares most bits with it.
pub(crate) fn nearest_link(links: &[LinkConfig], address: &LinkAddress) -> Option<u8> {
    let shared = |link: &LinkConfig| shared_bits(&link.address, address);
    let best = links
        .iter()
        .zip(0_u8..)
        .filter_map(|(link, index)| Some((shared(link)?, core::cmp::Reverse(index))));
    best.max().map(|(_, index)| index.0)
}

/// Whether two addresses differ in the port at most.
pub(crate) fn same_host(a: &LinkAddress, b: &LinkAddress) -> bool {
    match (a.internet(), b.internet()) {
        (Some(Internet::V4(a, _)), Some(Internet::V4(b, _))) => a == b,
        (Some(Internet::V6(a, ..)), Some(Internet::V6(b, ..))) => a == b,
        _ => match (a.as_ethernet(), b.as_ethernet()) {
            (Some(a), Some(b)) => a.mac == b.mac,
            _ => a == b,
        },
    }
}

/// Leading bits that two addresses of one kind share; `None` for different kinds.
pub(crate) fn shared_bits(a: &LinkAddress, b: &LinkAddress) -> Option<u32> {
    if a.as_ethernet().is_some() && b.as_ethernet().is_some() {
        // Hardware addresses say nothing of who hears whom.
        return Some(0);
    }
    match (a.internet()?, b.internet()?) {
        (Internet::V4(a, _), Internet::V4(b, _)) => Some(leading(&a, &b)),
        (Internet::V6(a, ..), Internet::V6(b, ..)) => Some(leading(&a, &b)),
        _ => None,
    }
}

fn leading(a: &[u8], b: &[u8]) -> u32 {
    let mut bits = 0;
    for (a, b) in a.iter().zip(b) {
        bits += (a ^ b).leading_zeros();
        if a != b {
            break;
        }
    }
    bits
}

pub(crate) fn near(address: &LinkAddress, shared: u32) -> bool {
    shared
        >= if matches!(address.internet(), Some(Internet::V4(..))) {
            NEAR_V4
        } else {
            NEAR_V6
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::system::LinkKind;
    use abi::system::peer::Mtu;
    use abi::{Credentials, Incarnation, Pid, SessionId};
    use alloc::string::String;
    use alloc::vec;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> LinkAddress {
        LinkAddress::ipv4([a, b, c, d], 9)
    }

    fn links(addresses: &[LinkAddress]) -> Vec<LinkConfig> {
        let link = |&address| LinkConfig::new(String::new(), LinkKind::Udp, address, 1472);
        addresses.iter().map(link).collect()
    }

    fn introduce(addresses: &[LinkAddress]) -> Introduce {
        let sockets = addresses
            .iter()
            .zip(0..)
            .map(|(&address, link)| SocketOnLink { link, address });
        Introduce {
            client: SessionId(1),
            nonce: [0; 16],
            credentials: Credentials::default(),
            incarnation: Incarnation(0),
            target: Pid(2),
            sockets: sockets.collect(),
            mtu: vec![Mtu { bytes: 9000 }; addresses.len()],
        }
    }

    #[test]
    fn links_of_the_same_network_are_paired() {
        let links = links(&[v4(127, 0, 1, 2), v4(127, 0, 2, 2)]);
        let client = introduce(&[v4(127, 0, 2, 1), v4(127, 0, 1, 1)]);
        let pairs: Vec<_> = plan(&links, &client, None)
            .iter()
            .map(|l| (l.client_link, l.server_link, l.mtu))
            .collect();
        assert_eq!(pairs, [(0, 1, 1472), (1, 0, 1472)]);
    }

    #[test]
    fn the_way_that_works_comes_first_and_strangers_are_left_out() {
        let links = links(&[v4(10, 0, 0, 1), v4(192, 168, 1, 1)]);
        let client = introduce(&[v4(172, 16, 0, 9), v4(10, 0, 0, 2)]);
        let working = Some((1, LinkAddress::ipv4([172, 16, 0, 9], 41_000)));
        let pairs: Vec<_> = plan(&links, &client, working)
            .iter()
            .map(|l| (l.id, l.client_link, l.server_link))
            .collect();
        assert_eq!(pairs, [(0, 0, 1), (1, 1, 0)]);
        let pairs = plan(&links, &introduce(&[v4(172, 16, 0, 9)]), None);
        assert!(
            pairs.is_empty(),
            "nothing is near, and nothing is known to work"
        );
    }

    #[test]
    fn an_address_goes_over_the_link_nearest_to_it() {
        let links = links(&[v4(127, 0, 1, 1), v4(127, 0, 2, 1)]);
        assert_eq!(nearest_link(&links, &v4(127, 0, 2, 7)), Some(1));
        assert_eq!(nearest_link(&links, &v4(10, 0, 2, 7)), Some(0));
        assert_eq!(
            nearest_link(&links, &LinkAddress::ipv6([1; 16], 1, 0)),
            None
        );
    }

    #[test]
    fn a_server_without_a_socket_on_the_link_has_no_lane() {
        let links = links(&[v4(127, 0, 1, 2)]);
        let lanes = plan(&links, &introduce(&[v4(127, 0, 1, 1)]), None);
        let socket = SocketOnLink {
            link: 0,
            address: LinkAddress::ipv4([127, 0, 1, 2], 5555),
        };
        assert_eq!(
            lanes[0].for_client(&[socket]).map(|lane| lane.peer),
            Some(socket.address)
        );
        assert_eq!(lanes[0].for_client(&[]), None);
    }
}
