//! Codes, joining and forgetting, with real sockets over the loopback.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use abi::system::{Forget, Notice, Query, QueryKind, Reply, Request, Revoke, Rows};
use abi::{Errno, Nd};
use slashnet_host::Builder;
use support::pair::*;
use support::{Program, node, until};

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
    let mut thrown = 0_u64;
    for len in (0..300_usize).chain([1200, 1200, 9000]) {
        for kind in [1_u8, 2, 3, 5, 8, 9, 31] {
            let mut packet = vec![len as u8; len];
            if let Some(first) = packet.first_mut() {
                *first = 1 << 5 | kind;
            }
            stranger.send_to(&packet, to).unwrap();
            thrown += packet.len() as u64;
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
    for second in [&lab3, &lab2] {
        let (errno, text) = join(second, &code).unwrap_err();
        assert!(
            errno == Errno::EALREADY && text.contains("used already"),
            "{text}"
        );
    }
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
