//! Links that lose their carrier, vanish, come back, move, share a network, or lead nowhere.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::LinkAddress;
use abi::system::{
    Detect, LaneRow, LaneState, LaneWhy, LinkKind, Notice, Protection, Reply, Request,
};
use slashnet_node::LinkConfig;
use support::cables::Cables;
use support::talk::*;
use support::{Lab, Program, address, link_config, ms};

struct World {
    lab: Lab,
    cables: Cables,
    client: Program,
}

/// Two nodes with these links, and a session between programs.
fn world(links: [Vec<LinkConfig>; 2], wire: bool) -> World {
    let mut lab = Lab::strangers(2);
    for (at, links) in links.into_iter().enumerate() {
        let addresses = links.iter().map(|link| link.address).collect();
        lab.configure(at, Detect::Default, false, links);
        let mut known = support::record(at);
        known.addresses = addresses;
        *lab.trust(1 - at) = vec![known];
    }
    let cables = Cables::default();
    if wire {
        lab.wire(cables.fate());
    }
    lab.start_all();
    lab.run(ms(500));
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let own = [LAB1, LAB2].map(|at| sockets_on(lab.links(at)));
    let [ours, theirs] = own;
    introduce_at(&mut lab, (client, ours), (server, theirs), welcome.pid);
    lab.run(ms(1000));
    World {
        lab,
        cables,
        client,
    }
}

fn two_cables() -> World {
    let links = |at| vec![link_config(at, 0), link_config(at, 1)];
    world([links(0), links(1)], true)
}

impl World {
    fn row(&self, at: usize, link: u8) -> Option<LaneRow> {
        let rows = self.lab.rows(at);
        rows.into_iter().find(|row| row.link == link)
    }

    fn until(&mut self, at: usize, link: u8, state: LaneState, bound: Duration) -> Duration {
        let began = self.lab.now;
        while self.row(at, link).is_none_or(|row| row.state != state) {
            let waited = self.lab.now.saturating_since(began);
            assert!(waited <= bound, "{:?} after {waited:?}", self.row(at, link));
            self.lab.run(Duration::from_micros(500));
        }
        self.lab.now.saturating_since(began)
    }
}

#[test]
fn a_pulled_cable_is_known_at_once_here_and_one_message_later_there() {
    let mut world = two_cables();
    world.lab.notices(world.client);
    world.lab.change_link(LAB1, 0, |link| link.up = false);
    let row = world.row(LAB1, 0).unwrap();
    assert_eq!((row.state, row.why), (LaneState::Down, LaneWhy::Carrier));
    let took = world.until(LAB2, 0, LaneState::Down, ms(20));
    assert!(took < ms(20), "{took:?}");
    assert_eq!(world.row(LAB2, 0).unwrap().why, LaneWhy::PeerCarrier);
    assert_eq!(world.row(LAB2, 1).unwrap().state, LaneState::Up);
    let notices = world.lab.notices(world.client);
    let [(0, Notice::Links(links), _)] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert_eq!(
        links.links.iter().map(|l| l.up).collect::<Vec<_>>(),
        [false, true]
    );
    world.lab.run(ms(5000));
    world.lab.change_link(LAB1, 0, |link| link.up = true);
    for at in 0..2 {
        world.until(at, 0, LaneState::Up, ms(500));
    }
}

#[test]
fn an_address_that_changes_is_followed_over_the_other_link() {
    let mut world = two_cables();
    let hellos = world.cables.hellos();
    let moved = LinkAddress::ipv4([10, 0, 0, 1], 41_777);
    world
        .lab
        .change_link(LAB1, 0, |link| (link.address, link.epoch) = (moved, 1));
    for at in 0..2 {
        world.until(at, 0, LaneState::Up, ms(500));
    }
    world.lab.run(ms(500));
    assert_eq!(world.row(LAB2, 0).unwrap().peer, moved);
    assert_eq!(world.row(LAB2, 0).unwrap().state, LaneState::Up);
    assert_eq!(world.cables.hellos(), hellos, "the channel has gone on");
    assert!(
        world.lab.trust(LAB2)[0].addresses.contains(&moved),
        "for the next start"
    );
}

#[test]
fn messages_about_links_that_overtake_each_other_leave_the_newest() {
    for seed in 0..20 {
        let mut world = two_cables();
        let mut random = seed * 7 + 1_u64;
        let cables = world.cables.fate();
        let cables = std::cell::RefCell::new(cables);
        world.lab.wire(move |datagram| {
            random = random.rotate_left(9).wrapping_mul(0xbf58_476d_1ce4_e5b9) + 1;
            let late = Duration::from_micros(random >> 52);
            let fate = (cables.borrow_mut())(datagram);
            fate.into_iter().map(|delay| delay + late).collect()
        });
        let at =
            |host: u8, link: u8| LinkAddress::ipv4([10, 0, link, host], 41_000 + u16::from(host));
        for host in [7, 8, 9, 1] {
            for link in 0..2 {
                world.lab.change_link(LAB1, link, |changed| {
                    changed.address = at(host, link as u8);
                    changed.epoch += 1;
                });
                world.lab.run(Duration::from_micros(200));
            }
        }
        world.lab.run(ms(3000));
        for link in 0..2 {
            let row = world.row(LAB2, link).unwrap();
            assert_eq!(
                (row.peer, row.state),
                (at(1, link), LaneState::Up),
                "seed {seed}"
            );
        }
        let mut known = world.lab.trust(LAB2)[0].addresses.clone();
        known.sort_unstable();
        assert_eq!(known, [at(1, 0), at(1, 1)], "and nothing of where it was");
    }
}

#[test]
fn a_node_whose_only_address_changes_is_found_again() {
    let mut world = world([vec![link_config(0, 0)], vec![link_config(1, 0)]], true);
    world.lab.run(ms(1000));
    // Another host number in the same network, so that no old address works.
    let moved = LinkAddress::ipv4([10, 0, 0, 1], 41_777);
    world
        .lab
        .change_link(LAB1, 0, |link| (link.address, link.epoch) = (moved, 1));
    world.lab.run(ms(1000));
    assert_eq!(world.row(LAB2, 0).unwrap().peer, moved);
    assert_eq!(world.row(LAB2, 0).unwrap().state, LaneState::Up);
    let lab2 = nd(&mut world.lab, world.client, "lab2");
    let answer = world.lab.ask(world.client, &resolve(lab2, b"/"));
    assert!(matches!(answer, Reply::Resolved(_)));
}

#[test]
fn an_interface_that_vanishes_and_returns_under_its_name_is_used_again() {
    let mut world = two_cables();
    world.lab.change_link(LAB2, 1, |link| link.up = false);
    world.until(LAB1, 1, LaneState::Down, ms(20));
    let gone = "there is no such interface now";
    world.lab.change_link(LAB1, 1, |link| {
        (link.up, link.why) = (false, gone.to_owned());
    });
    let rows = link_rows(&mut world.lab, world.client);
    let whys = rows
        .iter()
        .filter(|row| row.index == 1)
        .map(|row| &row.why[..]);
    assert_eq!(
        whys.collect::<Vec<_>>(),
        [gone.as_bytes(); 2],
        "link and way"
    );
    world
        .lab
        .change_link(LAB1, 1, |link| (link.up, link.why) = (true, String::new()));
    world.lab.run(ms(30_000));
    let another = LinkAddress::ipv4([10, 0, 1, 2], 41_555);
    world.lab.change_link(LAB2, 1, |link| {
        (link.address, link.epoch, link.mtu, link.up) = (another, 1, 1400, true);
    });
    for at in 0..2 {
        world.until(at, 1, LaneState::Up, ms(500));
    }
    world.lab.run(ms(200));
    let row = world.row(LAB1, 1).unwrap();
    assert_eq!((row.peer, row.mtu), (another, 1400));
}

#[test]
fn a_link_that_comes_later_gets_its_lanes_and_its_policies() {
    let mut world = world(
        [
            vec![link_config(0, 0)],
            vec![link_config(1, 0), link_config(1, 1)],
        ],
        true,
    );
    assert!(world.row(LAB1, 1).is_none());
    let lookup = |lab: &mut Lab, client| {
        let network = abi::system::Network {
            nd: abi::Nd::LOCAL,
            path: b"lab2~exclusive:en1/x".to_vec(),
        };
        lab.ask(client, &Request::Network(network))
    };
    let early = lookup(&mut world.lab, world.client);
    assert!(matches!(early, Reply::Error(_)), "{early:?}");
    world.lab.add_link(LAB1, link_config(0, 1));
    world.until(LAB1, 1, LaneState::Up, ms(500));
    world.until(LAB2, 1, LaneState::Up, ms(500));
    let Reply::Redirect(redirect) = lookup(&mut world.lab, world.client) else {
        panic!()
    };
    match world.lab.ask(world.client, &Request::Policy(redirect.nd)) {
        Reply::Policy(policy) => assert_eq!(policy.text, b"exclusive:en1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_links_in_one_broadcast_domain_make_two_lanes() {
    let host = |last, link: usize| {
        let address = LinkAddress::ipv4([10, 0, 0, last], 41_000);
        LinkConfig::new(format!("en{link}"), LinkKind::Udp, address, 1472)
    };
    let links = [vec![host(1, 0), host(3, 1)], vec![host(2, 0), host(4, 1)]];
    let mut world = world(links, false);
    // All four ways work, and are watched; sessions use each link once.
    assert_eq!(world.lab.rows(LAB1).len(), 4);
    let (server, welcome) = world.lab.program(LAB2);
    let ours = vec![
        socket(0, [10, 0, 0, 1], 5000),
        socket(1, [10, 0, 0, 3], 5001),
    ];
    let theirs = vec![
        socket(0, [10, 0, 0, 2], 6000),
        socket(1, [10, 0, 0, 4], 6001),
    ];
    let (ticket, offer) = introduce_at(
        &mut world.lab,
        (world.client, ours),
        (server, theirs.clone()),
        welcome.pid,
    );
    let mut ends: Vec<_> = ticket
        .lanes
        .iter()
        .map(|lane| (lane.link, lane.peer))
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [(0, theirs[0].address), (1, theirs[1].address)]);
    assert_eq!(offer.lanes.len(), 2);
}

#[test]
fn a_link_with_nobody_behind_it_is_shown_and_has_no_lane() {
    let alone = LinkConfig::new(
        String::from("en9"),
        LinkKind::Udp,
        LinkAddress::ipv4([10, 0, 9, 1], 41_000),
        1472,
    );
    let mut world = world(
        [
            vec![link_config(0, 0), alone],
            vec![link_config(1, 0), link_config(1, 1)],
        ],
        true,
    );
    world.lab.run(ms(2000));
    let rows = link_rows(&mut world.lab, world.client);
    let lost = rows
        .iter()
        .find(|row| row.index == 1 && row.peer.is_some())
        .unwrap();
    assert_eq!(lost.state, LaneState::Down);
    assert_eq!(lost.why, b"no answer");
    let (server, welcome) = world.lab.program(LAB2);
    let (ticket, _) = introduce_at(
        &mut world.lab,
        (
            world.client,
            vec![
                socket(0, [10, 0, 0, 1], 5000),
                socket(1, [10, 0, 9, 1], 5001),
            ],
        ),
        (server, sockets(LAB2)),
        welcome.pid,
    );
    assert_eq!(ticket.lanes.len(), 1, "{:?}", ticket.lanes);
}

#[test]
fn lanes_are_sealed_unless_both_nodes_declare_the_link_trusted() {
    let links = |trusted: [bool; 2]| {
        [0, 1].map(|at| {
            let mut link = link_config(at, 0);
            (link.protection, link.trusted) = (Protection::Checksum, trusted[at]);
            vec![link]
        })
    };
    for (trusted, expected) in [
        ([true, true], Protection::Checksum),
        ([true, false], Protection::Sealed),
        ([false, true], Protection::Sealed),
    ] {
        let mut world = world(links(trusted), true);
        let (server, welcome) = world.lab.program(LAB2);
        let [ours, theirs] = [LAB1, LAB2].map(|at| sockets_on(world.lab.links(at)));
        let (ticket, offer) = introduce_at(
            &mut world.lab,
            (world.client, ours),
            (server, theirs),
            welcome.pid,
        );
        assert_eq!(ticket.lanes[0].protection, expected);
        assert_eq!(offer.lanes[0].protection, expected);
    }
}

#[test]
fn links_of_every_kind_make_lanes_beside_each_other() {
    let links = |at: usize| {
        let host = at as u8 + 1;
        let file = LinkAddress::neighbour([host; 8], 41_000);
        let mac = LinkAddress::ethernet([2, 0, 0, 0, 0, host], 41_000);
        let mut memory = LinkConfig::new(String::from("shared"), LinkKind::Memory, file, 32_768);
        (memory.trusted, memory.protection) = (true, Protection::Plain);
        let ethernet = LinkConfig::new(String::from("raw0"), LinkKind::Ethernet, mac, 1494);
        vec![link_config(at, 0), memory, ethernet]
    };
    let mut world = world([links(0), links(1)], true);
    for at in 0..2 {
        for link in 0..3 {
            assert_eq!(world.row(at, link).unwrap().state, LaneState::Up, "{link}");
        }
    }
    assert_eq!(world.row(LAB1, 1).unwrap().mtu, 32_768);
    let (server, welcome) = world.lab.program(LAB2);
    let [ours, theirs] = [LAB1, LAB2].map(|at| sockets_on(world.lab.links(at)));
    let (ticket, _) = introduce_at(
        &mut world.lab,
        (world.client, ours),
        (server, theirs.clone()),
        welcome.pid,
    );
    let mut lanes: Vec<_> = ticket
        .lanes
        .iter()
        .map(|l| (l.link, l.peer, l.protection))
        .collect();
    lanes.sort_unstable_by_key(|lane| lane.0);
    let expected = [Protection::Sealed, Protection::Plain, Protection::Sealed];
    let sockets = theirs.iter().zip(expected);
    let expected: Vec<_> = sockets.map(|(s, p)| (s.link, s.address, p)).collect();
    assert_eq!(lanes, expected);
    let rows = link_rows(&mut world.lab, world.client);
    let kinds: Vec<_> = rows
        .iter()
        .filter(|r| r.peer.is_some())
        .map(|r| r.kind)
        .collect();
    assert_eq!(kinds, [LinkKind::Udp, LinkKind::Memory, LinkKind::Ethernet]);
}

#[test]
fn links_that_are_taken_away_from_the_list_are_not() {
    let mut world = two_cables();
    let links = world.lab.links(LAB1)[..1].to_vec();
    world.lab.input(LAB1, slashnet_node::Input::Links(links));
    world.lab.run(ms(500));
    assert_eq!(
        world.row(LAB1, 1).unwrap().state,
        LaneState::Up,
        "numbers are for ever"
    );
    assert_eq!(world.row(LAB1, 1).unwrap().peer, address(LAB2, 1));
}
