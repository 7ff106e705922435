//! Requests, replies, pulls, pushes.

use alloc::vec;

use super::pair::{Pair, lossy, millis, pattern, reliable};
use crate::{Buffer, Event, Meta, Request};

fn ask(len: usize, reply_max: u64) -> Request {
    Request::new(Meta::new(b"meta").unwrap(), len as u64, reply_max)
}

#[test]
fn sixteen_short_calls_at_once_cost_two_packets() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        for round in 1..=50_u8 {
            let mut ops: vec::Vec<_> = (0..16)
                .map(|n| pair.send(ask(16, 16), &pattern(16, round ^ n)))
                .collect();
            for _ in 0..16 {
                let (incoming, bytes) = pair.request();
                let place = Buffer::Outgoing(incoming);
                pair.server.memory.0.insert(place, bytes);
                let (now, server) = (pair.now, &mut pair.server.transport);
                server.reply(now, incoming, 0, 16).unwrap();
            }
            while !ops.is_empty() {
                let event = pair.at_client();
                let Event::Replied { op, .. } = event else {
                    panic!("{event:?}");
                };
                ops.retain(|open| *open != op);
            }
            assert_eq!(pair.packets(), (round.into(), round.into()));
        }
    }
}

#[test]
fn a_request_and_its_reply_cost_two_packets() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        for round in 1..=50 {
            let op = pair.send(ask(64, 64), &pattern(64, round));
            let mut event = pair.at_server();
            while matches!(event, Event::Released { .. }) {
                event = pair.at_server();
            }
            let Event::Request {
                incoming,
                meta,
                len,
                available,
                reply_max,
                one_way,
                ..
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!((meta.as_bytes(), len, available), (&b"meta"[..], 64, 64));
            assert_eq!((reply_max, one_way), (64, false));
            assert_eq!(
                pair.server.memory.0[&Buffer::Incoming(incoming)],
                pattern(64, round)
            );
            pair.reply(incoming, -5, &pattern(32, round));
            pair.expect_reply(op, -5, 32);
            assert_eq!(pair.reply_bytes(op), pattern(32, round));
            assert_eq!(pair.packets(), (round.into(), round.into()));
            pair.flush();
            pair.server.events.clear();
        }
        pair.run(millis(60_000));
        assert_eq!(pair.packets(), (50, 50), "nothing more follows");
    }
}

#[test]
fn a_slow_handler_costs_four_packets() {
    let mut pair = Pair::new(lossy(1));
    let op = pair.send(ask(64, 64), &pattern(64, 0));
    let (incoming, _) = pair.request();
    pair.run(millis(100));
    assert_eq!(
        pair.packets(),
        (1, 1),
        "the request was acknowledged, not repeated"
    );
    pair.reply(incoming, 0, b"done");
    pair.expect_reply(op, 0, 4);
    pair.run(millis(60_000));
    assert_eq!(pair.packets(), (2, 2));
    assert_eq!(pair.at_server(), Event::Released { incoming });
}

#[test]
fn an_operation_may_block_for_hours() {
    let mut pair = Pair::new(lossy(1));
    let op = pair.send(ask(8, 8), &pattern(8, 0));
    let (incoming, _) = pair.request();
    for round in 0..200 {
        let other = pair.send(ask(8, 8), &pattern(8, round));
        let (incoming, _) = pair.request();
        pair.reply(incoming, 1, b"");
        pair.expect_reply(other, 1, 0);
        pair.run(millis(60_000));
    }
    pair.reply(incoming, 2, b"late");
    pair.expect_reply(op, 2, 4);
}

#[test]
fn an_empty_request_and_an_empty_reply_arrive() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        let op = pair.send(ask(0, 0), b"");
        let (incoming, bytes) = pair.request();
        assert!(bytes.is_empty());
        pair.reply(incoming, 7, b"");
        pair.expect_reply(op, 7, 0);
    }
}

#[test]
fn a_refusal_carries_the_error_number() {
    let mut pair = Pair::new(lossy(1));
    let op = pair.send(ask(1, 1), b"x");
    let (incoming, _) = pair.request();
    pair.server.transport.fail(pair.now, incoming, 13).unwrap();
    assert_eq!(pair.at_client(), Event::Refused { op, errno: 13 });
    assert!(pair.server.transport.fail(pair.now, incoming, 13).is_err());
}

#[test]
fn a_reply_is_cut_to_the_room_the_client_has() {
    let mut pair = Pair::new(lossy(1));
    let op = pair.send(ask(1, 10), b"x");
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, &pattern(100, 1));
    pair.expect_reply(op, 0, 10);
    assert_eq!(pair.reply_bytes(op), &pattern(100, 1)[..10]);
}

/// A request longer than what comes unasked is pulled, and a long reply comes whole.
// qnx: I61
#[test]
fn long_messages_go_both_ways() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        let long = pattern(3_000_000, 3);
        let op = pair.send(ask(long.len(), 5_000_000), &long);
        let (incoming, start) = pair.request();
        assert_eq!(start, &long[..65_536]);
        let (at, rest) = (65_536, long.len() - 65_536);
        let transfer = pair
            .server
            .transport
            .pull(pair.now, incoming, at, rest as u64 + 999)
            .unwrap();
        pair.server
            .memory
            .0
            .insert(Buffer::Transfer(transfer), vec![0; rest]);
        assert_eq!(pair.at_server(), Event::Transferred { transfer });
        assert_eq!(
            pair.server.memory.0[&Buffer::Transfer(transfer)],
            &long[65_536..]
        );
        let answer = pattern(4_000_000, 9);
        pair.reply(incoming, 0, &answer);
        pair.expect_reply(op, 0, 4_000_000);
        assert!(pair.reply_bytes(op) == answer);
        pair.run(millis(1000));
        assert_eq!(
            pair.server.events.pop_front(),
            Some(Event::Released { incoming })
        );
    }
}

// qnx: I63
#[test]
fn a_push_is_there_before_the_reply() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        let op = pair.send(ask(1, 200_000), b"x");
        let (incoming, _) = pair.request();
        let bytes = pattern(100_000, 4);
        let transfer = pair
            .server
            .transport
            .push(pair.now, incoming, 50_000, 100_000)
            .unwrap();
        pair.server
            .memory
            .0
            .insert(Buffer::Transfer(transfer), bytes.clone());
        assert_eq!(pair.at_server(), Event::Transferred { transfer });
        pair.reply(incoming, 0, b"head");
        pair.expect_reply(op, 0, 4);
        assert_eq!(&pair.reply_bytes(op)[50_000..], bytes);
        assert_eq!(&pair.reply_bytes(op)[..4], b"head");
    }
}

#[test]
fn a_one_way_request_ends_when_it_is_there() {
    for lanes in [lossy(1), reliable()] {
        let mut pair = Pair::new(lanes);
        for round in 0..300 {
            let request = Request {
                one_way: true,
                ..ask(16, 0)
            };
            let op = pair.send(request, &pattern(16, round as u8));
            let Event::Request {
                incoming,
                one_way: true,
                ..
            } = pair.at_server()
            else {
                panic!("no one-way request");
            };
            let bytes = pair
                .server
                .memory
                .0
                .remove(&Buffer::Incoming(incoming))
                .unwrap();
            assert_eq!(bytes, pattern(16, round as u8));
            assert!(
                pair.server
                    .transport
                    .reply(pair.now, incoming, 0, 0)
                    .is_err()
            );
            pair.expect_reply(op, 0, 0);
        }
    }
}

#[test]
fn many_operations_are_outstanding_up_to_the_number_granted() {
    let mut pair = Pair::with(lossy(1), |params| params.slots = 200);
    let mut ops = vec![];
    for i in 0..200 {
        ops.push(pair.send(ask(100, 100), &pattern(100, i as u8)));
    }
    let refused = pair
        .client
        .transport
        .send(pair.now, pair.client.session, ask(1, 1));
    assert_eq!(refused, Err(crate::SendError::NoSlot));
    for i in 0..200 {
        let (incoming, bytes) = pair.request();
        assert_eq!(bytes, pattern(100, i as u8));
        pair.reply(incoming, i, &bytes);
    }
    for i in 0..200 {
        let op = ops[i as usize];
        pair.expect_reply(op, i, 100);
        assert_eq!(pair.reply_bytes(op), pattern(100, i as u8));
    }
}

/// Without credit a request is announced with its first part and waits to be pulled.
#[test]
fn a_request_beyond_the_credit_comes_with_its_first_part_only() {
    let mut pair = Pair::with(lossy(1), |params| params.credit = 100_000);
    let long = pattern(60_000, 1);
    for _ in 0..3 {
        pair.send(ask(60_000, 0), &long);
    }
    let mut available = vec![];
    let mut keys = vec![];
    for _ in 0..3 {
        let Event::Request {
            available: n,
            incoming,
            ..
        } = pair.at_server()
        else {
            panic!("no request");
        };
        available.push(n);
        keys.push(incoming);
    }
    available.sort_unstable();
    assert_eq!(available, [1024, 1024, 60_000]);
    for incoming in keys {
        pair.reply(incoming, 0, b"");
    }
    pair.run(millis(100));
    pair.send(ask(60_000, 0), &long);
    pair.server.events.clear();
    assert_eq!(pair.request().1.len(), 60_000, "the credit has come back");
}

#[test]
fn a_short_message_does_not_wait_behind_a_long_one() {
    let mut pair = Pair::new(lossy(1));
    let long = pattern(8_000_000, 1);
    pair.send(ask(long.len(), 0), &long);
    let (incoming, _) = pair.request();
    pair.pull(incoming, long.len());
    pair.run(millis(1));
    pair.send(ask(64, 64), &pattern(64, 5));
    let before = pair.now;
    let (_, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, 5));
    assert!(pair.now.saturating_since(before) < millis(2));
}

/// Acknowledgements of long messages ride on what goes the other way.
#[test]
fn calls_of_64_kib_cost_little_more_than_their_fragments() {
    let mut pair = Pair::new(lossy(1));
    let long = pattern(65_536, 1);
    for round in 0..40 {
        let before = pair.packets();
        let op = pair.send(ask(65_536, 65_536), &long);
        let (incoming, _) = pair.request();
        pair.reply(incoming, 0, &long);
        pair.expect_reply(op, 0, 65_536);
        let after = pair.packets();
        // 46 fragments; the window must open first.
        if round > 20 {
            assert!(
                after.0 - before.0 <= 47 && after.1 - before.1 <= 47,
                "{before:?} {after:?}"
            );
        }
    }
}
