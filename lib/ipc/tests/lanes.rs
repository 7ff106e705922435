//! Several links between two programs: policies of connections, the nodes' word on lanes, links that change. Both nodes
//! are this test.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

extern crate slashnet_ipc as ipc;

mod node;
mod two_nodes;

use std::thread;
use std::time::{Duration, Instant};

use abi::Errno;
use abi::system::LaneState;
use ipc::{Cause, Delivery, SendOptions};
use testkit::until;
use two_nodes::{EXCLUSIVE_A, EXCLUSIVE_B, EXCLUSIVE_C, PREFERRED_A, TwoNodes, WAIT_A, WAIT_C};

const CALLS: u64 = 50;

// qnx: I8, Q3
#[test]
fn two_descriptors_of_one_server_use_different_links_of_one_session() {
    let nodes = TwoNodes::start();
    let plain = nodes.attach(0);
    let a = nodes.attach(EXCLUSIVE_A);
    let b = nodes.attach(EXCLUSIVE_B);
    assert_eq!(nodes.client.endpoint.session_stats().len(), 1);
    assert_eq!(
        (a.nd().qos(), a.nd().node()),
        (EXCLUSIVE_A, plain.nd().node())
    );
    for connection in [&a, &b, &plain] {
        nodes.ask(connection).unwrap();
    }
    for (connection, own) in [(&a, 0), (&b, 1)] {
        let before = nodes.carried();
        for _ in 0..CALLS {
            nodes.ask(connection).unwrap();
        }
        let after = nodes.carried();
        let moved = [0, 1].map(|lane| after[lane] - before[lane]);
        assert!(moved[own] > CALLS * 64, "{moved:?}");
        // What earlier calls left open may be acknowledged, and a lane that was slow to answer is probed.
        assert!(moved[1 - own] < 1024, "{moved:?}");
    }
}

// qnx: Q7
#[test]
fn an_exclusive_call_fails_while_its_link_is_down_and_others_go_on() {
    let nodes = TwoNodes::start();
    let (plain, a) = (nodes.attach(0), nodes.attach(EXCLUSIVE_A));
    nodes.ask(&plain).unwrap();
    nodes.ask(&a).unwrap();
    nodes.report([LaneState::Down, LaneState::Up]);
    let failure = nodes.ask(&a).unwrap_err();
    assert_eq!(failure.errno, Errno::ENETDOWN);
    assert_eq!(
        (failure.delivery, failure.cause),
        (Delivery::NotDone, Cause::Link)
    );
    for _ in 0..CALLS {
        nodes.ask(&plain).unwrap();
    }
    nodes.report([LaneState::Up, LaneState::Up]);
    nodes.until_answered(&a);
}

#[test]
fn an_exclusive_call_that_may_wait_waits_for_its_link() {
    let nodes = TwoNodes::start();
    let (plain, a) = (nodes.attach(0), nodes.attach(WAIT_A));
    nodes.ask(&a).unwrap();
    nodes.report([LaneState::Down, LaneState::Up]);
    let late = SendOptions {
        deadline: Some(Instant::now() + Duration::from_millis(50)),
        ..SendOptions::default()
    };
    let failure = a.send_vectored(&[], &mut [], &late).unwrap_err();
    assert_eq!(failure.errno, Errno::ETIMEDOUT);
    thread::scope(|scope| {
        let call = scope.spawn(|| nodes.ask(&a).unwrap());
        nodes.ask(&plain).unwrap();
        assert!(!call.is_finished());
        nodes.report([LaneState::Up, LaneState::Up]);
    });
}

#[test]
fn a_link_without_a_lane_fails_or_waits_as_the_policy_says() {
    let nodes = TwoNodes::start();
    let (fails, waits) = (nodes.attach(EXCLUSIVE_C), nodes.attach(WAIT_C));
    let failure = nodes.ask(&fails).unwrap_err();
    assert_eq!(failure.errno, Errno::ENETDOWN);
    assert_eq!(
        (failure.delivery, failure.cause),
        (Delivery::NotDone, Cause::Link)
    );
    let late = SendOptions {
        deadline: Some(Instant::now() + Duration::from_millis(50)),
        ..SendOptions::default()
    };
    let failure = waits.send_vectored(&[], &mut [], &late).unwrap_err();
    assert_eq!(
        (failure.errno, failure.delivery),
        (Errno::ETIMEDOUT, Delivery::NotDone)
    );
}

// qnx: Q6
#[test]
fn a_preferred_link_is_left_when_it_is_down() {
    let nodes = TwoNodes::start();
    let a = nodes.attach(PREFERRED_A);
    for _ in 0..CALLS {
        nodes.ask(&a).unwrap();
    }
    let before = nodes.carried();
    // A thread of a busy machine that gets no turn for milliseconds is a lane that does not answer.
    let stats = nodes.client.endpoint.session_stats();
    if stats[0].lanes.iter().all(|lane| lane.switches == 0) {
        assert!(before[0] > CALLS * 64 && before[1] < 1024, "{before:?}");
    }
    nodes.report([LaneState::Down, LaneState::Up]);
    for _ in 0..CALLS {
        nodes.ask(&a).unwrap();
    }
    let after = nodes.carried();
    assert!(after[1] - before[1] > CALLS * 64, "{before:?} {after:?}");
}

#[test]
fn a_session_goes_on_over_a_link_whose_address_changes() {
    let nodes = TwoNodes::start();
    let a = nodes.attach(EXCLUSIVE_A);
    nodes.ask(&a).unwrap();
    for (epoch, host) in [(1, 3), (2, 4), (3, 1)] {
        nodes.move_link_a(epoch, host);
        nodes.until_answered(&a);
        nodes.ask(&a).unwrap();
    }
    assert_eq!(nodes.client.endpoint.session_stats().len(), 1);
}

#[test]
fn a_link_that_vanishes_and_returns_carries_again() {
    let nodes = TwoNodes::start();
    let (plain, a) = (nodes.attach(0), nodes.attach(EXCLUSIVE_A));
    nodes.ask(&a).unwrap();
    nodes.lose_link_a(1);
    nodes.until_refused(&a);
    nodes.ask(&plain).unwrap();
    nodes.move_link_a(2, 1);
    nodes.until_answered(&a);
}

#[test]
fn a_lane_that_a_dead_node_called_down_is_tried_again() {
    let nodes = TwoNodes::start();
    let a = nodes.attach(EXCLUSIVE_A);
    nodes.ask(&a).unwrap();
    nodes.report([LaneState::Down, LaneState::Up]);
    nodes.until_refused(&a);
    nodes.kill_daemons();
    nodes.until_answered(&a);
}

#[test]
fn a_lane_that_a_stuck_node_called_down_is_tried_again() {
    let nodes = TwoNodes::start();
    let a = nodes.attach(EXCLUSIVE_A);
    nodes.ask(&a).unwrap();
    nodes.report([LaneState::Down, LaneState::Up]);
    nodes.until_refused(&a);
    nodes.stand_still();
    nodes.until_answered(&a);
}

#[test]
fn the_node_is_told_what_has_moved_over_which_link() {
    let begun = Instant::now();
    let nodes = TwoNodes::start();
    let a = nodes.attach(EXCLUSIVE_A);
    let (mut calls, mut reports) = (0, Vec::new());
    until("three reports", || {
        nodes.ask(&a).unwrap();
        calls += 1;
        reports = nodes.traffic();
        // A suspicion is told at once.
        reports.retain(|rows| rows.iter().any(|row| !row.suspect));
        reports.len() >= 3
    });
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2), "one a second: {took:?}");
    let rows: Vec<_> = reports.into_iter().flatten().collect();
    let over = |link| {
        rows.iter()
            .filter(move |row| row.link == link && !row.suspect)
    };
    let sent: u64 = over(0).map(|row| row.bytes_sent).sum();
    let received: u64 = over(0).map(|row| row.bytes_received).sum();
    // The last part of a second has not been told.
    assert!(
        sent > calls * 20 && received > calls * 20,
        "{calls} calls, {sent} bytes"
    );
    assert!(over(0).all(|row| row.node.node() == 3));
}
