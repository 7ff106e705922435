//! Which of our sockets speaks to which of the peer's.

use alloc::vec::Vec;
use core::cmp::Reverse;

use abi::LinkAddress;
use abi::link_address::Internet;
use abi::system::peer::{Introduce, Mtu, PeerLink};
use abi::system::{Lane, LaneState, LaneWhy, Protection, SocketOnLink};

use super::monitor::{WayState, common_mtu, reachable_from};
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
    protection: Protection,
}

impl LanePlan {
    pub(crate) const fn for_server(&self) -> Lane {
        Lane {
            id: self.id,
            link: self.server_link,
            peer: self.client,
            mtu: self.mtu,
            protection: self.protection,
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
            protection: self.protection,
        })
    }
}

/// What is known of the ways to the client's node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// From the monitor.
    pub(crate) ways: &'a [WayState],
    /// What the client's node says of its links.
    pub(crate) theirs: &'a [PeerLink],
    /// The way that the node channel was made over.
    pub(crate) working: Option<(u8, LinkAddress)>,
}

/// How likely it is that a lane works; the likeliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Prospect {
    Works,
    Unknown,
    MayReturn,
}

impl Known<'_> {
    /// What may be expected of a lane; `None` if it leads nowhere.
    fn prospect(&self, ours: u8, link: &LinkAddress, socket: &SocketOnLink) -> Option<Prospect> {
        let way = self.way(ours, socket.link);
        let shared = shared_bits(link, &socket.address)?;
        let shaken = self
            .working
            .is_some_and(|(link, peer)| link == ours && same_host(&peer, &socket.address));
        match way.map(|way| (way.row.state, way.ever_up, way.row.why)) {
            Some((LaneState::Up, ..)) => Some(Prospect::Works),
            Some((LaneState::Down, true, _)) => Some(Prospect::MayReturn),
            // Nobody has answered there so far. In one network somebody may, as soon as a cable is plugged in.
            Some((LaneState::Down, false, LaneWhy::NoAnswer)) => {
                is_same_network(link, &socket.address).then_some(Prospect::MayReturn)
            }
            Some((LaneState::Down, false, _)) => near(link, shared).then_some(Prospect::MayReturn),
            None | Some((LaneState::Init, ..)) if shaken => Some(Prospect::Works),
            None | Some((LaneState::Init, ..)) => near(link, shared).then_some(Prospect::Unknown),
        }
    }

    fn way(&self, ours: u8, theirs: u8) -> Option<&WayState> {
        self.ways
            .iter()
            .find(|way| (way.ours, way.theirs) == (ours, theirs))
    }

    fn protection(&self, link: &LinkConfig, theirs: u8) -> Protection {
        let their = self.theirs.iter().find(|their| their.index == theirs);
        let allowed = their.map_or(Protection::Sealed, |their| their.protection);
        allowed.min(weakest(link))
    }
}

/// The client's sockets, and how large a packet each of their links carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sockets<'a> {
    pub(crate) sockets: &'a [SocketOnLink],
    pub(crate) mtu: &'a [Mtu],
}

/// How good a lane would be; the least is the best.
type Rank = (Prospect, Reverse<Option<u32>>, u8);

/// Pairs each of the client's sockets with one of our links: first ways that work, then those of which nothing is
/// known, then those that may come back; every link is used once.
pub(crate) fn plan(
    links: &[LinkConfig],
    introduce: &Introduce,
    known: &Known<'_>,
) -> Vec<LanePlan> {
    let client = Sockets {
        sockets: &introduce.sockets,
        mtu: &introduce.mtu,
    };
    let mut lanes = choose(pairs(links, client, known));
    for (lane, id) in lanes.iter_mut().zip(0..) {
        lane.id = id;
    }
    lanes
}

/// What a session with these lanes can get beside them: over ways that work, between links that it does not use.
pub(crate) fn plan_more(
    links: &[LinkConfig],
    client: Sockets<'_>,
    known: &Known<'_>,
    lanes: &[Lane],
) -> Vec<LanePlan> {
    let mut pairs = pairs(links, client, known);
    let is_new = |plan: &LanePlan| {
        let same = |lane: &Lane| {
            let there = same_host(&lane.peer, &plan.client);
            lane.link == plan.server_link || there
        };
        !lanes.iter().any(same)
    };
    pairs.retain(|(rank, plan)| rank.0 == Prospect::Works && is_new(plan));
    let taken = |id: &u8| lanes.iter().any(|lane| lane.id == *id);
    let free = (0..LINKS_MAX as u8).filter(|id| !taken(id));
    let plans = choose(pairs).into_iter().zip(free);
    plans.map(|(plan, id)| LanePlan { id, ..plan }).collect()
}

fn pairs(links: &[LinkConfig], client: Sockets<'_>, known: &Known<'_>) -> Vec<(Rank, LanePlan)> {
    let mut pairs = Vec::new();
    for (socket, mtu) in client.sockets.iter().zip(client.mtu).take(LINKS_MAX) {
        for (link, index) in links.iter().zip(0_u8..) {
            let Some(prospect) = known.prospect(index, &link.address, socket) else {
                continue;
            };
            let way = known.way(index, socket.link);
            let found = way.map_or(u16::MAX, |way| way.row.mtu);
            let plan = LanePlan {
                id: 0,
                client_link: socket.link,
                client: reachable_from(&link.address, socket.address),
                server_link: index,
                mtu: common_mtu(mtu.bytes.min(found), link.mtu),
                protection: known.protection(link, socket.link),
            };
            let network = same_network(&link.address, &socket.address);
            let rank = (prospect, Reverse(network), socket.link.abs_diff(index));
            pairs.push((rank, plan));
        }
    }
    pairs
}

/// The best of them that use every link once.
fn choose(mut pairs: Vec<(Rank, LanePlan)>) -> Vec<LanePlan> {
    pairs.sort_by_key(|(rank, plan)| (*rank, plan.client_link, plan.server_link));
    let mut lanes: Vec<LanePlan> = Vec::new();
    for (_, plan) in pairs {
        let used = lanes.iter().any(|lane| {
            lane.client_link == plan.client_link || lane.server_link == plan.server_link
        });
        if !used {
            lanes.push(plan);
        }
    }
    lanes
}

/// The weakest protection that lanes over a link may have.
pub(crate) const fn weakest(link: &LinkConfig) -> Protection {
    if link.trusted {
        link.protection
    } else {
        Protection::Sealed
    }
}

/// Whether a lane that another node has planned is protected as our link demands: that node may know an older word of
/// ours, or be careless with what is not its own.
pub(crate) fn is_protected(links: &[LinkConfig], lane: &Lane) -> bool {
    let link = links.get(usize::from(lane.link));
    link.is_some_and(|link| lane.protection <= weakest(link))
}

/// Which link reaches an address best: the one whose own address shares most bits with it.
pub(crate) fn nearest_link(links: &[LinkConfig], address: &LinkAddress) -> Option<u8> {
    let shared = |link: &LinkConfig| shared_bits(&link.address, address);
    let best = links
        .iter()
        .zip(0_u8..)
        .filter_map(|(link, index)| Some((shared(link)?, Reverse(index))));
    best.max().map(|(_, index)| index.0)
}

/// Whether two addresses differ in the port at most.
pub(crate) fn same_host(a: &LinkAddress, b: &LinkAddress) -> bool {
    match (a.internet(), b.internet()) {
        (Some(Internet::V4(a, _)), Some(Internet::V4(b, _))) => a == b,
        (Some(Internet::V6(a, ..)), Some(Internet::V6(b, ..))) => a == b,
        _ => a.with_port(0) == b.with_port(0),
    }
}

/// Leading bits that two addresses of one kind share; `None` for different kinds.
pub(crate) fn shared_bits(a: &LinkAddress, b: &LinkAddress) -> Option<u32> {
    if a.internet().is_none() && b.internet().is_none() {
        // Addresses of hardware and of files say nothing of who hears whom.
        let kind = |address: &LinkAddress| address.as_bytes().first().copied();
        return (kind(a).is_some() && kind(a) == kind(b)).then_some(0);
    }
    match (a.internet()?, b.internet()?) {
        (Internet::V4(a, _), Internet::V4(b, _)) => Some(leading(&a, &b)),
        (Internet::V6(a, ..), Internet::V6(b, ..)) => Some(leading(&a, &b)),
        _ => None,
    }
}

/// Leading bits that two addresses share, as far as networks are usually told apart by them. Which hosts of one network
/// have the nearer numbers means nothing.
fn same_network(a: &LinkAddress, b: &LinkAddress) -> Option<u32> {
    let usual = match a.internet() {
        Some(Internet::V4(..)) => 24,
        _ => 64,
    };
    shared_bits(a, b).map(|shared| shared.min(usual))
}

pub(crate) fn is_same_network(a: &LinkAddress, b: &LinkAddress) -> bool {
    let (Some(own), Some(shared)) = (same_network(a, a), same_network(a, b)) else {
        return false;
    };
    a.internet().is_some() && own == shared
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
mod tests;
