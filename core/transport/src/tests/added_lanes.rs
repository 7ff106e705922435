//! Lanes that a session is given while it is in use.

use alloc::boxed::Box;
use alloc::vec;

use super::pair::{Pair, address, lossy, millis, pattern};
use crate::{Event, LaneParams, LinkIndex, Meta, OpenError, Request};

fn second() -> LaneParams {
    LaneParams::new(3, LinkIndex(1), address(1), 1472)
}

#[test]
fn a_lane_that_one_end_adds_later_than_the_other_carries_on_when_the_first_is_cut() {
    let mut pair = Pair::new(lossy(1));
    let client = pair.client.session;
    let server = pair.server.session;
    pair.client
        .transport
        .add_lane(pair.now, client, &second())
        .unwrap();
    let before = pair.send(Request::new(Meta::EMPTY, 64, 64), &pattern(64, 1));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, 1));
    pair.reply(incoming, 0, &bytes);
    loop {
        if matches!(pair.at_client(), Event::Replied { op, .. } if op == before) {
            break;
        }
    }
    pair.server
        .transport
        .add_lane(pair.now, server, &second())
        .unwrap();
    pair.run(millis(100));
    pair.fate = Box::new(|_, _, link, _| link == LinkIndex(1));
    let cut = pair.now;
    pair.send(Request::new(Meta::EMPTY, 64, 64), &pattern(64, 2));
    assert_eq!(pair.request().1, pattern(64, 2));
    assert!(pair.now.saturating_since(cut) < millis(50));
}

#[test]
fn a_lane_that_cannot_be_is_refused_and_changes_nothing() {
    let mut pair = Pair::new(lossy(1));
    let client = pair.client.session;
    let transport = &mut pair.client.transport;
    let same = LaneParams { id: 0, ..second() };
    assert_eq!(
        transport.add_lane(pair.now, client, &same),
        Err(OpenError::BadLanes)
    );
    let beyond = LaneParams { id: 16, ..second() };
    assert_eq!(
        transport.add_lane(pair.now, client, &beyond),
        Err(OpenError::BadLanes)
    );
    let tiny = LaneParams { mtu: 1, ..second() };
    assert_eq!(
        transport.add_lane(pair.now, client, &tiny),
        Err(OpenError::BadMtu)
    );
    transport.add_lane(pair.now, client, &second()).unwrap();
    let ids: vec::Vec<u8> = transport
        .sessions()
        .next()
        .unwrap()
        .lanes
        .iter()
        .map(|l| l.id)
        .collect();
    assert_eq!(ids, [0, 3]);
    transport.close(pair.now, client, 0);
    assert_eq!(
        transport.add_lane(pair.now, client, &second()),
        Err(OpenError::BadLanes)
    );
}
