//! Cancelled operations, dead peers, broken protocol.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use abi::time::Duration;

use super::pair::{Pair, address, lossy, millis, pattern, reliable};
use crate::{Buffer, Cause, Delivery, Event, LinkIndex, Meta, OpKey, Request, SendError};

fn ask(len: usize, reply_max: u64) -> Request {
    Request::new(Meta::EMPTY, len as u64, reply_max)
}

#[test]
fn an_operation_cancelled_before_it_leaves_was_not_done() {
    let mut pair = Pair::new(lossy(1));
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    pair.client.transport.cancel(pair.now, op, 3);
    pair.expect_failure(op, Cause::Cancelled, Delivery::NotDone);
    pair.run(millis(1000));
    assert_eq!(pair.packets(), (0, 0));
}

// qnx: I40, I68
#[test]
fn the_server_hears_of_a_cancelled_operation_and_still_answers_it() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        let op = pair.send(ask(64, 64), &pattern(64, 1));
        let (incoming, _) = pair.request();
        pair.client.transport.cancel(pair.now, op, 3);
        pair.client.transport.cancel(pair.now, op, 4);
        assert_eq!(
            pair.at_server(),
            Event::Unblock {
                incoming,
                reason: 3
            }
        );
        pair.run(millis(10_000));
        assert!(pair.client.events.is_empty(), "the server decides");
        pair.server.transport.fail(pair.now, incoming, 4).unwrap();
        assert_eq!(pair.at_client(), Event::Refused { op, errno: 4 });
    }
}

#[test]
fn an_operation_of_which_a_part_is_missing_is_withdrawn() {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(|n, to_server, _, _| !to_server || n != 1);
    let op = pair.send(ask(20_000, 64), &pattern(20_000, 1));
    pair.flush();
    pair.client.transport.cancel(pair.now, op, 3);
    let event = pair.at_server();
    assert!(matches!(event, Event::Withdrawn { .. }), "{event:?}");
    pair.expect_failure(op, Cause::Cancelled, Delivery::NotDone);
    let next = pair.send(ask(20_000, 64), &pattern(20_000, 2));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(20_000, 2));
    pair.reply(incoming, 0, b"");
    pair.expect_reply(next, 0, 0);
}

#[test]
fn a_cancellation_that_overtakes_its_request_prevents_it() {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(|n, to_server, _, _| !to_server || n != 1);
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    pair.flush();
    pair.client.transport.cancel(pair.now, op, 3);
    pair.expect_failure(op, Cause::Cancelled, Delivery::NotDone);
    pair.run(millis(60_000));
    assert!(pair.server.events.is_empty(), "{:?}", pair.server.events);
}

#[test]
fn a_deadline_unblocks_the_server() {
    let mut pair = Pair::new(lossy(1));
    let deadline = Some(pair.now + millis(30));
    let op = pair.send(
        Request {
            deadline,
            ..ask(64, 64)
        },
        &pattern(64, 1),
    );
    let (incoming, _) = pair.request();
    let reason = crate::config::REASON_DEADLINE;
    assert_eq!(pair.at_server(), Event::Unblock { incoming, reason });
    pair.server.transport.fail(pair.now, incoming, 110).unwrap();
    assert_eq!(pair.at_client(), Event::Refused { op, errno: 110 });
}

#[test]
fn a_silent_peer_is_dead_after_the_bound() {
    let mut pair = Pair::new(lossy(1));
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    let (incoming, _) = pair.request();
    pair.run(millis(5000));
    pair.fate = Box::new(|_, _, _, _| false);
    let before = pair.now;
    pair.run(Duration::from_secs(25));
    pair.expect_failure(op, Cause::Link, Delivery::Unknown);
    assert_eq!(pair.expect_close(Cause::Link), None);
    assert!(pair.now.saturating_since(before) <= Duration::from_secs(26));
    // The server has nothing to say, so it learns of the death from others.
    pair.server
        .transport
        .abandon(pair.now, pair.server.session, Cause::Node);
    pair.flush();
    let session = pair.server.session;
    assert_eq!(
        pair.server.events.pop_front(),
        Some(Event::Withdrawn { incoming })
    );
    assert_eq!(
        pair.server.events.pop_front(),
        Some(Event::Closed {
            session,
            cause: Cause::Node,
            code: None
        })
    );
}

/// Both have stood still for a minute after the client has asked; timers come first when they go on. The answer has been
/// there for long, unless what is asked gets `lost`.
fn stood_still(lost: bool) -> (Pair, OpKey) {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(move |_, _, _, _| !lost);
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    if !lost {
        let (incoming, _) = pair.request();
        pair.reply(incoming, 0, b"here");
    }
    pair.flush();
    pair.now += Duration::from_secs(60);
    pair.client.transport.handle_timeout(pair.now);
    pair.server.transport.handle_timeout(pair.now);
    (pair, op)
}

#[test]
fn the_time_in_which_an_end_stood_still_does_not_make_its_peer_dead() {
    let (mut pair, op) = stood_still(false);
    let Event::Replied { op: replied, .. } = pair.at_client() else {
        panic!("the answer was there");
    };
    assert_eq!(replied, op);
    let again = pair.send(ask(64, 64), &pattern(64, 2));
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, b"here");
    assert!(matches!(pair.at_client(), Event::Replied { op, .. } if op == again));
}

#[test]
fn a_peer_that_is_dead_is_found_dead_after_a_stand_still_and_after_many() {
    let (mut pair, op) = stood_still(true);
    let begun = pair.now;
    pair.expect_failure(op, Cause::Link, Delivery::Unknown);
    assert!(pair.now.saturating_since(begun) <= Duration::from_secs(16));
    let (mut pair, op) = stood_still(true);
    for _ in 0..20 {
        pair.run(millis(1));
        pair.now += Duration::from_secs(2);
        pair.client.transport.handle_timeout(pair.now);
    }
    pair.run(Duration::ZERO);
    pair.expect_failure(op, Cause::Link, Delivery::Unknown);
}

#[test]
fn an_operation_that_never_left_was_not_done_when_the_peer_dies() {
    let mut pair = Pair::new(lossy(1));
    pair.client.transport.link_full(pair.now, LinkIndex(0));
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    pair.client
        .transport
        .abandon(pair.now, pair.client.session, Cause::Server);
    pair.expect_failure(op, Cause::Server, Delivery::NotDone);
}

#[test]
fn an_idle_session_can_be_verified() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        pair.client
            .transport
            .verify(pair.now, pair.client.session, millis(100));
        pair.run(millis(1000));
        assert!(pair.client.events.is_empty());
        pair.fate = Box::new(|_, _, _, _| false);
        pair.client
            .transport
            .verify(pair.now, pair.client.session, millis(100));
        let before = pair.now;
        assert_eq!(pair.expect_close(Cause::Link), None);
        assert_eq!(pair.now.saturating_since(before), millis(100));
    }
}

#[test]
fn closing_tells_the_peer_and_frees_everything() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        let op = pair.send(ask(64, 64), &pattern(64, 1));
        pair.request();
        pair.server
            .transport
            .close(pair.now, pair.server.session, 7);
        let session = pair.client.session;
        pair.expect_failure(op, Cause::Server, Delivery::Unknown);
        assert_eq!(pair.expect_close(Cause::Server), Some(7));
        pair.run(millis(2000));
        for side in [&mut pair.client, &mut pair.server] {
            assert_eq!(side.transport.timeout(), None);
            assert_eq!(side.transport.sessions().count(), 0);
        }
        let refused = pair.client.transport.send(pair.now, session, ask(1, 1));
        assert_eq!(refused, Err(SendError::Closed));
    }
}

#[test]
fn a_peer_that_breaks_the_protocol_is_closed() {
    let mut pair = Pair::new(reliable());
    let session = pair.server.session;
    // A reply frame from a client.
    let mut packet = crate::packet::Header {
        flags: 0,
        lane: 0,
        body_len: 15,
        session: 22,
        pn: 0,
    }
    .encode()
    .to_vec();
    packet.extend([1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    let from = address(0);
    let server = &mut pair.server;
    server.transport.receive(
        pair.now,
        LinkIndex(0),
        &from,
        &mut packet,
        &mut server.memory,
    );
    assert_eq!(
        pair.at_server(),
        Event::Closed {
            session,
            cause: Cause::Protocol,
            code: None
        }
    );
}

#[test]
fn packets_of_strangers_get_silence() {
    let mut pair = Pair::new(reliable());
    let header = |session, lane| crate::packet::Header {
        flags: 0,
        lane,
        body_len: 3,
        session,
        pn: 0,
    };
    for (session, lane, link, from) in [(99, 0, 0, 0), (22, 1, 0, 0), (22, 0, 1, 0), (22, 0, 0, 1)]
    {
        let mut packet = header(session, lane).encode().to_vec();
        packet.extend([14, 0, 0]);
        let (link, from) = (LinkIndex(link), address(from));
        let server = &mut pair.server;
        server
            .transport
            .receive(pair.now, link, &from, &mut packet, &mut server.memory);
        pair.flush();
        assert!(pair.server.events.is_empty());
        assert_eq!(pair.packets(), (0, 0));
    }
}

#[test]
fn an_operation_ends_although_no_lane_can_carry_it() {
    let mut pair = Pair::new(lossy(2));
    for link in [0, 1] {
        pair.client.transport.link_down(pair.now, LinkIndex(link));
    }
    let before = pair.now;
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    pair.expect_failure(op, Cause::Link, Delivery::NotDone);
    assert_eq!(pair.now.saturating_since(before), Duration::from_secs(15));
}

#[test]
fn an_operation_waits_for_its_lane_to_come_back() {
    let mut pair = Pair::new(lossy(1));
    pair.client.transport.link_down(pair.now, LinkIndex(0));
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    pair.run(Duration::from_secs(10));
    assert!(pair.server.events.is_empty() && pair.client.events.is_empty());
    pair.client.transport.link_up(pair.now, LinkIndex(0));
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, b"ok");
    pair.expect_reply(op, 0, 2);
}

#[test]
fn a_replayed_packet_is_not_even_acknowledged() {
    let mut pair = Pair::new(lossy(1));
    pair.send(ask(64, 64), &pattern(64, 1));
    pair.flush();
    let recorded: Vec<_> = pair
        .wire
        .iter()
        .map(|packet| packet.bytes.clone())
        .collect();
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, b"ok");
    pair.run(millis(1000));
    let before = pair.packets();
    for mut bytes in recorded {
        let server = &mut pair.server;
        let (link, from) = (LinkIndex(0), address(0));
        server
            .transport
            .receive(pair.now, link, &from, &mut bytes, &mut server.memory);
    }
    pair.run(millis(1000));
    assert_eq!(pair.packets(), before);
}

#[test]
fn what_a_client_does_not_acknowledge_is_no_progress_however_often_it_is_sent() {
    let mut pair = Pair::new(lossy(1));
    let long = pattern(300_000, 1);
    let op = pair.send(ask(64, 300_000), &pattern(64, 1));
    let (incoming, _) = pair.request();
    let silent = Rc::new(Cell::new(true));
    let silent_ = silent.clone();
    pair.fate = Box::new(move |_, to_server, _, _| !to_server || !silent_.get());
    pair.reply(incoming, 0, &long);
    pair.run(millis(5_000));
    assert!(pair.server.sent > 40, "{} packets", pair.server.sent);
    assert_eq!(pair.server.transport.reply_progress(incoming), 0);
    silent.set(false);
    let (status, len) = (0, 300_000);
    while pair.at_client() != (Event::Replied { op, status, len }) {}
    pair.run(millis(100));
    assert_eq!(pair.server.transport.reply_progress(incoming), u64::MAX);
}

#[test]
fn transfers_progress_by_what_has_arrived() {
    let mut pair = Pair::new(lossy(1));
    let long = pattern(300_000, 1);
    pair.send(ask(long.len(), 300_000), &long);
    let (incoming, _) = pair.request();
    let (now, server) = (pair.now, &mut pair.server);
    let pull = server.transport.pull(now, incoming, 0, 300_000).unwrap();
    let push = server.transport.push(now, incoming, 0, 300_000).unwrap();
    for transfer in [pull, push] {
        let place = Buffer::Transfer(transfer);
        server.memory.0.insert(place, vec![7; long.len()]);
        assert_eq!(server.transport.transfer_progress(transfer), 0);
    }
    let mut between = [false; 2];
    for _ in 0..2 {
        while pair.server.events.is_empty() {
            assert!(pair.step(pair.now + millis(1000)));
            for (n, transfer) in [pull, push].into_iter().enumerate() {
                let progress = pair.server.transport.transfer_progress(transfer);
                between[n] |= (1..300_000).contains(&progress);
            }
        }
        pair.server.events.pop_front();
    }
    assert_eq!(between, [true; 2]);
    for transfer in [pull, push] {
        let progress = pair.server.transport.transfer_progress(transfer);
        assert_eq!(progress, u64::MAX);
    }
}
