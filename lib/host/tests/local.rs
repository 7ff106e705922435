//! One node and its programs, with real sockets.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::os::fd::{AsFd, OwnedFd};

use abi::system::{
    self, Accept, Attach, CloseSession, DeathCause, Detach, Invite, Join, Link, List, Network,
    Notice, Offer, OpenSession, Query, QueryKind, Refuse, Reply, Request, Resolve, Rows, Stat,
    Ticket,
};
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, Nd, Pid};
use rustix::fs::{MemfdFlags, memfd_create};
use slashnet_host::Builder;
use support::{Program, asked_from, node, served_to};

fn attach(path: &[u8]) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags: AttachFlags::empty(),
        file_type: FileType::ANY,
        channel: ChannelId(1),
        handle: Handle(7),
    })
}

fn resolve(path: &[u8]) -> Request {
    Request::Resolve(Resolve::any(Nd::LOCAL, path))
}

fn owners(program: &mut Program, path: &[u8]) -> Vec<(Pid, ChannelId, Handle)> {
    match program.ask(&resolve(path)) {
        Reply::Resolved(resolved) => resolved
            .candidates
            .iter()
            .map(|c| (c.pid, c.chid, c.handle))
            .collect(),
        Reply::Error(refusal) => {
            assert_eq!(refusal.errno, Errno::ENOENT);
            Vec::new()
        }
        other => panic!("{other:?}"),
    }
}

fn memory() -> [OwnedFd; 1] {
    [memfd_create("test", MemfdFlags::CLOEXEC).unwrap()]
}

fn open(pid: Pid) -> Request {
    Request::OpenSession(OpenSession {
        nd: Nd::LOCAL,
        pid,
        identity: None,
        sockets: vec![],
    })
}

/// A session between two programs of one node, as both see it.
fn introduce(client: &mut Program, server: &mut Program, pid: Pid) -> (Ticket, Offer) {
    let parts = memory();
    let parts: Vec<_> = parts.iter().map(AsFd::as_fd).collect();
    client.send(99, &open(pid), &parts);
    let (serial, notice, descriptors) = server.notice();
    let Notice::Offer(offer) = notice else {
        panic!("{notice:?}")
    };
    assert_eq!(
        descriptors.len(),
        3,
        "the memory goes along, and the server's doorbells"
    );
    server.send(
        serial,
        &Request::Accept(Accept {
            sockets: vec![],
            slots: 64,
            unscheduled: 65_536,
        }),
        &[],
    );
    let Reply::Ticket(ticket) = client.answer(99) else {
        panic!("no ticket")
    };
    check_doorbells(&descriptors[1..], &client.descriptors);
    (ticket, offer)
}

/// Each side rings what the other one hears, and has nothing else.
fn check_doorbells(server: &[OwnedFd], client: &[OwnedFd]) {
    let ([server_rings, server_hears], [client_rings, client_hears]) = (server, client) else {
        panic!("{server:?} {client:?}")
    };
    let rung = |hears: &OwnedFd| {
        let mut events = Vec::with_capacity(1);
        let space = rustix::buffer::spare_capacity(&mut events);
        let at_once = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::epoll::wait(hears, space, Some(&at_once)).unwrap()
    };
    for (rings, heard, other) in [
        (server_rings, client_hears, server_hears),
        (client_rings, server_hears, client_hears),
    ] {
        assert_eq!((rung(heard), rung(other)), (0, 0));
        rustix::io::write(rings, &[1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((rung(heard), rung(other)), (1, 0));
    }
}

#[test]
fn a_program_attaches_a_prefix_and_another_one_finds_it() {
    // qnx: P3, P31
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.1"]);
    let (mut server, welcome) = Program::connect(lab1.directory());
    assert_eq!(welcome.node.as_str(), "lab1");
    assert_eq!(welcome.pid, Pid(std::process::id()));
    assert_eq!(server.descriptors.len(), 1, "the node page");
    let Reply::Attached(attached) = server.ask(&attach(b"/dev/ser1")) else {
        panic!()
    };
    let (mut client, other) = Program::connect(lab1.directory());
    assert_ne!(other.pid, welcome.pid, "a second endpoint of one process");
    assert_eq!(
        owners(&mut client, b"//dev/./ser1")[0],
        (welcome.pid, ChannelId(1), Handle(7))
    );
    assert_eq!(
        server.ask(&Request::Detach(Detach { id: attached.id })),
        Reply::Done
    );
    assert!(owners(&mut client, b"/dev/ser1").is_empty());
    assert_eq!(
        server
            .refusal(&Request::Detach(Detach { id: attached.id }))
            .0,
        Errno::EBADF
    );
}

#[test]
fn what_a_program_owned_vanishes_with_it() {
    // qnx: P3
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.2"]);
    let (mut client, _) = Program::connect(lab1.directory());
    let (mut server, _) = Program::connect(lab1.directory());
    server.ask(&attach(b"/dev/ser1"));
    assert_eq!(owners(&mut client, b"/dev/ser1").len(), 1);
    drop(server);
    support::until("the prefix is gone", || {
        owners(&mut client, b"/dev/ser1").is_empty().then_some(())
    });
}

#[test]
fn directories_of_the_tree_and_net_can_be_listed() {
    // qnx: P2, P52
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.3"]);
    let (mut program, _) = Program::connect(lab1.directory());
    program.ask(&attach(b"/dev/ser1"));
    let link = Link {
        path: b"/dev/modem".to_vec(),
        target: b"/dev/ser1".to_vec(),
    };
    assert_eq!(program.ask(&Request::Link(link)), Reply::Done);
    let mut names = |path: &[u8]| {
        let list = List {
            nd: Nd::LOCAL,
            path: path.to_vec(),
            after: vec![],
        };
        let Reply::Listing(listing) = program.ask(&Request::List(list)) else {
            panic!()
        };
        assert!(!listing.more);
        let text = |entry: system::Entry| String::from_utf8(entry.name).unwrap();
        listing.entries.into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(names(b"/"), ["dev", "net"]);
    assert_eq!(names(b"/dev"), ["modem", "ser1"]);
    assert_eq!(names(b"/net"), ["lab1"]);
    let stat = Request::Stat(Stat {
        nd: Nd::LOCAL,
        path: b"/dev/modem".to_vec(),
    });
    let Reply::Described(modem) = program.ask(&stat) else {
        panic!()
    };
    assert_eq!(
        (modem.mode, &modem.target[..]),
        (0o120_777, &b"/dev/ser1"[..])
    );
    let network = |path: &[u8]| {
        Request::Network(Network {
            nd: Nd::LOCAL,
            path: path.to_vec(),
        })
    };
    let Reply::Redirect(redirect) = program.ask(&network(b"lab1/dev/ser1")) else {
        panic!()
    };
    assert_eq!(
        (redirect.nd, redirect.pid, &redirect.path[..]),
        (Nd::LOCAL, Pid(1), &b"dev/ser1"[..])
    );
    let (errno, text) = program.refusal(&network(b"lab9/dev"));
    assert!(errno == Errno::ENOENT && text.contains("lab9"), "{text}");
}

#[test]
fn two_programs_are_introduced_and_each_learns_of_the_other_s_end() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.4"]);
    let (mut server, welcome) = Program::connect(lab1.directory());
    let (mut client, me) = Program::connect(lab1.directory());
    let (first, offer) = introduce(&mut client, &mut server, welcome.pid);
    assert_eq!((first.local, first.peer), (offer.peer, offer.local));
    assert_eq!(offer.credentials.pid, me.pid);
    assert_eq!(offer.credentials.uid.0, rustix::process::geteuid().as_raw());
    assert!(first.secret.is_none() && first.lanes.is_empty());
    let (second, _) = introduce(&mut client, &mut server, welcome.pid);

    assert_eq!(
        client.ask(&Request::CloseSession(CloseSession {
            session: first.local
        })),
        Reply::Done
    );
    server.expect_death(first.peer, DeathCause::Session);
    drop(client);
    server.expect_death(second.peer, DeathCause::Process);
}

#[test]
fn a_server_may_refuse_or_die_before_it_answers() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.5"]);
    let (mut client, _) = Program::connect(lab1.directory());
    let (mut server, welcome) = Program::connect(lab1.directory());
    let parts = memory();
    let parts: Vec<_> = parts.iter().map(AsFd::as_fd).collect();
    client.send(50, &open(welcome.pid), &parts);
    let (serial, _, _) = server.notice();
    server.send(
        serial,
        &Request::Refuse(Refuse {
            errno: Errno::ENXIO,
        }),
        &[],
    );
    let Reply::Error(refusal) = client.answer(50) else {
        panic!()
    };
    assert_eq!(refusal.errno, Errno::ENXIO);
    client.send(51, &open(welcome.pid), &parts);
    server.notice();
    drop(server);
    let Reply::Error(refusal) = client.answer(51) else {
        panic!()
    };
    assert_eq!(refusal.errno, Errno::ESRCH);
    assert_eq!(
        client.refusal(&open(Pid(4_000_000))).0,
        Errno::EINVAL,
        "no memory sent"
    );
    assert_eq!(client.refusal(&open(Pid(1))).0, Errno::EINVAL);
}

#[test]
fn bad_requests_are_refused_and_the_connection_goes_on() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.6"]);
    let mut early = Program::silent(lab1.directory());
    assert_eq!(early.refusal(&resolve(b"/")).0, Errno::EPERM);
    let hello = |version| {
        Request::Hello(system::Hello {
            version,
            program: vec![],
            previous: Pid(0),
            sessions: vec![],
        })
    };
    let (errno, text) = early.refusal(&hello(99));
    assert!(errno == Errno::ENOTSUP && text.contains("99"), "{text}");
    let (mut program, _) = Program::connect(lab1.directory());
    assert_eq!(program.refusal(&hello(system::VERSION)).0, Errno::EALREADY);
    program.send_bytes(&[5, 0, 0, 0, 0xff, 0xff], &[]);
    assert!(matches!(program.answer(5), Reply::Error(refusal) if refusal.errno == Errno::EBADMSG));
    assert_eq!(program.refusal(&attach(b"")).0, Errno::ENOENT);
    let long = Request::Resolve(Resolve::any(Nd::LOCAL, &[b'a'; 10_000]));
    assert_eq!(program.refusal(&long).0, Errno::ENAMETOOLONG);
    let join = |code: &[u8]| {
        Request::Join(Join {
            code: code.to_vec(),
        })
    };
    let (errno, text) = program.refusal(&join(b"AB!"));
    assert!(errno == Errno::EINVAL && text.contains('!'), "{text}");
    assert_eq!(
        program
            .refusal(&Request::Invite(Invite {
                ttl: std::time::Duration::ZERO
            }))
            .0,
        Errno::EINVAL
    );
    program.send_bytes(&[1, 2, 3], &[]);
    assert!(
        program.receive().is_none(),
        "a packet without a serial ends the connection"
    );
}

#[test]
fn a_code_that_is_mistyped_cut_or_our_own_is_refused_at_once() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.7"]);
    let (mut program, _) = Program::connect(lab1.directory());
    let ttl = std::time::Duration::from_secs(60);
    let Reply::Code(code) = program.ask(&Request::Invite(Invite { ttl })) else {
        panic!()
    };
    let mut join = |code: &[u8]| {
        program.refusal(&Request::Join(Join {
            code: code.to_vec(),
        }))
    };
    let (errno, text) = join(&code.code);
    assert!(errno == Errno::EEXIST && text.contains("itself"), "{text}");
    let mut mistyped = code.code.clone();
    mistyped[20] = if mistyped[20] == b'A' { b'B' } else { b'A' };
    let (errno, text) = join(&mistyped);
    assert!(
        errno == Errno::EINVAL && text.contains("mistyped"),
        "{text}"
    );
    let (errno, text) = join(&code.code[..40]);
    assert!(
        errno == Errno::EINVAL && text.contains("complete"),
        "{text}"
    );
}

#[test]
fn programs_and_sessions_survive_the_daemon() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.8"]);
    let (mut server, welcome) = Program::connect(lab1.directory());
    let (mut client, me) = Program::connect(lab1.directory());
    let (kept, offer) = introduce(&mut client, &mut server, welcome.pid);
    let (lost, _) = introduce(&mut client, &mut server, welcome.pid);
    drop(lab1);
    assert!(client.receive().is_none() && server.receive().is_none());
    let lab1 = node(lab.path(), "lab1", &["127.0.60.8"]);
    let theirs = vec![served_to(&offer, None)];
    let (mut server, again) = Program::returning(lab1.directory(), welcome.pid, theirs);
    assert_eq!(again.pid, welcome.pid);
    assert_ne!(again.incarnation, welcome.incarnation);
    let ours = vec![asked_from(&kept, None), asked_from(&lost, None)];
    let (mut client, _) = Program::returning(lab1.directory(), me.pid, ours);
    // After the time to come back is over.
    client.expect_death(lost.local, DeathCause::Process);
    client.ask(&Request::CloseSession(CloseSession {
        session: kept.local,
    }));
    server.expect_rights();
    server.expect_death(kept.peer, DeathCause::Session);
}

#[test]
fn a_second_node_in_the_same_directory_is_refused() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.9"]);
    let second = Builder::new("lab1")
        .directory(lab1.directory())
        .link("127.0.60.10")
        .port(0)
        .start();
    let text = second.err().unwrap().to_string();
    let process = std::process::id().to_string();
    assert!(
        text.contains("another node runs") && text.contains(&process),
        "{text}"
    );
    drop(lab1);
    node(lab.path(), "lab1", &["127.0.60.9"]);
}

#[test]
fn tables_tell_who_is_there() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.60.11"]);
    let (mut server, welcome) = Program::connect(lab1.directory());
    for number in 0..700 {
        let path = format!("/dev/{number:0100}");
        assert!(matches!(
            server.ask(&attach(path.as_bytes())),
            Reply::Attached(_)
        ));
    }
    let (mut client, _) = Program::connect(lab1.directory());
    introduce(&mut client, &mut server, welcome.pid);
    let mut table = |what, from| match client.ask(&Request::Query(Query {
        what,
        nd: Nd::LOCAL,
        from,
    })) {
        Reply::Table(table) => table,
        other => panic!("{other:?}"),
    };
    assert!(matches!(table(QueryKind::Nodes, 0).rows, Rows::Nodes(rows) if rows.len() == 1));
    assert!(matches!(table(QueryKind::Links, 0).rows, Rows::Links(rows) if rows.len() == 1));
    assert!(matches!(table(QueryKind::Sessions, 0).rows, Rows::Sessions(rows) if rows.len() == 2));
    let Rows::Processes(rows) = table(QueryKind::Processes, 0).rows else {
        panic!()
    };
    assert_eq!(
        rows.iter().map(|row| row.prefixes).collect::<Vec<_>>(),
        [700, 0]
    );
    let (mut from, mut prefixes) = (0, 0);
    loop {
        let page = table(QueryKind::Prefixes, from);
        let Rows::Prefixes(rows) = page.rows else {
            panic!()
        };
        prefixes += rows.len();
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(prefixes, 701, "700 of the server and /net");
    assert!(from > 0, "so many do not fit one packet");
}
