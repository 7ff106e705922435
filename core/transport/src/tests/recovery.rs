//! Lost, doubled, reordered and damaged packets.

use alloc::boxed::Box;
use alloc::vec;

use super::pair::{Pair, lossy, millis, pattern};
use crate::{Buffer, Event, Meta, Request};

fn ask(len: usize, reply_max: u64) -> Request {
    Request::new(Meta::EMPTY, len as u64, reply_max)
}

#[test]
fn a_lost_request_is_sent_again() {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(|n, to_server, _, _| !(to_server && n <= 2));
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, 1));
    pair.reply(incoming, 0, b"ok");
    pair.expect_reply(op, 0, 2);
    pair.expect_no_request();
}

#[test]
fn a_lost_reply_is_sent_again_and_the_request_is_executed_once() {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(|n, to_server, _, _| to_server || n > 2);
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, b"ok");
    let before = pair.now;
    pair.expect_reply(op, 0, 2);
    assert!(pair.now.saturating_since(before) < millis(200));
    pair.expect_no_request();
}

#[test]
fn a_lost_reply_of_a_slow_handler_is_sent_again_without_being_asked() {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(|n, to_server, _, _| to_server || n != 2);
    let op = pair.send(ask(64, 64), &pattern(64, 1));
    let (incoming, _) = pair.request();
    pair.run(millis(500));
    pair.reply(incoming, 0, b"ok");
    let before = pair.now;
    pair.expect_reply(op, 0, 2);
    assert!(pair.now.saturating_since(before) < millis(50));
}

#[test]
fn bulk_survives_loss_both_ways() {
    let mut pair = Pair::new(lossy(1));
    let mut state = 7_u32;
    pair.fate = Box::new(move |_, _, _, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24 >= 13
    });
    let long = pattern(2_000_000, 3);
    let op = pair.send(ask(long.len(), 2_000_000), &long);
    let (incoming, _) = pair.request();
    let transfer = pair.pull(incoming, long.len());
    assert_eq!(pair.at_server(), Event::Transferred { transfer });
    assert!(pair.server.memory.0[&Buffer::Transfer(transfer)] == long);
    pair.reply(incoming, 0, &long);
    pair.expect_reply(op, 0, 2_000_000);
    assert!(pair.reply_bytes(op) == long);
}

#[test]
fn doubled_and_reordered_packets_change_nothing() {
    let mut pair = Pair::new(lossy(1));
    let long = pattern(60_000, 3);
    let op = pair.send(ask(long.len(), 60_000), &long);
    pair.flush();
    let packets: vec::Vec<_> = pair.wire.drain(..).collect();
    for packet in packets.into_iter().rev() {
        for _ in 0..2 {
            let (at, link, bytes) = (packet.at, packet.link, packet.bytes.clone());
            pair.wire.push_back(super::pair::Packet {
                at,
                to_server: true,
                link,
                bytes,
            });
        }
    }
    let (incoming, bytes) = pair.request();
    assert!(bytes == long);
    pair.reply(incoming, 0, &long);
    pair.expect_reply(op, 0, 60_000);
    pair.expect_no_request();
}

#[test]
fn a_damaged_packet_is_dropped_and_repeated() {
    let mut pair = Pair::new(lossy(1));
    pair.send(ask(64, 64), &pattern(64, 1));
    pair.flush();
    pair.wire[0].bytes[40] ^= 1;
    let before = pair.now;
    let (_, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, 1));
    assert!(pair.now.saturating_since(before) >= millis(2));
}

#[test]
fn large_packets_that_vanish_make_the_packets_smaller() {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(|_, _, _, len| len <= 1300);
    let long = pattern(200_000, 3);
    let op = pair.send(ask(long.len(), 200_000), &long);
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, &long);
    pair.expect_reply(op, 0, 200_000);
    assert!(pair.reply_bytes(op) == long);
}

#[test]
fn the_rate_fills_a_fast_lane() {
    let mut pair = Pair::new(lossy(1));
    let long = pattern(64 << 20, 3);
    pair.send(ask(long.len(), 0), &long);
    let (incoming, _) = pair.request();
    let transfer = pair.pull(incoming, long.len());
    let before = pair.now;
    assert_eq!(pair.at_server(), Event::Transferred { transfer });
    let seconds = pair.now.saturating_since(before).as_secs_f64();
    let rate = long.len() as f64 / seconds;
    assert!(rate > 1.2e9, "{rate} bytes per second");
}

#[test]
fn a_lost_packet_of_a_short_call_costs_a_probe_timeout_however_many_were_lost_before() {
    let mut pair = Pair::new(lossy(1));
    let mut state = 7_u32;
    pair.fate = Box::new(move |_, _, _, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24 >= 13
    });
    let mut late = 0;
    for n in 0..1000 {
        let before = pair.now;
        let op = pair.send(ask(64, 64), &pattern(64, 1));
        let (incoming, _) = pair.request();
        pair.reply(incoming, 0, b"ok");
        while pair.at_client()
            != (Event::Replied {
                op,
                status: 0,
                len: 2,
            })
        {}
        let took = pair.now.saturating_since(before);
        assert!(took < millis(60), "call {n}: {took:?}");
        late += u32::from(took > millis(6));
    }
    // One call of ten loses something; of those only one of ten loses again.
    assert!(late < 30, "{late}");
}

#[test]
fn a_way_that_becomes_longer_than_the_probe_timeout_is_used_as_before() {
    let mut pair = Pair::new(lossy(1));
    let long = pattern(8 << 20, 3);
    let pull = |pair: &mut Pair| {
        pair.send(ask(long.len(), 0), &long);
        let (incoming, _) = pair.request();
        let transfer = pair.pull(incoming, long.len());
        let before = pair.now;
        while pair.at_server() != (Event::Transferred { transfer }) {}
        pair.now.saturating_since(before)
    };
    pull(&mut pair);
    pair.delay = millis(30);
    let took = pull(&mut pair);
    assert!(took < millis(4000), "{took:?}");
}
