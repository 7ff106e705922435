//! Nodes that die, fall silent and come back, with real sockets over the loopback.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use abi::system::{DeathCause, Notice};
use slashnet_host::{Builder, Host};
use support::pair::*;
use support::{Program, asked_from, served_to};

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
    let theirs = vec![served_to(&offer, Some("lab1"))];
    let (mut server, _) = Program::returning(lab2.directory(), server_was.pid, theirs);
    let ours = [&kept, &lost].map(|ticket| asked_from(ticket, Some("lab2")));
    let (mut client, _) = Program::returning(lab1.directory(), client_was.pid, ours.to_vec());
    // Its server did not come back with it.
    client.expect_death(lost.local, DeathCause::Process);
    drop(client);
    server.expect_rights();
    server.expect_death(offer.local, DeathCause::Process);
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
