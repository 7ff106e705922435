//! Several lanes: fail-over and return.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::Cell;

use super::pair::{Pair, lossy, millis, pattern};
use crate::{Buffer, Event, LinkIndex, Meta, Policy, Request};

fn ask(len: usize, reply_max: u64) -> Request {
    Request::new(Meta::EMPTY, len as u64, reply_max)
}

fn ask_by(policy: Policy, len: usize, reply_max: u64) -> Request {
    Request {
        policy,
        ..ask(len, reply_max)
    }
}

fn echo_by(pair: &mut Pair, policy: Policy, salt: u8) {
    let op = pair.send(ask_by(policy, 64, 64), &pattern(64, salt));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, salt));
    pair.reply(incoming, 0, &bytes);
    pair.expect_reply(op, 0, 64);
}

/// A pair that has used its first of two lanes, which it prefers; a switch that cuts this lane, and the link used last.
fn preferring() -> (Pair, Rc<Cell<bool>>, Rc<Cell<LinkIndex>>) {
    let mut pair = Pair::new(lossy(2));
    let cut = Rc::new(Cell::new(false));
    let last = Rc::new(Cell::new(LinkIndex(9)));
    let (cut_, last_) = (cut.clone(), last.clone());
    pair.fate = Box::new(move |_, _, link, _| {
        last_.set(link);
        !(cut_.get() && link == LinkIndex(0))
    });
    for round in 0..20 {
        echo_by(&mut pair, Policy::Preferred(0), round);
    }
    (pair, cut, last)
}

#[test]
fn a_preferred_lane_that_is_lost_is_left_in_milliseconds_and_used_again_later() {
    let (mut pair, cut, last) = preferring();
    assert_eq!(last.get(), LinkIndex(0), "the first lane is preferred");
    cut.set(true);
    let before = pair.now;
    echo_by(&mut pair, Policy::Preferred(0), 100);
    assert!(pair.now.saturating_since(before) < millis(30));
    echo_by(&mut pair, Policy::Preferred(0), 101);
    cut.set(false);
    pair.run(millis(2500));
    echo_by(&mut pair, Policy::Preferred(0), 102);
    pair.run(millis(100));
    echo_by(&mut pair, Policy::Preferred(0), 103);
    assert_eq!(last.get(), LinkIndex(0), "the first lane is used again");
}

#[test]
fn a_preferred_lane_that_soon_answers_for_a_loss_is_preferred_on() {
    let (mut pair, cut, last) = preferring();
    cut.set(true);
    echo_by(&mut pair, Policy::Preferred(0), 100);
    assert_eq!(last.get(), LinkIndex(1), "the first lane is suspect");
    cut.set(false);
    pair.run(millis(60));
    echo_by(&mut pair, Policy::Preferred(0), 101);
    assert_eq!(last.get(), LinkIndex(0), "the first lane is used again");
}

#[test]
fn a_link_reported_down_moves_everything_at_once() {
    let mut pair = Pair::new(lossy(2));
    let long = pattern(2_000_000, 1);
    let op = pair.send(ask(long.len(), 0), &long);
    let (incoming, _) = pair.request();
    let transfer = pair.pull(incoming, long.len());
    pair.run(millis(1));
    pair.fate = Box::new(|_, _, link, _| link != LinkIndex(0));
    pair.wire.retain(|packet| packet.link != LinkIndex(0));
    pair.client.transport.link_down(pair.now, LinkIndex(0));
    pair.server.transport.link_down(pair.now, LinkIndex(0));
    let before = pair.now;
    assert_eq!(pair.at_server(), Event::Transferred { transfer });
    assert!(pair.now.saturating_since(before) < millis(50));
    assert!(pair.server.memory.0[&Buffer::Transfer(transfer)] == long);
    pair.reply(incoming, 0, b"");
    pair.expect_reply(op, 0, 0);
    // Up again on both sides: probed, answered, used.
    let used = Rc::new(Cell::new(false));
    let used_ = used.clone();
    pair.fate = Box::new(move |_, _, link, len| {
        used_.set(used_.get() || link == LinkIndex(0) && len > 100);
        true
    });
    pair.client.transport.link_up(pair.now, LinkIndex(0));
    pair.server.transport.link_up(pair.now, LinkIndex(0));
    pair.run(millis(500));
    assert!(!used.get());
    pair.server.events.clear();
    let only = Policy::Exclusive {
        lane: 0,
        wait: false,
    };
    echo_by(&mut pair, only, 1);
    assert!(used.get());
}

#[test]
fn a_full_driver_holds_packets_back_until_it_is_ready() {
    let mut pair = Pair::new(super::pair::reliable());
    pair.client.transport.link_full(pair.now, LinkIndex(0));
    pair.send(ask(64, 64), &pattern(64, 1));
    assert_eq!(pair.client.transport.next_link(pair.now), None);
    pair.client.transport.link_ready(pair.now, LinkIndex(0));
    let (_, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, 1));
}

/// A pair whose client has asked over the first of two lanes, and then stood still for 60 ms; its timers come first
/// when it goes on.
fn stalled(lost: bool) -> Pair {
    let (mut pair, cut, _) = preferring();
    let request = ask_by(Policy::Preferred(0), 64, 64);
    pair.send(request, &pattern(64, 1));
    cut.set(lost);
    pair.flush();
    if !lost {
        let (incoming, _) = pair.request();
        pair.reply(incoming, 0, b"here");
    }
    pair.flush();
    pair.now += millis(60);
    pair.client.transport.handle_timeout(pair.now);
    pair.flush();
    assert_eq!(pair.client.suspects, 0);
    pair
}

#[test]
fn an_end_that_stood_still_looks_for_answers_before_it_suspects_a_lane() {
    let mut pair = stalled(false);
    while !matches!(pair.at_client(), Event::Replied { .. }) {}
    pair.run(millis(500));
    assert_eq!(pair.client.suspects + pair.server.suspects, 0);
    let mut pair = stalled(true);
    pair.run(millis(2));
    assert!(pair.client.suspects > 0, "a moment later it does");
}
