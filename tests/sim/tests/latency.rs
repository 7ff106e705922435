//! A small call beside a bulk transfer of the same session waits for at most two batches.
//!
//! A batch is what may leave in one piece: 200 microseconds at the lane's rate, but at least a packet
//! and at most 64 KiB. The bound is the p99 of the same calls alone plus two batches of the fastest
//! lane.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::track::names;
use testkit::{Load, Track, Way};

const CALLS: u64 = 2000;
const BULK: u64 = 4 << 20;

/// Time on the wire of one batch of the fastest way.
fn batch(ways: &[Way]) -> Duration {
    let one = |way: &Way| {
        let bytes = (way.shape.rate / 5000).clamp(u64::from(way.mtu), 64 << 10);
        Duration::from_nanos(bytes * 1_000_000_000 / way.shape.rate)
    };
    ways.iter().map(one).min().unwrap_or_default()
}

fn p99(ways: &[Way], bulk: Option<Load>) -> Duration {
    let mut track = Track::new(ways);
    let start = track.now();
    if let Some(bulk) = bulk {
        track.load(start, bulk);
    }
    // The bulk has found its rate when the calls begin.
    let call = Load::new(64, 64).pause(Duration::from_micros(97));
    let load = track.load(start + Duration::from_millis(300), call.count(CALLS));
    while (track.tally(load).samples.len() as u64) < CALLS {
        track.idle(Duration::from_millis(10));
        assert!(
            track.now() - start < Duration::from_secs(20),
            "{} calls",
            track.tally(load).samples.len()
        );
    }
    let tally = track.tally(load);
    assert_eq!(tally.failed.len(), 0);
    let quantiles = [500, 900, 990, 1000].map(|q| tally.quantile(q));
    println!("    p50 p90 p99 max {quantiles:.1?}");
    quantiles[2]
}

fn check(ways: &[Way]) {
    let idle = p99(ways, None);
    let bound = idle + 2 * batch(ways);
    let mut found = Duration::ZERO;
    for bulk in [Load::new(0, BULK), Load::new(BULK, 0)] {
        let loaded = p99(ways, Some(bulk.at_once(4)));
        println!(
            "p99 of 64 B calls {:28} idle {idle:9.1?}, under bulk {loaded:9.1?}, bound {bound:9.1?}",
            names(ways)
        );
        found = found.max(loaded);
    }
    assert!(found <= bound, "{}: {found:?} > {bound:?}", names(ways));
}

#[test]
fn beside_bulk_over_one_lane() {
    check(&[Way::of(1000, 50)]);
}

#[test]
fn beside_bulk_over_two_equal_lanes() {
    check(&[Way::of(1000, 50), Way::of(1000, 50)]);
}

#[test]
fn beside_bulk_over_a_fast_lane_and_a_slow_one() {
    check(&[Way::of(1000, 50), Way::of(100, 50)]);
}

#[test]
fn beside_bulk_over_a_fast_lane_and_a_slow_one_far_away() {
    check(&[Way::of(1000, 200), Way::of(100, 10_000)]);
}
