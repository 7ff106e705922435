//! Policies: which lanes the packets of an operation take, in both directions.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use core::cell::RefCell;

use super::pair::{Pair, lossy, millis, pattern};
use crate::{
    Buffer, Cause, Delivery, Event, LaneReport, LaneWord, LinkIndex, Meta, OpKey, Policy, Request,
    SendError,
};

const ONLY_1: Policy = Policy::Exclusive {
    lane: 1,
    wait: false,
};
const WAIT_1: Policy = Policy::Exclusive {
    lane: 1,
    wait: true,
};

fn ask(policy: Policy, len: usize, reply_max: u64) -> Request {
    Request {
        policy,
        ..Request::new(Meta::EMPTY, len as u64, reply_max)
    }
}

const fn report(word: LaneWord) -> LaneReport {
    LaneReport {
        word,
        rtt: None,
        rate: None,
        mtu: None,
    }
}

/// Counts packets per direction and link, and loses some by `seed`.
fn watched(lanes: u8, seed: u32) -> (Pair, Rc<RefCell<[[usize; 2]; 4]>>) {
    let mut pair = Pair::new(lossy(lanes));
    let counts = Rc::new(RefCell::new([[0; 2]; 4]));
    let counted = counts.clone();
    let mut state = seed;
    pair.fate = Box::new(move |_, to_server, link, _| {
        counted.borrow_mut()[link.0 as usize][usize::from(to_server)] += 1;
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed == 0 || state >> 24 >= 13
    });
    (pair, counts)
}

/// A request with a pull, a push and a reply, each of several packets.
fn whole_operation(pair: &mut Pair, policy: Policy) {
    let long = pattern(100_000, 1);
    let op = pair.send(ask(policy, long.len(), 100_000), &long);
    let (incoming, _) = pair.request();
    let server = &mut pair.server;
    let pull = server
        .transport
        .pull(pair.now, incoming, 0, 100_000)
        .unwrap();
    let push = server
        .transport
        .push(pair.now, incoming, 0, 50_000)
        .unwrap();
    server
        .memory
        .0
        .insert(Buffer::Transfer(pull), vec![0; 100_000]);
    server
        .memory
        .0
        .insert(Buffer::Transfer(push), pattern(50_000, 2));
    for _ in 0..2 {
        assert!(matches!(pair.at_server(), Event::Transferred { .. }));
    }
    pair.reply(incoming, 3, &pattern(70_000, 3));
    let len = 70_000;
    let status = 3;
    assert_eq!(pair.at_client(), Event::Replied { op, status, len });
    assert!(pair.server.memory.0[&Buffer::Transfer(pull)] == long);
    assert!(pair.reply_bytes(op) == pattern(70_000, 3));
    pair.run(millis(50));
    pair.server.events.clear();
}

#[test]
fn an_exclusive_operation_takes_its_lane_in_both_directions_whatever_is_lost() {
    for seed in 0..20 {
        let (mut pair, counts) = watched(3, seed);
        // The first packets of the peer make each end ask on lanes that it does not know.
        whole_operation(&mut pair, Policy::LoadBalance);
        *counts.borrow_mut() = [[0; 2]; 4];
        whole_operation(&mut pair, ONLY_1);
        let counts = counts.borrow();
        assert!(counts[1][0] > 50 && counts[1][1] > 70, "{seed}: {counts:?}");
        if seed == 0 {
            assert_eq!((counts[0], counts[2]), ([0; 2], [0; 2]));
        }
        // With losses, the other lanes carry at most what says that lane 1 does not answer.
        assert!(counts[0][0] + counts[0][1] < 20, "{seed}: {counts:?}");
    }
}

#[test]
fn a_preferred_lane_carries_all_while_it_works() {
    let (mut pair, counts) = watched(2, 0);
    whole_operation(&mut pair, Policy::LoadBalance);
    *counts.borrow_mut() = [[0; 2]; 4];
    whole_operation(&mut pair, Policy::Preferred(1));
    assert_eq!(counts.borrow()[0], [0; 2]);
}

#[test]
fn long_messages_use_all_lanes() {
    let (mut pair, counts) = watched(2, 0);
    for _ in 0..3 {
        whole_operation(&mut pair, Policy::LoadBalance);
    }
    let counts = counts.borrow();
    assert!(counts[0][1] > 50 && counts[1][1] > 50, "{counts:?}");
}

#[test]
fn an_exclusive_operation_fails_when_its_lane_goes_down_and_waits_if_it_may() {
    let (mut pair, _) = watched(2, 0);
    pair.fate = Box::new(|_, _, link, _| link != LinkIndex(1));
    let op = pair.send(ask(ONLY_1, 64, 64), &pattern(64, 1));
    let waiting = pair.send(ask(WAIT_1, 64, 64), &pattern(64, 2));
    pair.run(millis(1));
    let (session, now) = (pair.client.session, pair.now);
    pair.client
        .transport
        .report_lane(now, session, 1, report(LaneWord::Down));
    pair.flush();
    pair.expect_failure(op, Cause::Link, Delivery::Unknown);
    assert_eq!(pair.now, now, "at once");
    let late = pair.send(ask(ONLY_1, 64, 64), &pattern(64, 3));
    pair.expect_failure(late, Cause::Link, Delivery::NotDone);
    pair.run(millis(1000));
    assert!(pair.client.events.is_empty(), "the other one waits");
    pair.fate = Box::new(|_, _, _, _| true);
    let now = pair.now;
    pair.client
        .transport
        .report_lane(now, session, 1, report(LaneWord::Up));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, 2), "the failed ones are not executed");
    pair.reply(incoming, 0, b"");
    pair.expect_reply(waiting, 0, 0);
    pair.run(millis(1000));
    assert!(pair.client.events.is_empty());
}

#[test]
fn without_a_monitor_a_silent_lane_is_given_up_in_a_fraction_of_a_second() {
    let (mut pair, _) = watched(2, 0);
    whole_operation(&mut pair, Policy::LoadBalance);
    pair.fate = Box::new(|_, _, link, _| link != LinkIndex(1));
    let before = pair.now;
    let op = pair.send(ask(ONLY_1, 64, 64), &pattern(64, 1));
    let event = pair.at_client();
    assert!(matches!(event, Event::Failed { op: failed, .. } if failed == op));
    assert!(pair.now.saturating_since(before) < millis(300));
}

#[test]
fn a_policy_for_a_lane_that_there_is_not() {
    let mut pair = Pair::new(lossy(2));
    let nowhere = Policy::Exclusive {
        lane: 7,
        wait: true,
    };
    let sent = pair
        .client
        .transport
        .send(pair.now, pair.client.session, ask(nowhere, 0, 0));
    assert_eq!(sent, Err(SendError::NoLane));
    pair.send(ask(Policy::Preferred(7), 64, 64), &pattern(64, 1));
    assert_eq!(pair.request().1, pattern(64, 1));
}

#[test]
fn what_waits_for_one_lane_holds_up_nothing_else() {
    let (mut pair, _) = watched(2, 0);
    let (session, now) = (pair.client.session, pair.now);
    pair.client
        .transport
        .report_lane(now, session, 1, report(LaneWord::Down));
    for n in 0..10 {
        pair.send(ask(WAIT_1, 64, 64), &pattern(64, n));
    }
    pair.send(ask(Policy::LoadBalance, 64, 64), &pattern(64, 99));
    assert_eq!(pair.request().1, pattern(64, 99));
}

/// A pair of which the server sends a long reply over its second lane alone, and the operation.
fn exclusive_reply() -> (Pair, OpKey) {
    let mut pair = Pair::new(lossy(2));
    let op = pair.send(ask(ONLY_1, 64, 4 << 20), &pattern(64, 1));
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, &pattern(4 << 20, 2));
    while pair.client.memory.0[&Buffer::Reply(op)].len() < 1 << 20 {
        assert!(pair.step(pair.now + millis(1000)));
    }
    (pair, op)
}

fn tell(pair: &mut Pair, word: LaneWord) {
    let now = pair.now;
    for side in [&mut pair.client, &mut pair.server] {
        side.transport
            .report_lane(now, side.session, 1, report(word));
    }
}

#[test]
fn a_node_that_hears_nothing_is_not_believed_by_a_session_that_does() {
    let (mut pair, op) = exclusive_reply();
    tell(&mut pair, LaneWord::Silent);
    pair.expect_reply(op, 0, 4 << 20);
    assert_eq!(pair.client.suspects + pair.server.suspects, 0);
    // What the link itself says is another matter.
    tell(&mut pair, LaneWord::Down);
    pair.send(ask(ONLY_1, 64, 64), &pattern(64, 1));
    let event = pair.at_client();
    assert!(matches!(event, Event::Failed { .. }), "{event:?}");
}

#[test]
fn a_session_that_hears_nothing_either_finds_out_by_itself() {
    // It works: after a rest nobody has heard anything.
    let (mut pair, _) = watched(2, 0);
    pair.run(millis(5000));
    for _ in 0..20 {
        tell(&mut pair, LaneWord::Silent);
        whole_operation(&mut pair, ONLY_1);
        pair.run(millis(500));
    }
    // It does not.
    let (mut pair, op) = exclusive_reply();
    pair.fate = Box::new(|_, _, link, _| link != LinkIndex(1));
    pair.wire.retain(|packet| packet.link != LinkIndex(1));
    pair.run(millis(100));
    tell(&mut pair, LaneWord::Silent);
    let before = pair.now;
    let Event::Failed { op: failed, .. } = pair.at_client() else {
        panic!("it ends");
    };
    assert_eq!(failed, op);
    assert!(pair.now.saturating_since(before) < millis(200));
}

#[test]
fn what_may_go_elsewhere_leaves_a_silent_lane_at_once_and_returns_when_it_answers() {
    let (mut pair, counts) = watched(2, 0);
    whole_operation(&mut pair, Policy::Preferred(1));
    pair.run(millis(5000));
    tell(&mut pair, LaneWord::Silent);
    let before = *counts.borrow();
    pair.send(ask(Policy::Preferred(1), 64, 64), &pattern(64, 1));
    pair.flush();
    let after = *counts.borrow();
    assert_eq!(after[0][1] - before[0][1], 1, "the request takes the other");
    pair.run(millis(3000));
    pair.client.events.clear();
    pair.server.events.clear();
    let before = *counts.borrow();
    whole_operation(&mut pair, Policy::Preferred(1));
    let after = *counts.borrow();
    assert_eq!(after[0], before[0], "nobody had to say that it works");
}
