//! Programs without sockets: what passes through the host for them.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::system::{CloseSession, Detect, LiveSession, Reply, Request};
use abi::{Errno, LinkAddress};
use slashnet_node::{Attached, Descriptors};
use support::talk::*;
use support::{Lab, Program, address, ms};

fn memory(key: u64) -> Option<Descriptors> {
    Some(Descriptors { key, count: 1 })
}

fn relay(lab: &mut Lab, program: Program, key: u64) {
    lab.send(program, 50, &Request::Relay, memory(key));
    let (reply, attached) = lab.answer_with(program, 50);
    assert_eq!(reply, Reply::Done);
    assert_eq!(
        attached,
        Attached::Passed(memory(key).unwrap()),
        "its doorbells"
    );
}

/// lab1's programs have no sockets, lab2's have.
fn lab() -> Lab {
    let mut lab = Lab::strangers(2);
    for at in 0..2 {
        let links = lab.links(at).to_vec();
        lab.configure(at, Detect::Default, at == 0, links);
        *lab.trust(at) = vec![support::record(1 - at)];
    }
    lab.start_all();
    lab.run(ms(500));
    lab
}

fn ways(targets: &[(u8, LinkAddress)]) -> Vec<(u8, LinkAddress)> {
    let mut hosts: Vec<_> = targets
        .iter()
        .map(|(link, to)| (*link, to.with_port(0)))
        .collect();
    hosts.dedup();
    hosts
}

#[test]
fn packets_of_a_session_may_go_to_its_peer_and_nowhere_else() {
    let mut lab = lab();
    let (server, welcome) = lab.program(LAB2);
    let (client, hello) = lab.program(LAB1);
    assert!(hello.links.iter().all(|link| link.relayed));
    assert!(welcome.links.iter().all(|link| !link.relayed));
    relay(&mut lab, client, 7);
    assert_eq!(lab.relays(LAB1), [client.key]);
    // The node's own sockets are the program's.
    let ours = hello.links.iter().map(|link| abi::system::SocketOnLink {
        link: link.index,
        address: link.address,
    });
    let (ticket, offer) = introduce_at(
        &mut lab,
        (client, ours.collect()),
        (server, sockets(LAB2)),
        welcome.pid,
    );
    assert_eq!(
        offer.lanes[0].peer,
        address(LAB1, 0),
        "packets to the client go to its node"
    );
    let targets = lab.route(LAB1, ticket.local).unwrap();
    for (link, to) in ways(targets) {
        assert!(
            (0..2).any(|l| to == address(LAB2, l).with_port(0)),
            "link {link}: {to}"
        );
    }
    assert!(
        targets
            .iter()
            .any(|(link, to)| (*link, *to) == (0, address(LAB2, 0).with_port(5000)))
    );
    assert_eq!(
        lab.route(LAB2, offer.local),
        None,
        "it has sockets of its own"
    );
    // Sessions of the node itself and of programs are never mixed up.
    assert_eq!(ticket.local.0 >> 31, 0);
    let close = Request::CloseSession(CloseSession {
        session: ticket.local,
    });
    assert_eq!(lab.ask(client, &close), Reply::Done);
    assert_eq!(lab.route(LAB1, ticket.local), None);
}

#[test]
fn a_server_without_sockets_is_reached_through_its_node() {
    let mut lab = lab();
    let (server, welcome) = lab.program(LAB1);
    relay(&mut lab, server, 7);
    let (client, _) = lab.program(LAB2);
    let nd = nd(&mut lab, client, "lab1");
    lab.send(client, 900, &open(nd, welcome.pid, LAB2), None);
    let (serial, notice) = lab.notice(server);
    let abi::system::Notice::Offer(offer) = notice else {
        panic!()
    };
    let own = sockets_on(lab.links(LAB1))
        .into_iter()
        .map(|socket| abi::system::SocketOnLink {
            address: socket.address.with_port(41_000),
            ..socket
        });
    let accept = Request::Accept(abi::system::Accept {
        sockets: own.collect(),
        slots: 64,
        unscheduled: 1024,
    });
    lab.send(server, serial, &accept, None);
    let Reply::Ticket(ticket) = lab.answer(client, 900) else {
        panic!()
    };
    assert_eq!(ticket.lanes[0].peer, address(LAB1, 0));
    assert!(lab.route(LAB1, offer.local).is_some());
    lab.leave(server);
    assert_eq!(
        lab.route(LAB1, offer.local),
        None,
        "it ends with the program"
    );
}

#[test]
fn a_relay_is_given_once_with_one_memory() {
    let mut lab = lab();
    let (program, _) = lab.program(LAB1);
    assert_eq!(lab.refusal(program, &Request::Relay), Errno::EINVAL);
    relay(&mut lab, program, 7);
    lab.send(program, 51, &Request::Relay, memory(8));
    match lab.answer(program, 51) {
        Reply::Error(refusal) => assert_eq!(refusal.errno, Errno::EALREADY),
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.discarded(LAB1), [memory(8).unwrap()]);
}

#[test]
fn after_a_restart_routes_come_from_what_the_node_knows_and_not_from_the_program() {
    let mut lab = lab();
    let (server, welcome) = lab.program(LAB2);
    let (client, hello) = lab.program(LAB1);
    relay(&mut lab, client, 7);
    let (ticket, _) = introduce(&mut lab, client, server, welcome.pid);
    lab.kill(LAB1);
    lab.start(LAB1);
    let mut elsewhere = ticket.lanes[0];
    elsewhere.peer = LinkAddress::ipv4([192, 0, 2, 1], 53);
    let live = LiveSession {
        lanes: vec![elsewhere],
        ..asked_from(&ticket, "lab2")
    };
    let (client, _) = lab.program_of(LAB1, 1000, hello.pid, vec![live]);
    relay(&mut lab, client, 9);
    lab.run(ms(1500));
    let targets = lab.route(LAB1, ticket.local).unwrap();
    for (link, to) in ways(targets) {
        assert!(
            (0..2).any(|l| to == address(LAB2, l).with_port(0)),
            "link {link}: {to}"
        );
    }
}

#[test]
fn a_peer_that_moves_all_the_time_is_followed_and_its_old_addresses_go() {
    let mut lab = lab();
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    relay(&mut lab, client, 7);
    let (ticket, _) = introduce(&mut lab, client, server, welcome.pid);
    let mut newest = address(LAB2, 1);
    for host in 10..150 {
        newest = LinkAddress::ipv4([10, 0, 1, host], 41_000);
        lab.change_link(LAB2, 1, |link| link.address = newest);
        lab.run(ms(100));
    }
    let targets = lab.route(LAB1, ticket.local).unwrap();
    assert!(targets.contains(&(1, newest)), "{targets:?}");
    assert!(targets.contains(&(0, address(LAB2, 0))), "{targets:?}");
    assert!(targets.len() <= 64, "{}", targets.len());
}
