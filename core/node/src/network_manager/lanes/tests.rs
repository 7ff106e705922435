//! Plans of lanes for what is known of links.

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
