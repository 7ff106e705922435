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
mod tests {
    use super::*;
    use abi::system::{LaneRow, LinkKind};
    use abi::{Credentials, Incarnation, Nd, Pid, SessionId};
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

    const fn knowing(ways: &[WayState], working: Option<(u8, LinkAddress)>) -> Known<'_> {
        Known {
            ways,
            theirs: &[],
            working,
        }
    }

    fn way(ours: u8, theirs: u8, state: LaneState, ever_up: bool, why: LaneWhy) -> WayState {
        let row = LaneRow {
            state,
            why,
            link: ours,
            peer: LinkAddress::NONE,
            node: Nd(1),
            mtu: 1400,
            since: 0,
            rtt: None,
            min_rtt: None,
            loss: 0,
            rate: None,
        };
        WayState::new((ours, theirs), row, ever_up)
    }

    fn ends(plans: &[LanePlan]) -> Vec<(u8, u8)> {
        plans
            .iter()
            .map(|lane| (lane.server_link, lane.client_link))
            .collect()
    }

    #[test]
    fn in_one_broadcast_domain_each_link_has_one_lane_and_what_works_comes_first() {
        let links = links(&[v4(10, 0, 0, 1), v4(10, 0, 0, 2)]);
        let client = introduce(&[v4(10, 0, 0, 3), v4(10, 0, 0, 4)]);
        let up = |ours, theirs| way(ours, theirs, LaneState::Up, true, LaneWhy::Nothing);
        let down = |ours, theirs| way(ours, theirs, LaneState::Down, true, LaneWhy::Silent);
        let all = [up(0, 0), up(0, 1), up(1, 0), up(1, 1)];
        assert_eq!(
            ends(&plan(&links, &client, &knowing(&all, None))),
            [(0, 0), (1, 1)]
        );
        // The second cable of the client is out: its lane comes last, and is there when it returns.
        let some = [up(0, 0), down(0, 1), up(1, 0), down(1, 1)];
        assert_eq!(
            ends(&plan(&links, &client, &knowing(&some, None))),
            [(0, 0), (1, 1)]
        );
        // Only crosswise.
        let crossed = [down(0, 0), up(0, 1), up(1, 0), down(1, 1)];
        assert_eq!(
            ends(&plan(&links, &client, &knowing(&crossed, None))),
            [(1, 0), (0, 1)]
        );
    }

    #[test]
    fn a_link_with_nobody_behind_it_has_no_lane_and_one_without_carrier_has() {
        let links = links(&[v4(10, 0, 0, 1), v4(10, 0, 1, 1)]);
        let elsewhere = introduce(&[v4(10, 0, 0, 3), v4(10, 0, 2, 3)]);
        let client = introduce(&[v4(10, 0, 0, 3), v4(10, 0, 1, 3)]);
        let up = way(0, 0, LaneState::Up, true, LaneWhy::Nothing);
        let nobody = way(1, 1, LaneState::Down, false, LaneWhy::NoAnswer);
        let known = [
            up,
            nobody,
            way(1, 0, LaneState::Down, false, LaneWhy::NoAnswer),
        ];
        assert_eq!(
            ends(&plan(&links, &elsewhere, &knowing(&known, None))),
            [(0, 0)]
        );
        let plugged_in_later = ends(&plan(&links, &client, &knowing(&known, None)));
        assert_eq!(plugged_in_later, [(0, 0), (1, 1)]);
        let pulled = way(1, 1, LaneState::Down, false, LaneWhy::PeerCarrier);
        let plans = plan(&links, &client, &knowing(&[up, pulled], None));
        assert_eq!(ends(&plans), [(0, 0), (1, 1)]);
        assert_eq!(plans[0].mtu, 1400, "what was found to pass");
    }

    #[test]
    fn a_lane_is_in_the_clear_only_if_both_ends_trust_the_medium() {
        let mut links = links(&[v4(10, 0, 0, 1)]);
        links[0].protection = Protection::Plain;
        let client = introduce(&[v4(10, 0, 0, 3)]);
        let theirs = |protection| PeerLink {
            index: 0,
            kind: LinkKind::Udp,
            up: true,
            address: v4(10, 0, 0, 3),
            mtu: 1472,
            protection,
            speed: 0,
        };
        let agreed = |links: &[LinkConfig], protection| {
            let known = Known {
                ways: &[],
                theirs: &[theirs(protection)],
                working: None,
            };
            plan(links, &client, &known)[0].protection
        };
        assert_eq!(
            agreed(&links, Protection::Plain),
            Protection::Sealed,
            "ours is not trusted"
        );
        links[0].trusted = true;
        assert_eq!(agreed(&links, Protection::Sealed), Protection::Sealed);
        assert_eq!(agreed(&links, Protection::Checksum), Protection::Checksum);
        assert_eq!(agreed(&links, Protection::Plain), Protection::Plain);
        links[0].protection = Protection::Checksum;
        assert_eq!(agreed(&links, Protection::Plain), Protection::Checksum);
    }

    #[test]
    fn no_other_node_can_open_a_lane_that_is_to_be_sealed() {
        let mut links = links(&[v4(10, 0, 0, 1)]);
        let lane = |link, protection| Lane {
            id: 0,
            link,
            peer: v4(10, 0, 0, 3),
            mtu: 1472,
            protection,
        };
        let levels = [Protection::Sealed, Protection::Checksum, Protection::Plain];
        let taken = |links: &[LinkConfig]| levels.map(|level| is_protected(links, &lane(0, level)));
        assert_eq!(taken(&links), [true, false, false]);
        links[0].protection = Protection::Checksum;
        assert_eq!(taken(&links), [true, false, false], "it is not trusted");
        links[0].trusted = true;
        assert_eq!(taken(&links), [true, true, false]);
        assert!(!is_protected(&links, &lane(1, Protection::Sealed)));
    }

    #[test]
    fn links_of_the_same_network_are_paired() {
        let links = links(&[v4(127, 0, 1, 2), v4(127, 0, 2, 2)]);
        let client = introduce(&[v4(127, 0, 2, 1), v4(127, 0, 1, 1)]);
        let pairs: Vec<_> = plan(&links, &client, &knowing(&[], None))
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
        let pairs: Vec<_> = plan(&links, &client, &knowing(&[], working))
            .iter()
            .map(|l| (l.id, l.client_link, l.server_link))
            .collect();
        assert_eq!(pairs, [(0, 0, 1), (1, 1, 0)]);
        let pairs = plan(
            &links,
            &introduce(&[v4(172, 16, 0, 9)]),
            &knowing(&[], None),
        );
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
        let lanes = plan(&links, &introduce(&[v4(127, 0, 1, 1)]), &knowing(&[], None));
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
