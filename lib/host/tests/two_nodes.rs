//! Two nodes and their programs, with real sockets over the loopback.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Instant;

use abi::system::{
    CloseSession, DeathCause, Identity, List, Network, Notice, OpenSession, Query, QueryKind,
    Refuse, Reply, Request, Rows, SocketOnLink, Stat,
};
use abi::{ChannelId, Errno, Gid, LinkAddress, Nd, Pid, Uid};
use support::pair::*;
use support::{Program, until};

#[test]
fn a_path_of_another_node_is_found_and_listed() {
    // qnx: P44, P50
    let labs = pair(61);
    let (mut server, welcome) = Program::connect(labs.lab2.directory());
    attach(&mut server, b"/dev/ser1");
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let network = Request::Network(Network {
        nd: Nd::LOCAL,
        path: b"lab2/dev/ser1".to_vec(),
    });
    let Reply::Redirect(redirect) = client.ask(&network) else {
        panic!()
    };
    assert_eq!(
        (redirect.pid, redirect.channel, &redirect.path[..]),
        (Pid(1), ChannelId(1), &b"dev/ser1"[..])
    );
    let lab2 = redirect.nd;
    assert_ne!(lab2, Nd::LOCAL);
    let Reply::Resolved(resolved) = client.ask(&resolve(lab2, b"/dev/ser1")) else {
        panic!()
    };
    let candidate = resolved.candidates[0];
    assert_eq!(
        (candidate.nd, candidate.pid, candidate.chid),
        (lab2, welcome.pid, ChannelId(3))
    );
    let list = Request::List(List {
        nd: lab2,
        path: b"/dev".to_vec(),
        after: vec![],
    });
    let Reply::Listing(listing) = client.ask(&list) else {
        panic!()
    };
    assert_eq!(listing.entries[0].name, b"ser1");
    let stat = Request::Stat(Stat {
        nd: lab2,
        path: b"/dev".to_vec(),
    });
    assert!(matches!(client.ask(&stat), Reply::Described(d) if d.mode == 0o040_555));
    let prefixes = Request::Query(Query {
        what: QueryKind::Prefixes,
        nd: lab2,
        from: 0,
    });
    let Reply::Table(table) = client.ask(&prefixes) else {
        panic!()
    };
    let Rows::Prefixes(rows) = table.rows else {
        panic!()
    };
    assert!(
        rows.iter()
            .any(|row| row.path == b"/dev/ser1" && row.nd == lab2)
    );
    assert_eq!(client.refusal(&resolve(lab2, b"/no/such")).0, Errno::ENOENT);
    // Back through the other node, to ourselves.
    let back = Request::Network(Network {
        nd: lab2,
        path: b"lab1/dev".to_vec(),
    });
    let Reply::Redirect(redirect) = client.ask(&back) else {
        panic!()
    };
    assert_eq!(redirect.nd, Nd::LOCAL);
}

#[test]
fn programs_of_two_nodes_get_the_same_secret_and_each_other_s_addresses() {
    let labs = pair(62);
    let (mut server, welcome) = Program::connect(labs.lab2.directory());
    let (mut client, me) = Program::connect(labs.lab1.directory());
    let (ticket, offer) = introduce(&labs, &mut client, &mut server, welcome.pid);
    assert_eq!((ticket.local, ticket.peer), (offer.peer, offer.local));
    assert!(ticket.secret.is_some());
    assert_eq!(ticket.secret, offer.secret);
    assert_eq!(ticket.lanes.len(), 2);
    assert_eq!(offer.credentials.pid, me.pid);
    // The tests may run as root, and root of another node is nobody here.
    let user = rustix::process::geteuid().as_raw();
    let expected = if user == 0 { node::NOBODY } else { user };
    assert_eq!(offer.credentials.uid, Uid(expected));
    let (second, _) = introduce(&labs, &mut client, &mut server, welcome.pid);
    assert_ne!(second.secret, ticket.secret);

    assert_eq!(
        client.ask(&Request::CloseSession(CloseSession {
            session: ticket.local
        })),
        Reply::Done
    );
    server.expect_death(offer.local, DeathCause::Session);
    drop(server);
    client.expect_death(second.local, DeathCause::Process);
}

#[test]
fn the_node_s_owner_may_speak_for_another_user() {
    let labs = pair(63);
    let (mut server, welcome) = Program::connect(labs.lab2.directory());
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let nd = nd(&mut client, "lab2");
    let (_, sockets) = sockets(&labs.lab1);
    let identity = Some(Identity {
        uid: Uid(1234),
        gid: Gid(55),
        groups: vec![Gid(66)],
    });
    client.send(
        9,
        &Request::OpenSession(OpenSession {
            nd,
            pid: welcome.pid,
            identity,
            sockets,
        }),
        &[],
    );
    let (serial, Notice::Offer(offer), _) = server.notice() else {
        panic!()
    };
    let who = &offer.credentials;
    assert_eq!(
        (who.uid, who.gid, &who.groups[..]),
        (Uid(1234), Gid(55), &[Gid(66)][..])
    );
    server.send(
        serial,
        &Request::Refuse(Refuse {
            errno: Errno::EBUSY,
        }),
        &[],
    );
    assert!(matches!(client.answer(9), Reply::Error(refusal) if refusal.errno == Errno::EBUSY));
}

#[test]
fn a_program_cannot_name_another_machine_s_address_as_its_own() {
    let labs = pair(64);
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let nd = nd(&mut client, "lab2");
    let elsewhere = SocketOnLink {
        link: 0,
        address: LinkAddress::ipv4([192, 0, 2, 1], 53),
    };
    assert_eq!(
        client.refusal(&open(nd, Pid(77), &[elsewhere])).0,
        Errno::EADDRNOTAVAIL
    );
    let (_, sockets) = sockets(&labs.lab1);
    assert_eq!(
        client.refusal(&open(nd, Pid(4_000_000), &sockets)).0,
        Errno::ESRCH
    );
}

#[test]
fn a_link_policy_is_kept_in_the_node_descriptor() {
    // qnx: N1, Q2, Q3, Q7
    let labs = pair(65);
    let (mut server, welcome) = Program::connect(labs.lab2.directory());
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let link = labs.lab1.links()[1].name.clone();
    let mut redirect = |policy: &str| {
        let path = format!("lab2~{policy}").into_bytes();
        client.ask(&Request::Network(Network {
            nd: Nd::LOCAL,
            path,
        }))
    };
    let Reply::Redirect(found) = redirect(&format!("exclusive:{link}")) else {
        panic!()
    };
    assert_ne!(found.nd.qos(), 0);
    assert!(
        matches!(redirect("exclusive:nosuch0"), Reply::Error(refusal) if refusal.errno == Errno::ENOENT)
    );
    let (_, sockets) = sockets(&labs.lab1);
    client.send(7, &open(found.nd, welcome.pid, &sockets), &[]);
    let (_, Notice::Offer(offer), _) = server.notice() else {
        panic!()
    };
    // The policy is the connection's: others of the same session may use the other lanes.
    let offered = offer.lanes.iter().map(|lane| lane.peer);
    let named = sockets.iter().map(|socket| socket.address);
    assert_eq!(
        offered.collect::<BTreeSet<_>>(),
        named.collect::<BTreeSet<_>>()
    );
}

#[test]
fn unknown_nodes_and_nodes_without_a_daemon_fail_with_the_right_errno_in_time() {
    let labs = pair(66);
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let network = Request::Network(Network {
        nd: Nd::LOCAL,
        path: b"lab9/dev".to_vec(),
    });
    assert_eq!(client.refusal(&network).0, Errno::ENOENT);
    assert_eq!(client.refusal(&resolve(Nd(77), b"/")).0, Errno::ENOENT);
    let lab2 = nd(&mut client, "lab2");
    labs.lab2.kill();
    let began = Instant::now();
    let (errno, text) = client.refusal(&resolve(lab2, b"/dev"));
    assert!(
        errno == Errno::EHOSTDOWN && text.contains("lab2"),
        "{errno:?} {text}"
    );
    assert!(began.elapsed() < BOUND);
}

// qnx: P5
#[test]
fn a_change_of_names_is_told_to_who_has_asked() {
    let labs = pair(73);
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let page = client.descriptors.remove(0);
    let generation = |page: &std::os::fd::OwnedFd| {
        let mut word = [0; 8];
        rustix::io::pread(page, &mut word, abi::system::GENERATION_OFFSET as u64).unwrap();
        word
    };
    let lab2 = nd(&mut client, "lab2");
    assert_eq!(
        client.refusal(&resolve(lab2, b"/dev/ser1")).0,
        Errno::ENOENT
    );
    let before = generation(&page);
    let (mut server, _) = Program::connect(labs.lab2.directory());
    attach(&mut server, b"/dev/ser1");
    until("the news", || (generation(&page) != before).then_some(()));
    assert!(matches!(
        client.ask(&resolve(lab2, b"/dev/ser1")),
        Reply::Resolved(_)
    ));
}
