//! Messages of 100 kB, one after the other, take at most 1.15 times the ideal time.
//!
//! The oracle (`testkit::ideal`) puts the packets onto the lanes by their true rates and delays, each
//! where it arrives first, and adds the shortest way of the small packet in the other direction.
//! The first messages, by which the lanes get to know each other, do not count.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::ideal::{Carrier, completion, shortest};
use testkit::track::names;
use testkit::{Load, Track, Way};

const BOUND: f64 = 1.15;
const LEARNING: u64 = 50;
const MESSAGES: u64 = 200;
const BYTES: u64 = 100_000;
/// A request or a reply without bytes: header, tag, frame, head, meta.
const SMALL: usize = 32 + 35 + 8;

/// Mean time of a message over the ideal one.
fn ratio(ways: &[Way], carrier: Carrier, bytes: u64) -> f64 {
    let mut track = Track::with(ways, bytes as u32);
    let start = track.now();
    let one = match carrier {
        Carrier::Reply => Load::new(0, bytes),
        _ => Load::new(bytes, 0),
    };
    let load = track.load(start, one.count(LEARNING + MESSAGES));
    track.run(Duration::from_secs(60));
    let tally = track.tally(load);
    assert_eq!(tally.failed.len(), 0, "{:?}", tally.failed.first());
    let counted = &tally.samples[LEARNING as usize..];
    assert_eq!(counted.len() as u64, MESSAGES);
    let sum: Duration = counted.iter().map(testkit::track::Sample::time).sum();
    let mean = sum / MESSAGES as u32;
    let ideal = completion(ways, carrier, bytes) + shortest(ways, SMALL);
    let ratio = mean.as_secs_f64() / ideal.as_secs_f64();
    let known = if ways[0].told.is_some() { "known" } else { "" };
    println!(
        "{bytes} B {carrier:?} {:28} {known:5} {mean:10.1?} of {ideal:10.1?} = {ratio:.3}",
        names(ways)
    );
    ratio
}

/// Both directions, with lanes as the link monitor knows them, which is how sessions are opened, and
/// with lanes of which nothing is known. The latter say nothing where a lane holds more than a
/// message: then no message ever fills it, and its rate can be told but not measured (100:50 +
/// 1000:1000 holds 250 kB; the most that 100 kB in 2 ms can show is 50 of its 125 MB/s, with which
/// even the ideal split takes 1.4 times as long).
fn check(ways: &[Way]) {
    let known: Vec<Way> = ways.iter().map(|way| way.known()).collect();
    let holds = |way: &Way| way.shape.rate as f64 * way.round_trip().as_secs_f64();
    let useful = |way: &&Way| way.round_trip() / 2 < completion(ways, Carrier::Reply, BYTES);
    let measurable = ways
        .iter()
        .filter(useful)
        .all(|way| holds(way) <= BYTES as f64);
    let mut worst: f64 = 0.0;
    for carrier in [Carrier::Reply, Carrier::Request] {
        for (ways, counts) in [(&known[..], true), (ways, measurable)] {
            let ratio = ratio(ways, carrier, BYTES);
            // The oracle gives packets out one by one, which may miss the best by a part of one.
            assert!(ratio >= 0.99, "the oracle is wrong: {ratio}");
            if counts {
                worst = worst.max(ratio);
            }
        }
    }
    assert!(worst <= BOUND, "{}: {worst:.3}", names(ways));
}

#[test]
fn over_one_lane() {
    check(&[Way::of(1000, 50)]);
}

#[test]
fn over_two_equal_lanes() {
    check(&[Way::of(1000, 50), Way::of(1000, 50)]);
}

#[test]
fn over_a_fast_lane_and_a_slow_one() {
    check(&[Way::of(1000, 50), Way::of(100, 50)]);
}

#[test]
fn over_a_slow_lane_and_a_fast_one_a_little_farther() {
    check(&[Way::of(100, 50), Way::of(1000, 1000)]);
}

#[test]
fn over_a_near_lane_and_one_that_is_too_far_to_help() {
    check(&[Way::of(1000, 50), Way::of(1000, 5000)]);
}

#[test]
fn over_a_fast_lane_and_a_slow_one_far_away() {
    check(&[Way::of(1000, 200), Way::of(100, 10_000)]);
}

#[test]
fn over_three_lanes() {
    check(&[Way::of(1000, 100), Way::of(1000, 100), Way::of(100, 300)]);
}
