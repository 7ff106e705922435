//! Packets that come together.

use alloc::boxed::Box;
use alloc::vec;

use abi::ids::SessionId;

use super::pair::{Checksum, Pair, Train, address, lossy, pattern};
use crate::{Cause, Event, LinkIndex, Meta, Request, Role, SessionParams};

/// What the client has put on the wire, as one train.
fn train(pair: &mut Pair) -> Train {
    pair.flush();
    let mut train = Train::default();
    train.from = address(0);
    let sent = pair.wire.drain(..).map(|packet| packet.bytes);
    train.packets.extend(sent);
    train
}

fn arrive(pair: &mut Pair, mut train: Train) {
    let server = &mut pair.server;
    let memory = &mut server.memory;
    server
        .transport
        .receive_all(pair.now, LinkIndex(0), &mut train, memory);
}

fn ask() -> Request {
    Request::new(Meta::EMPTY, 5000, 64)
}

#[test]
fn forged_foreign_and_repeated_packets_among_others_change_nothing() {
    let mut pair = Pair::new(lossy(1));
    let content = pattern(5000, 1);
    let op = pair.send(ask(), &content);
    let mut train = train(&mut pair);
    assert!(train.packets.len() > 2);
    let mut forged = train.packets[1].clone();
    forged[100] ^= 1;
    let mut foreign = train.packets[1].clone();
    foreign[4] ^= 1;
    let repeated = train.packets[0].clone();
    for (at, packet) in [(1, forged), (3, foreign), (4, repeated)] {
        train.packets.insert(at, packet);
    }
    arrive(&mut pair, train);
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, content);
    pair.reply(incoming, 7, &[]);
    pair.expect_reply(op, 7, 0);
}

#[test]
fn nothing_but_forged_packets_wakes_no_session() {
    let mut pair = Pair::new(lossy(1));
    pair.send(ask(), &pattern(5000, 1));
    let mut train = train(&mut pair);
    for packet in &mut train.packets {
        packet[100] ^= 1;
    }
    arrive(&mut pair, train);
    assert_eq!(pair.server.transport.timeout(), None);
    assert_eq!(pair.server.transport.next_link(pair.now), None);
}

#[test]
fn packets_behind_the_last_of_a_session_do_not_reach_the_next_one() {
    let mut pair = Pair::new(lossy(1));
    pair.client
        .transport
        .close(pair.now, pair.client.session, 0);
    let mut train = train(&mut pair);
    let last = train.packets[0].clone();
    train.packets.push_back(last);
    arrive(&mut pair, train);
    let session = pair.server.session;
    let cause = Cause::Server;
    let code = Some(0);
    assert_eq!(
        pair.at_server(),
        Event::Closed {
            session,
            cause,
            code
        }
    );
    assert_eq!(pair.server.transport.sessions().count(), 0);
}

#[test]
fn packets_of_two_sessions_come_in_turn() {
    let mut pair = Pair::new(lossy(1));
    let now = pair.now;
    let open = |transport: &mut crate::Transport, role, local, peer| {
        let mut params = SessionParams::new(SessionId(local), SessionId(peer), role);
        params.lanes = lossy(1);
        params.cipher = Some(Box::new(Checksum));
        transport.open(now, params).unwrap()
    };
    let second = open(&mut pair.client.transport, Role::Client, 33, 44);
    open(&mut pair.server.transport, Role::Server, 44, 33);
    let content = pattern(5000, 3);
    let first = pair.client.session;
    for session in [first, second] {
        pair.client.session = session;
        pair.send(ask(), &content);
    }
    let mut train = train(&mut pair);
    let half = train.packets.len() / 2;
    let (ours, theirs): (vec::Vec<_>, vec::Vec<_>) = train
        .packets
        .drain(..)
        .enumerate()
        .partition(|(at, _)| *at < half);
    for ((_, one), (_, other)) in ours.into_iter().zip(theirs) {
        train.packets.extend([one, other]);
    }
    arrive(&mut pair, train);
    for _ in 0..2 {
        assert_eq!(pair.request().1, content);
    }
}
