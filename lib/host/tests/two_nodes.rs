//! Two nodes and their programs, with real sockets over the loopback.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use abi::system::{
    Accept, Attach, CloseSession, Code, Death, DeathCause, Forget, Identity, Invite, Join, List,
    LiveSession, Lookup, Network, Notice, Offer, OpenSession, Query, QueryKind, Refuse, Reply,
    Request, Resolve, Revoke, Rows, SessionRole, SocketOnLink, Stat, Ticket,
};
use abi::{
    AttachFlags, ChannelId, Errno, FileType, Gid, Handle, LinkAddress, Nd, NodeName, Pid, Uid,
};
use slashnet_host::{Builder, Host};
use support::{Program, node, until};

/// What a request to another node may take in the worst case, with room for a busy machine.
const BOUND: Duration = Duration::from_secs(6);

struct Pair {
    lab1: Host,
    lab2: Host,
    _directory: tempfile::TempDir,
}

/// Two nodes that trust each other.
fn pair(network: u8) -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let lab1 = node(
        directory.path(),
        "lab1",
        &[
            &format!("127.0.{network}.1"),
            &format!("127.0.{network}.129"),
        ],
    );
    let lab2 = node(
        directory.path(),
        "lab2",
        &[
            &format!("127.0.{network}.2"),
            &format!("127.0.{network}.130"),
        ],
    );
    let code = invite(&lab1, Duration::from_secs(60));
    join(&lab2, &code).unwrap();
    Pair {
        lab1,
        lab2,
        _directory: directory,
    }
}

fn invite(host: &Host, ttl: Duration) -> Vec<u8> {
    let (mut program, _) = Program::connect(host.directory());
    match program.ask(&Request::Invite(Invite { ttl })) {
        Reply::Code(Code { code }) => code,
        other => panic!("{other:?}"),
    }
}

fn join(host: &Host, code: &[u8]) -> Result<NodeName, (Errno, String)> {
    let (mut program, _) = Program::connect(host.directory());
    match program.ask(&Request::Join(Join {
        code: code.to_vec(),
    })) {
        Reply::Joined(joined) => Ok(joined.node),
        Reply::Error(refusal) => Err((refusal.errno, String::from_utf8(refusal.text).unwrap())),
        other => panic!("{other:?}"),
    }
}

fn name(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn nd(program: &mut Program, node: &str) -> Nd {
    match program.ask(&Request::Lookup(Lookup { node: name(node) })) {
        Reply::Redirect(redirect) => redirect.nd,
        other => panic!("{other:?}"),
    }
}

fn attach(program: &mut Program, path: &[u8]) {
    let attach = Attach {
        path: path.to_vec(),
        flags: AttachFlags::empty(),
        file_type: FileType::ANY,
        channel: ChannelId(3),
        handle: Handle(9),
    };
    assert!(matches!(
        program.ask(&Request::Attach(attach)),
        Reply::Attached(_)
    ));
}

fn resolve(nd: Nd, path: &[u8]) -> Request {
    Request::Resolve(Resolve {
        nd,
        path: path.to_vec(),
        file_type: FileType::ANY,
        no_follow: false,
    })
}

/// The program's sockets on all links; the kernel chose the ports.
fn sockets(host: &Host) -> (Vec<UdpSocket>, Vec<SocketOnLink>) {
    let open = |(link, index): (&node::LinkConfig, u8)| {
        let ip = link.address.socket_address().unwrap().ip();
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        let address = LinkAddress::from(socket.local_addr().unwrap());
        (
            socket,
            SocketOnLink {
                link: index,
                address,
            },
        )
    };
    host.links().iter().zip(0..).map(open).unzip()
}

fn open(nd: Nd, pid: Pid, sockets: &[SocketOnLink]) -> Request {
    Request::OpenSession(OpenSession {
        nd,
        pid,
        identity: None,
        sockets: sockets.to_vec(),
    })
}

/// A session from a client on lab1 to a server on lab2, as both see it.
fn introduce(labs: &Pair, client: &mut Program, server: &mut Program, pid: Pid) -> (Ticket, Offer) {
    let nd = nd(client, "lab2");
    let (_, ours) = sockets(&labs.lab1);
    let (_, theirs) = sockets(&labs.lab2);
    client.send(500, &open(nd, pid, &ours), &[]);
    let (serial, Notice::Offer(offer), _) = server.notice() else {
        panic!()
    };
    let accept = Accept {
        sockets: theirs.clone(),
        slots: 64,
        unscheduled: 1024,
    };
    server.send(serial, &Request::Accept(accept), &[]);
    let Reply::Ticket(ticket) = client.answer(500) else {
        panic!("no ticket")
    };
    let mut lanes: Vec<LinkAddress> = ticket.lanes.iter().map(|lane| lane.peer).collect();
    lanes.sort_unstable();
    let mut expected: Vec<LinkAddress> = theirs.iter().map(|socket| socket.address).collect();
    expected.sort_unstable();
    assert_eq!(lanes, expected);
    (ticket, offer)
}

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
    let closed = Death {
        sessions: vec![offer.local],
        cause: DeathCause::Session,
    };
    assert_eq!(server.notice().1, Notice::Death(closed));
    drop(server);
    let died = Death {
        sessions: vec![second.local],
        cause: DeathCause::Process,
    };
    assert_eq!(client.notice().1, Notice::Death(died));
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
    // qnx: N1, Q2, Q7
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
    assert_eq!(
        offer.lanes.iter().map(|lane| lane.peer).collect::<Vec<_>>(),
        [sockets[1].address]
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

#[test]
fn strangers_get_silence() {
    let directory = tempfile::tempdir().unwrap();
    let lab1 = node(directory.path(), "lab1", &["127.0.67.1"]);
    let to = lab1.links()[0].address.socket_address().unwrap();
    let stranger = UdpSocket::bind("127.0.67.9:0").unwrap();
    let (mut program, _) = Program::connect(lab1.directory());
    let links = Request::Query(Query {
        what: QueryKind::Links,
        nd: Nd::LOCAL,
        from: 0,
    });
    let mut thrown = 0;
    for len in (0..300_usize).chain([1200, 1200, 9000]) {
        for kind in [1_u8, 2, 3, 5, 8, 9, 31] {
            let mut packet = vec![len as u8; len];
            if let Some(first) = packet.first_mut() {
                *first = 1 << 5 | kind;
            }
            stranger.send_to(&packet, to).unwrap();
            thrown += 1;
        }
        // No more at once than the socket's buffer surely holds.
        until("the node has read the packets", || {
            let Reply::Table(table) = program.ask(&links) else {
                panic!()
            };
            let Rows::Links(rows) = table.rows else {
                panic!()
            };
            assert_eq!(rows[0].sent, 0, "nothing is answered");
            (rows[0].received == thrown).then_some(())
        });
    }
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 2048]).is_err());
}

#[test]
fn a_used_an_expired_and_a_forgotten_code_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let lab1 = node(directory.path(), "lab1", &["127.0.68.1"]);
    let lab2 = node(directory.path(), "lab2", &["127.0.68.2"]);
    let lab3 = node(directory.path(), "lab3", &["127.0.68.3"]);
    let code = invite(&lab1, Duration::from_secs(60));
    assert_eq!(join(&lab2, &code).unwrap(), name("lab1"));
    let (errno, text) = join(&lab3, &code).unwrap_err();
    assert!(
        errno == Errno::EALREADY && text.contains("used already"),
        "{text}"
    );
    let code = invite(&lab1, Duration::from_millis(1));
    let made = Instant::now();
    until("the code expires", || {
        (made.elapsed() > Duration::from_millis(2)).then_some(())
    });
    let (errno, text) = join(&lab3, &code).unwrap_err();
    assert!(errno == Errno::ETIME && text.contains("expired"), "{text}");
    let code = invite(&lab1, Duration::from_secs(60));
    drop(lab1);
    let began = Instant::now();
    let (errno, text) = join(&lab3, &code).unwrap_err();
    assert!(
        errno == Errno::ETIMEDOUT && text.contains("127.0.68.1"),
        "{text}"
    );
    assert!(began.elapsed() < BOUND);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let lab1 = node(directory.path(), "lab1", &["127.0.69.1"]);
    let start = |dir: &str, address: &str| {
        let builder = Builder::new("lab2")
            .directory(directory.path().join(dir))
            .port(0);
        builder.link(address).start().unwrap()
    };
    let (first, second) = (start("a", "127.0.69.2"), start("b", "127.0.69.3"));
    join(&first, &invite(&lab1, Duration::from_secs(60))).unwrap();
    let (errno, text) = join(&second, &invite(&lab1, Duration::from_secs(60))).unwrap_err();
    assert!(errno == Errno::EEXIST && text.contains("--name"), "{text}");
}

#[test]
fn trust_survives_a_restart_and_ends_when_the_node_is_forgotten() {
    let labs = pair(70);
    let (mut server, welcome) = Program::connect(labs.lab2.directory());
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let (ticket, offer) = introduce(&labs, &mut client, &mut server, welcome.pid);
    assert_eq!(
        server.ask(&Request::Forget(Forget { node: name("lab1") })),
        Reply::Done
    );
    assert_eq!(
        server.notice().1,
        Notice::Revoke(Revoke {
            sessions: vec![offer.local]
        })
    );
    assert_eq!(
        server
            .refusal(&Request::Forget(Forget { node: name("lab1") }))
            .0,
        Errno::ENOENT
    );
    let lab2 = nd(&mut client, "lab2");
    assert_eq!(
        client.refusal(&resolve(lab2, b"/")).0,
        Errno::EHOSTDOWN,
        "silence, as for a node that is off"
    );
    drop(ticket);
}

/// Two nodes at ports that they find again.
fn start_both(directory: &Path) -> (Host, Host) {
    let port = 20_000 + (std::process::id() % 10_000) as u16;
    let start = |name: &str, address: &str| {
        let builder = Builder::new(name)
            .directory(directory.join(name))
            .port(port);
        builder.link(address).start().unwrap()
    };
    (start("lab1", "127.0.71.1"), start("lab2", "127.0.71.2"))
}

#[test]
fn sessions_outlive_both_daemons_and_death_is_still_told() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    let (lab1, lab2) = start_both(&place);
    join(&lab2, &invite(&lab1, Duration::from_secs(60))).unwrap();
    let (mut server, server_was) = Program::connect(lab2.directory());
    let (mut client, client_was) = Program::connect(lab1.directory());
    let labs = Pair {
        lab1,
        lab2,
        _directory: directory,
    };
    let (kept, offer) = introduce(&labs, &mut client, &mut server, server_was.pid);
    let (lost, _) = introduce(&labs, &mut client, &mut server, server_was.pid);
    let Pair {
        lab1,
        lab2,
        _directory: directory,
    } = labs;
    lab1.kill();
    lab2.kill();
    drop((client, server));

    let (lab1, lab2) = start_both(&place);
    let live = |local, peer, role, node: &str, pid| LiveSession {
        local,
        peer,
        role,
        node: Some(name(node)),
        pid,
    };
    let theirs = vec![live(
        offer.local,
        offer.peer,
        SessionRole::Server,
        "lab1",
        client_was.pid,
    )];
    let (mut server, _) = Program::returning(lab2.directory(), server_was.pid, theirs);
    let ours = [&kept, &lost].map(|it| {
        live(
            it.local,
            it.peer,
            SessionRole::Client,
            "lab2",
            server_was.pid,
        )
    });
    let (mut client, _) = Program::returning(lab1.directory(), client_was.pid, ours.to_vec());
    let gone = Death {
        sessions: vec![lost.local],
        cause: DeathCause::Process,
    };
    assert_eq!(
        client.notice().1,
        Notice::Death(gone),
        "its server did not come back with it"
    );
    drop(client);
    let died = Death {
        sessions: vec![offer.local],
        cause: DeathCause::Process,
    };
    assert_eq!(server.notice().1, Notice::Death(died));
    drop(directory);
}

#[test]
fn programs_are_told_when_the_other_node_falls_silent() {
    let labs = pair(72);
    let (mut server, welcome) = Program::connect(labs.lab2.directory());
    let (mut client, _) = Program::connect(labs.lab1.directory());
    let (ticket, _) = introduce(&labs, &mut client, &mut server, welcome.pid);
    labs.lab2.kill();
    let Notice::Verify(verify) = client.notice().1 else {
        panic!()
    };
    assert_eq!(verify.sessions, [ticket.local]);
}

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

#[test]
fn an_idle_node_is_small() {
    // The node runs as a thread here, so the whole test process is an upper bound.
    let directory = tempfile::tempdir().unwrap();
    let _lab1 = node(directory.path(), "lab1", &["127.0.74.1"]);
    let kib = resident_kib(Path::new("/proc/self/status"));
    assert!(kib < 20 * 1024, "{kib} KiB resident");
}

fn resident_kib(status: &Path) -> u64 {
    let text = std::fs::read_to_string(status).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}
