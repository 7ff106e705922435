//! What may change about a lane while it is used: addresses, sizes, protection.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use abi::LinkAddress;

use super::pair::{Packet, Pair, address, lossy, millis, pattern};
use crate::{
    Buffer, Event, LaneParams, LaneReport, LaneState, LaneWord, LinkIndex, Meta, Policy,
    Protection, Request, SessionParams,
};

fn echo(pair: &mut Pair, salt: u8) {
    let request = Request::new(Meta::EMPTY, 64, 64);
    let op = pair.send(request, &pattern(64, salt));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, salt));
    pair.reply(incoming, 0, &bytes);
    pair.expect_reply(op, 0, 64);
}

fn unsealed(level: Protection) -> Vec<LaneParams> {
    let mut lanes = lossy(1);
    lanes[0].protection = level;
    lanes
}

fn without_cipher(params: &mut SessionParams) {
    params.cipher = None;
}

#[test]
fn the_newest_packet_of_a_peer_tells_where_it_is() {
    let mut pair = Pair::new(lossy(1));
    echo(&mut pair, 1);
    assert_eq!(pair.server.sent_to, Some(address(0)));
    // An old packet is kept back, and comes after the move.
    pair.send(Request::new(Meta::EMPTY, 64, 64), &pattern(64, 2));
    pair.flush();
    let mut old = pair.wire.pop_front().unwrap();
    pair.moved = 5;
    echo(&mut pair, 3);
    assert_eq!(pair.server.sent_to, Some(address(5)));
    let (now, from) = (pair.now, address(0));
    let server = &mut pair.server;
    server
        .transport
        .receive(now, LinkIndex(0), &from, &mut old.bytes, &mut server.memory);
    pair.run(millis(20));
    assert_eq!(pair.server.sent_to, Some(address(5)));
}

/// Somebody on the way is faster with copies of up to `count` of the client's packets, which seem to come from
/// `victim`. Answers how many bytes came from there.
fn race(pair: &mut Pair, victim: LinkAddress, count: usize) -> usize {
    let (mut numbers, mut raced) = (Vec::new(), 0);
    let end = pair.now + millis(1000);
    while numbers.len() < count && pair.step(end) {
        let to_server = pair.wire.iter().filter(|packet| packet.to_server);
        let number = |bytes: &[u8]| bytes[8..16].to_vec();
        let fresh = to_server
            .map(|packet| packet.bytes.clone())
            .find(|bytes| !numbers.contains(&number(bytes)));
        let Some(mut copy) = fresh else {
            continue;
        };
        numbers.push(number(&copy));
        raced += copy.len();
        let server = &mut pair.server;
        let (now, memory) = (pair.now, &mut server.memory);
        server
            .transport
            .receive(now, LinkIndex(0), &victim, &mut copy, memory);
    }
    raced
}

#[test]
fn whoever_is_faster_with_a_copy_turns_little_on_another() {
    let victim = address(200);
    for count in [1, 7, 100] {
        let mut pair = Pair::new(lossy(1));
        echo(&mut pair, 1);
        let long = pattern(4 << 20, 3);
        let op = pair.send(Request::new(Meta::EMPTY, 8, 4 << 20), b"question");
        let (incoming, _) = pair.request();
        pair.reply(incoming, 0, &long);
        let raced = race(&mut pair, victim, count);
        pair.expect_reply(op, 0, 4 << 20);
        assert!(pair.reply_bytes(op) == long);
        let sent = pair.server.bytes_to.get(&victim).copied().unwrap_or(0);
        assert!(sent > 0, "the server looks where the packets come from");
        assert!(sent <= 3 * raced, "{sent} bytes for {raced}");
        assert_eq!(pair.server.sent_to, Some(address(0)));
    }
}

#[test]
fn a_peer_that_has_moved_and_answers_gets_everything_at_its_new_address() {
    let mut pair = Pair::new(lossy(1));
    echo(&mut pair, 1);
    let long = pattern(4 << 20, 3);
    let op = pair.send(Request::new(Meta::EMPTY, 8, 4 << 20), b"question");
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, &long);
    while pair.server.bytes_to[&address(0)] < 1 << 20 {
        assert!(pair.step(pair.now + millis(1000)));
    }
    pair.moved = 5;
    let before = pair.now;
    pair.expect_reply(op, 0, 4 << 20);
    assert!(pair.now.saturating_since(before) < millis(500));
    assert!(pair.server.bytes_to[&address(5)] > 2 << 20);
}

#[test]
fn without_random_bytes_lanes_stay_where_they_are() {
    let mut pair = Pair::with(lossy(1), |params| params.challenge = None);
    echo(&mut pair, 1);
    pair.moved = 5;
    pair.send(Request::new(Meta::EMPTY, 64, 64), &pattern(64, 2));
    let (incoming, bytes) = pair.request();
    pair.reply(incoming, 0, &bytes);
    pair.run(millis(500));
    assert!(pair.client.events.is_empty());
    assert_eq!(pair.server.bytes_to.get(&address(5)), None);
}

#[test]
fn a_socket_that_is_made_anew_tells_the_peer_without_traffic() {
    let mut pair = Pair::new(lossy(1));
    echo(&mut pair, 1);
    pair.run(millis(20));
    pair.moved = 5;
    pair.client.transport.rebound(pair.now, LinkIndex(0));
    pair.run(millis(5));
    assert_eq!(pair.server.sent_to, Some(address(5)));
}

/// The server asks on its lane 0 and gets the answer, but before it a copy of a later packet, from a victim's address;
/// then nothing comes on the lane that would lead it back.
#[test]
fn a_lane_that_answers_while_its_peer_seems_elsewhere_finds_the_peer_again() {
    let victim = address(200);
    let mut pair = Pair::new(lossy(2));
    echo(&mut pair, 1);
    pair.run(millis(20));
    let link = LinkIndex(0);
    pair.server.transport.link_down(pair.now, link);
    pair.server.transport.link_up(pair.now, link);
    let comes = |packet: &Packet| packet.to_server && packet.link == link;
    while !pair.wire.iter().any(comes) {
        assert!(pair.step(pair.now + millis(1000)));
    }
    pair.client.transport.rebound(pair.now, link);
    pair.flush();
    let (mut coming, others) = pair.wire.drain(..).partition::<Vec<_>, _>(comes);
    pair.wire.extend(others);
    let raced = coming.pop().map(|packet| (victim, packet));
    let coming = coming.into_iter().map(|packet| (address(0), packet));
    for (from, mut packet) in raced.into_iter().chain(coming) {
        let side = &mut pair.server;
        let (bytes, memory) = (&mut packet.bytes, &mut side.memory);
        side.transport.receive(pair.now, link, &from, bytes, memory);
        pair.flush();
    }
    let lane = |pair: &Pair| pair.server.transport.sessions().next().unwrap().lanes[0];
    assert_eq!(lane(&pair).state, LaneState::Active);
    assert_eq!(lane(&pair).peer, victim);
    pair.fate = Box::new(move |_, to_server, on, _| !to_server || on != link);
    pair.run(millis(1000));
    assert_eq!(lane(&pair).peer, address(0));
}

#[test]
fn a_packet_in_the_clear_must_come_from_the_lanes_address_and_be_whole() {
    for level in [Protection::Checksum, Protection::Plain] {
        let mut pair = Pair::with(unsealed(level), without_cipher);
        echo(&mut pair, 1);
        pair.send(Request::new(Meta::EMPTY, 64, 64), &pattern(64, 2));
        pair.flush();
        let packet = pair.wire.pop_front().unwrap().bytes;
        let mut damaged = packet.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let server = &mut pair.server;
        let (now, link) = (pair.now, LinkIndex(0));
        let (home, away) = (address(0), address(9));
        let mut give = |link, from, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            server
                .transport
                .receive(now, link, from, &mut bytes, &mut server.memory);
            server.transport.event().is_some()
        };
        assert!(!give(link, &away, &packet), "from elsewhere");
        assert!(!give(LinkIndex(3), &home, &packet), "over another link");
        if level == Protection::Checksum {
            assert!(!give(link, &home, &damaged), "damaged");
        }
        while give(link, &home, &[]) {}
        assert!(give(link, &home, &packet));
    }
}

/// Made with another implementation of CRC32C over the sixteen bytes of header and the frames.
#[test]
fn a_checksum_has_its_published_bytes() {
    let mut pair = Pair::with(unsealed(Protection::Checksum), without_cipher);
    let control = Request {
        one_way: true,
        ..Request::new(Meta::EMPTY, 3, 0)
    };
    pair.send(control, b"abc");
    pair.flush();
    let packet = &pair.wire.front().unwrap().bytes;
    let (text, sum) = packet.split_at(packet.len() - 4);
    let mut crc = u32::MAX;
    for byte in text {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    assert_eq!(sum, (!crc).to_le_bytes());
}

#[test]
fn reliable_and_lossy_lanes_serve_one_session_and_the_memory_may_vanish() {
    let mut lanes = lossy(2);
    lanes[0] = LaneParams::reliable(0, LinkIndex(0), address(0), 65_000);
    let mut pair = Pair::new(lanes);
    let last = Rc::new(Cell::new(LinkIndex(9)));
    let seen = last.clone();
    pair.fate = Box::new(move |_, _, link, _| {
        seen.set(link);
        true
    });
    for n in 0..5 {
        echo(&mut pair, n);
    }
    assert_eq!(last.get(), LinkIndex(0), "memory is faster");
    // A request is on its way through memory that nobody reads any more.
    let op = pair.send(Request::new(Meta::EMPTY, 64, 64), &pattern(64, 9));
    pair.flush();
    pair.wire.clear();
    pair.client.transport.link_down(pair.now, LinkIndex(0));
    pair.server.transport.link_down(pair.now, LinkIndex(0));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, 9));
    pair.reply(incoming, 0, b"");
    pair.expect_reply(op, 0, 0);
    assert_eq!(last.get(), LinkIndex(1));
}

fn longest(pair: &mut Pair) -> usize {
    let longest = Rc::new(Cell::new(0));
    let seen = longest.clone();
    pair.fate = Box::new(move |_, to_server, _, len| {
        if to_server {
            seen.set(seen.get().max(len));
        }
        true
    });
    let bytes = pattern(100_000, 1);
    pair.send(Request::new(Meta::EMPTY, 100_000, 0), &bytes);
    let (incoming, _) = pair.request();
    let transfer = pair.pull(incoming, 100_000);
    assert_eq!(pair.at_server(), Event::Transferred { transfer });
    assert!(pair.server.memory.0[&Buffer::Transfer(transfer)] == bytes);
    pair.reply(incoming, 0, b"");
    pair.run(millis(20));
    pair.client.events.clear();
    pair.server.events.clear();
    longest.get()
}

#[test]
fn the_largest_packet_follows_what_is_measured_up_and_down() {
    let mut pair = Pair::new(lossy(1));
    assert_eq!(longest(&mut pair), 1472);
    for mtu in [1300, 8972, 400] {
        let report = LaneReport {
            word: LaneWord::Up,
            rtt: None,
            rate: None,
            mtu: Some(mtu),
        };
        let session = pair.client.session;
        pair.client
            .transport
            .report_lane(pair.now, session, 0, report);
        assert_eq!(longest(&mut pair), mtu as usize);
    }
}

#[test]
fn a_lane_whose_large_packets_vanish_goes_on_with_small_ones() {
    let mut pair = Pair::new(lossy(1));
    pair.fate = Box::new(|_, to_server, _, len| !to_server || len <= 1300);
    pair.send(Request::new(Meta::EMPTY, 40_000, 0), &pattern(40_000, 1));
    let (incoming, _) = pair.request();
    pair.reply(incoming, 0, b"");
    pair.run(millis(50));
    pair.client.events.clear();
    pair.server.events.clear();
    let report = LaneReport {
        word: LaneWord::Up,
        rtt: None,
        rate: None,
        mtu: Some(1472),
    };
    let session = pair.client.session;
    // The same word again proves nothing; another one does.
    pair.client
        .transport
        .report_lane(pair.now, session, 0, report);
    assert_eq!(longest(&mut pair), 1232);
    for mtu in [Some(1400), Some(1472)] {
        let report = LaneReport { mtu, ..report };
        pair.client
            .transport
            .report_lane(pair.now, session, 0, report);
    }
    assert_eq!(longest(&mut pair), 1472);
}

#[test]
fn a_hole_that_opens_on_the_only_lane_of_an_operation_is_survived_beside_others() {
    for limit in [1300, 600] {
        let mut pair = Pair::new(lossy(2));
        pair.fate = Box::new(move |_, to_server, link, len| {
            !to_server || link != LinkIndex(1) || len <= limit
        });
        let only = Request {
            policy: Policy::Exclusive {
                lane: 1,
                wait: true,
            },
            ..Request::new(Meta::EMPTY, 40_000, 0)
        };
        let before = pair.now;
        pair.send(only, &pattern(40_000, 1));
        let (incoming, _) = pair.request();
        pair.reply(incoming, 0, b"");
        while !matches!(pair.at_client(), Event::Replied { .. }) {}
        assert!(pair.now.saturating_since(before) < millis(500));
    }
}
