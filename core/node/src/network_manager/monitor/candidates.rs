//! Which of our links may lead to which of a peer's.

use alloc::vec::Vec;
use core::cmp::Reverse;

use abi::LinkAddress;
use abi::link_address::Internet;
use abi::system::LaneWhy;
use abi::system::peer::PeerLink;
use transport::config::{MTU_MAX, MTU_MIN};

use crate::interface::LinkConfig;
use crate::network_manager::lanes::{is_same_network, near, shared_bits};

/// Ways between two nodes that are probed.
pub(crate) const PAIRS_MAX: usize = 16;
/// Links whose numbers fit a probe.
const LINKS: u8 = 16;

/// A way to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) ours: u8,
    pub(crate) theirs: u8,
    pub(crate) address: LinkAddress,
    pub(crate) near: bool,
    /// Both addresses are of one network by the look of them, or of a kind that has no networks.
    pub(crate) home: bool,
    pub(crate) mtu: u16,
    /// Why nothing can pass, if that is known.
    pub(crate) without: Option<LaneWhy>,
}

/// The ways between two nodes, the likeliest first.
pub(crate) fn candidates(links: &[LinkConfig], theirs: &[PeerLink]) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (link, ours) in links.iter().zip(0..LINKS) {
        for their in theirs.iter().filter(|their| their.index < LINKS) {
            let address = reachable_from(&link.address, their.address);
            let fits = link.kind == their.kind;
            let Some(shared) = shared_bits(&link.address, &address).filter(|_| fits) else {
                continue;
            };
            let without = match (link.up, their.up) {
                (false, _) => Some(LaneWhy::Carrier),
                (true, false) => Some(LaneWhy::PeerCarrier),
                (true, true) => None,
            };
            let candidate = Candidate {
                ours,
                theirs: their.index,
                address,
                near: near(&link.address, shared),
                home: link.address.internet().is_none() || is_same_network(&link.address, &address),
                mtu: common_mtu(link.mtu, their.mtu),
                without,
            };
            found.push((Reverse(shared), ours.abs_diff(their.index), candidate));
        }
    }
    found.sort_by_key(|(shared, apart, candidate)| {
        (*shared, *apart, candidate.ours, candidate.theirs)
    });
    found.truncate(PAIRS_MAX);
    found
        .into_iter()
        .map(|(_, _, candidate)| candidate)
        .collect()
}

/// The largest packet that both ends can handle. Whoever says less than everybody must carry is not believed.
pub(crate) fn common_mtu(ours: u16, theirs: u16) -> u16 {
    ours.min(theirs).clamp(MTU_MIN as u16, MTU_MAX as u16)
}

/// The address as it is written here: the scope of an IPv6 address is a matter of each machine.
pub(crate) fn reachable_from(own: &LinkAddress, theirs: LinkAddress) -> LinkAddress {
    match (own.internet(), theirs.internet()) {
        (Some(Internet::V6(_, _, ours)), Some(Internet::V6(address, port, _))) => {
            LinkAddress::ipv6(address, port, ours)
        }
        _ => theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::system::{LinkKind, Protection};
    use alloc::string::String;
    use alloc::vec;

    fn link(address: LinkAddress) -> LinkConfig {
        LinkConfig::new(String::new(), LinkKind::Udp, address, 1472)
    }

    fn peer(index: u8, address: LinkAddress) -> PeerLink {
        PeerLink {
            index,
            kind: LinkKind::Udp,
            up: true,
            address,
            mtu: 9000,
            protection: Protection::Sealed,
            speed: 0,
        }
    }

    fn v4(network: u8, host: u8) -> LinkAddress {
        LinkAddress::ipv4([10, network, 0, host], 9)
    }

    #[test]
    fn ways_within_one_network_come_first_and_others_are_tried_too() {
        let links = [link(v4(1, 1)), link(v4(2, 1))];
        let theirs = [peer(0, v4(2, 2)), peer(1, v4(1, 2))];
        let found: Vec<_> = candidates(&links, &theirs)
            .iter()
            .map(|c| (c.ours, c.theirs, c.near, c.mtu))
            .collect();
        let expected = vec![
            (0, 1, true, 1472),
            (1, 0, true, 1472),
            (0, 0, false, 1472),
            (1, 1, false, 1472),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn kinds_and_families_do_not_mix_and_there_is_a_bound() {
        let mac = |last| LinkAddress::ethernet([2, 0, 0, 0, 0, last], 9);
        let ethernet = LinkConfig::new(String::new(), LinkKind::Ethernet, mac(1), 1494);
        let links = [link(v4(1, 1)), ethernet];
        let six = peer(0, LinkAddress::ipv6([1; 16], 9, 0));
        let over = PeerLink {
            kind: LinkKind::Ethernet,
            ..peer(1, mac(2))
        };
        let pairs: Vec<_> = candidates(&links, &[six, over])
            .iter()
            .map(|c| (c.ours, c.theirs))
            .collect();
        assert_eq!(pairs, [(1, 1)]);
        let tiny = PeerLink {
            mtu: 0,
            ..peer(0, v4(1, 2))
        };
        let found = candidates(&[link(v4(1, 1))], &[tiny]);
        assert_eq!(
            u32::from(found[0].mtu),
            MTU_MIN,
            "nobody makes us send nothing"
        );
        let many: Vec<_> = (0..16).map(|n| link(v4(n, 1))).collect();
        let theirs: Vec<_> = (0..16).map(|n| peer(n, v4(n, 2))).collect();
        assert_eq!(candidates(&many, &theirs).len(), PAIRS_MAX);
    }

    #[test]
    fn the_scope_of_an_address_is_ours() {
        let own = LinkAddress::ipv6([0xfe; 16], 1, 3);
        let theirs = LinkAddress::ipv6([0xfe; 16], 2, 7);
        assert_eq!(
            reachable_from(&own, theirs),
            LinkAddress::ipv6([0xfe; 16], 2, 3)
        );
        let found = candidates(&[link(own)], &[peer(0, theirs)]);
        assert_eq!(found[0].address, LinkAddress::ipv6([0xfe; 16], 2, 3));
    }
}
