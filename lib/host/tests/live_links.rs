//! Links that come, change, go and return while their node runs, in network namespaces of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use abi::system::{LinkKind, NodeLink, Notice};
use slashnet_host::{Builder, Host};
use support::network::{Cable, Network, alone, in_own_network};
use support::pair::{invite, join, name, nd};
use support::{Program, until};

/// The next list of links for which `wanted` holds.
fn links_until(program: &mut Program, wanted: impl Fn(&[NodeLink]) -> bool) -> Vec<NodeLink> {
    loop {
        if let (0, Notice::Links(links), _) = program.notice()
            && wanted(&links.links)
        {
            return links.links;
        }
    }
}

fn ip_of(link: &NodeLink) -> String {
    let address = link.address.socket_address().unwrap();
    assert_eq!(address.port(), 41_000);
    address.ip().to_string()
}

fn node_in(network: &Network, directory: &Path, name: &str, links: &[&str]) -> Host {
    let builder = Builder::new(name).directory(directory.join(name));
    let builder = links
        .iter()
        .fold(builder, |builder, link| builder.link(*link));
    // The node's thread is in the namespace of the thread that starts it.
    network.run(|| builder.start().unwrap())
}

#[test]
fn programs_are_told_of_a_link_that_comes_changes_goes_and_returns() {
    in_own_network(
        "programs_are_told_of_a_link_that_comes_changes_goes_and_returns",
        || {
            let here = Network::here();
            here.ip("link set lo up");
            let directory = tempfile::tempdir().unwrap();
            let host = node_in(&here, directory.path(), "lab1", &["lo", "eth1"]);
            let (mut program, welcome) = Program::connect(host.directory());
            let [lo, eth1] = <[NodeLink; 2]>::try_from(welcome.links).unwrap();
            assert!(lo.up && !eth1.up && eth1.address.is_none());
            assert_eq!((eth1.index, eth1.name.as_slice()), (1, b"eth1".as_slice()));

            here.ip("link add eth1 type veth peer name far1");
            here.ip("link set eth1 addrgenmode none");
            here.ip("link set eth1 up");
            here.ip("addr add 10.9.1.1/24 dev eth1");
            let come = links_until(&mut program, |links| !links[1].address.is_none());
            assert_eq!((ip_of(&come[1]).as_str(), come[1].epoch), ("10.9.1.1", 1));
            assert_eq!(
                (come[1].device.as_slice(), come[1].mtu),
                (b"eth1".as_slice(), 1472)
            );
            here.ip("link set far1 up");
            let links = links_until(&mut program, |links| links[1].up);
            assert_eq!(links[1].epoch, 1, "a carrier needs no other socket");
            here.ip("link set far1 down");
            links_until(&mut program, |links| !links[1].up);
            here.ip("link set far1 up");
            links_until(&mut program, |links| links[1].up);

            here.ip("link set eth1 mtu 1400");
            let links = links_until(&mut program, |links| links[1].mtu == 1372);
            assert_eq!(links[1].epoch, 1);

            // One more changes nothing; when the old one goes it takes its place.
            here.ip("addr add 10.9.2.1/24 dev eth1");
            here.ip("addr del 10.9.1.1/24 dev eth1");
            let links = links_until(&mut program, |links| links[1].epoch == 2);
            assert_eq!((ip_of(&links[1]).as_str(), links[1].up), ("10.9.2.1", true));

            here.ip("link del eth1");
            let links = links_until(&mut program, |links| !links[1].up);
            assert_eq!(ip_of(&links[1]), "10.9.2.1", "as it was last");
            here.ip("link add eth1 type veth peer name far1");
            here.ip("link set far1 up");
            here.ip("link set eth1 up");
            here.ip("addr add 10.9.2.1/24 dev eth1");
            let links = links_until(&mut program, |links| links[1].epoch == 3);
            assert_eq!(ip_of(&links[1]), "10.9.2.1");
            assert!(
                lo.epoch == links[0].epoch && links[0].up,
                "the other link has not been touched"
            );
        },
    );
}

/// Nodes at both ends of a cable that know each other.
fn meet(cable: &Cable, directory: &Path, links: [&str; 2]) -> [Host; 2] {
    let near = node_in(&cable.near, directory, "lab1", &[links[0]]);
    let far = node_in(&cable.far, directory, "lab2", &[links[1]]);
    let code = invite(&near, Duration::from_secs(60));
    assert_eq!(join(&far, &code), Ok(name("lab1")));
    [near, far]
}

fn reach(from: &Host, to: &str) {
    let (mut program, _) = Program::connect(from.directory());
    let nd = nd(&mut program, to);
    until("an answer of the other node", || {
        let resolve = abi::system::Request::Query(abi::system::Query {
            what: abi::system::QueryKind::Prefixes,
            nd,
            from: 0,
        });
        matches!(program.ask(&resolve), abi::system::Reply::Table(_)).then_some(())
    });
}

/// As those of cards that are pulled and plugged in again, where a new veth would choose others.
fn keep_hardware_addresses(cable: &Cable) {
    cable.near.ip("link set near0 address 02:00:00:00:00:01");
    cable.far.ip("link set far0 address 02:00:00:00:00:02");
}

/// Over one kind of link: nodes meet, the cable is taken away with its interfaces and comes back, they meet again.
fn meet_and_return(links: [&str; 2], kind: LinkKind) {
    let cable = Cable::new();
    keep_hardware_addresses(&cable);
    let directory = tempfile::tempdir().unwrap();
    let [near, far] = meet(&cable, directory.path(), links);
    let [link] = near.links() else {
        panic!("one link")
    };
    assert_eq!(link.kind, kind);
    reach(&near, "lab2");
    reach(&far, "lab1");
    cable.near.ip("link del near0");
    cable.plug(70, 80);
    keep_hardware_addresses(&cable);
    reach(&near, "lab2");
    reach(&far, "lab1");
}

#[test]
fn nodes_meet_over_ipv4_bound_to_their_interfaces() {
    in_own_network("nodes_meet_over_ipv4_bound_to_their_interfaces", || {
        meet_and_return(["near0", "far0"], LinkKind::Udp);
    });
}

#[test]
fn nodes_meet_over_global_ipv6() {
    in_own_network("nodes_meet_over_global_ipv6", || {
        meet_and_return(["fd00::1", "fd00::2"], LinkKind::Udp);
    });
}

#[test]
fn nodes_meet_over_link_local_ipv6_whatever_their_scopes() {
    in_own_network(
        "nodes_meet_over_link_local_ipv6_whatever_their_scopes",
        || {
            meet_and_return(["fe80::1%near0", "fe80::2%far0"], LinkKind::Udp);
        },
    );
}

#[test]
fn a_node_without_the_right_for_frames_says_which_right_it_is() {
    // Nobody of a namespace has no rights there.
    alone(
        "a_node_without_the_right_for_frames_says_which_right_it_is",
        &["--user", "--net"],
        || {
            let directory = tempfile::tempdir().unwrap();
            let builder = Builder::new("lab1").directory(directory.path().join("lab1"));
            let refused = builder.link("ethernet:lo").start().unwrap_err().to_string();
            for part in ["link ethernet:lo", "CAP_NET_RAW", "setcap"] {
                assert!(refused.contains(part), "{refused}");
            }
        },
    );
}

#[test]
fn nodes_meet_over_ethernet_without_any_address() {
    in_own_network("nodes_meet_over_ethernet_without_any_address", || {
        meet_and_return(["ethernet:near0", "ethernet:far0"], LinkKind::Ethernet);
    });
}

#[test]
fn nodes_of_one_machine_meet_in_a_directory_even_after_it_was_made_anew() {
    in_own_network(
        "nodes_of_one_machine_meet_in_a_directory_even_after_it_was_made_anew",
        || {
            let directory = tempfile::tempdir().unwrap();
            let shared = directory.path().join("shared");
            std::fs::create_dir(&shared).unwrap();
            let link = format!("memory:{}", shared.display());
            let here = Network::here();
            let near = node_in(&here, directory.path(), "lab1", &[&link]);
            let far = node_in(&here, directory.path(), "lab2", &[&link]);
            let [config] = near.links() else {
                panic!("one link")
            };
            assert_eq!(
                (config.kind, config.name.as_str()),
                (LinkKind::Memory, "shared")
            );
            let code = invite(&near, Duration::from_secs(60));
            assert_eq!(join(&far, &code), Ok(name("lab1")));
            reach(&near, "lab2");
            reach(&far, "lab1");
            let (mut program, _) = Program::connect(near.directory());
            std::fs::remove_dir_all(&shared).unwrap();
            let gone = links_until(&mut program, |links| !links[0].up);
            assert_eq!(gone[0].epoch, 1);
            std::fs::create_dir(&shared).unwrap();
            let back = links_until(&mut program, |links| links[0].up);
            assert_eq!((back[0].epoch, back[0].address), (2, gone[0].address));
            reach(&near, "lab2");
            reach(&far, "lab1");
        },
    );
}
