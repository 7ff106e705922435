//! Bulk over several lanes reaches at least 95 % of what the lanes can carry together.
//!
//! The oracle (`testkit::ideal`) knows only the true rates and the protocol's page: of each packet
//! of 1472 bytes, 32 are header and tag, 14 (a reply) or 22 (a pulled request) are the frame's head,
//! and Ethernet, IP and UDP add 66 on the wire, so a gigabit carries 927 or 922 Mb/s of messages.
//! The time counts from the first request to the end of the last, with nothing known of the lanes.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::ideal::{Carrier, goodput};
use testkit::track::names;
use testkit::{Load, Track, Way};

const SHARE: f64 = 0.95;
const MESSAGE: u64 = 4 << 20;
/// Messages outstanding. The sum of rates is what an endless backlog can reach: with four, all end
/// at about the same time and wait for a lane of 20 ms, which costs it an eighth of its rate.
const BACKLOG: usize = 16;

/// Share of the sum of the ways that a bulk of so many bytes gets.
fn share(ways: &[Way], carrier: Carrier, bytes: u64, lateness: Duration) -> f64 {
    let mut track = Track::new(ways);
    track.lateness = lateness;
    let start = track.now();
    let one = match carrier {
        Carrier::Reply => Load::new(0, MESSAGE),
        _ => Load::new(MESSAGE, 0),
    };
    let load = track.load(start, one.at_once(BACKLOG).count(bytes / MESSAGE));
    track.run(Duration::from_secs(60));
    let tally = track.tally(load);
    assert_eq!(tally.failed.len(), 0, "{:?}", tally.failed.first());
    let end = tally
        .samples
        .iter()
        .map(|sample| sample.end)
        .max()
        .unwrap_or(start);
    let done = tally.samples.len() as u64 * MESSAGE;
    let reached = done as f64 / (end - start).as_secs_f64();
    let attainable = goodput(ways, carrier);
    let share = reached / attainable;
    println!(
        "goodput {carrier:?} {:28} {:7.0} of {:7.0} Mb/s = {:5.1} %   lost {:?}",
        names(ways),
        reached * 8.0 / 1e6,
        attainable * 8.0 / 1e6,
        share * 100.0,
        (0..ways.len())
            .map(|n| [0, 1].map(|to| track.wire(n, to).overflowed))
            .collect::<Vec<_>>(),
    );
    share
}

fn check(ways: &[Way], bytes: u64) {
    check_late(ways, bytes, Duration::ZERO);
}

fn check_late(ways: &[Way], bytes: u64, lateness: Duration) {
    for carrier in [Carrier::Reply, Carrier::Pulled] {
        let share = share(ways, carrier, bytes, lateness);
        assert!(
            share >= SHARE,
            "{carrier:?} {}: {:.1} %",
            names(ways),
            share * 100.0
        );
        assert!(share <= 1.0, "the oracle is wrong: {share}");
    }
}

#[test]
fn one_lane_is_filled() {
    check(&[Way::of(1000, 50)], 100 << 20);
}

#[test]
fn two_equal_lanes_carry_their_sum() {
    check(&[Way::of(1000, 50), Way::of(1000, 50)], 200 << 20);
}

// qnx: Q4
#[test]
fn a_slow_lane_beside_a_fast_one_adds_its_rate() {
    check(&[Way::of(1000, 50), Way::of(100, 50)], 200 << 20);
}

#[test]
fn three_lanes_carry_their_sum() {
    check(
        &[Way::of(1000, 50), Way::of(1000, 100), Way::of(100, 300)],
        200 << 20,
    );
}

#[test]
fn a_skew_of_two_hundred_microseconds_costs_nothing() {
    check(&[Way::of(1000, 50), Way::of(1000, 250)], 200 << 20);
}

#[test]
fn a_skew_of_a_millisecond_costs_nothing() {
    check(&[Way::of(1000, 50), Way::of(1000, 1_050)], 200 << 20);
}

#[test]
fn a_skew_of_five_milliseconds_costs_nothing() {
    check(&[Way::of(1000, 50), Way::of(1000, 5_050)], 400 << 20);
}

#[test]
fn a_skew_of_ten_milliseconds_costs_nothing() {
    check(&[Way::of(1000, 50), Way::of(1000, 10_050)], 400 << 20);
}

#[test]
fn a_slow_lane_far_away_adds_its_rate() {
    check(&[Way::of(1000, 200), Way::of(100, 10_000)], 200 << 20);
}

#[test]
fn timers_that_are_late_as_a_kernels_cost_nothing() {
    let late = Duration::from_micros(150);
    check_late(&[Way::of(1000, 50)], 100 << 20, late);
    check_late(&[Way::of(1000, 50), Way::of(1000, 1_050)], 200 << 20, late);
    check_late(
        &[Way::of(1000, 50), Way::of(1000, 10_050)],
        1600 << 20,
        late,
    );
}
