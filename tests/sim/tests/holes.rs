//! Paths that begin to swallow packets above some size while a session uses larger ones.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use abi::time::Instant;
use testkit::track::{CLIENT, Happening, SERVER, names};
use testkit::{Load, Shape, Track, Way};
use transport::Policy;

const BEFORE: Duration = Duration::from_millis(200);
const AFTER: Duration = Duration::from_millis(1500);
/// Longest time without a byte after the path has changed.
const GAP_MAX: Duration = Duration::from_millis(100);

/// How long the monitor takes to find what passes, and what it finds.
const SEARCH: Duration = Duration::from_millis(300);
const FOUND: u32 = 1165;

/// Of the path's rate, this must carry messages: most of it is left with packets of 548 bytes.
const SHARE: f64 = 0.6;

/// From `at` on the path carries no more than this.
fn shrink(track: &mut Track, way: Way, at: Instant, hole: usize) {
    let shape = Shape { hole, ..way.shape };
    track.at(at, Happening::Become(0, shape));
}

/// Bytes per second that arrived after `from`.
fn rate(track: &Track, from: Instant) -> f64 {
    let arrivals = track.arrivals.iter().filter(|arrival| arrival.0 > from);
    let bytes: u64 = arrivals.map(|arrival| arrival.2).sum();
    bytes as f64 / (track.now() - from).as_secs_f64()
}

/// The longest time after `from` in which nothing arrived.
fn longest_gap(track: &Track, from: Instant) -> Duration {
    let times = track.arrivals.iter().map(|arrival| arrival.0);
    let mut last = from;
    let mut longest = Duration::ZERO;
    for time in times.filter(|time| *time > from).chain([track.now()]) {
        longest = longest.max(time - last);
        last = time;
    }
    longest
}

fn way() -> Way {
    let way = Way::of(200, 50);
    Way { mtu: 1272, ..way }.known()
}

/// Bulk over the first of these paths, which shrinks below the base size. The monitor looks once a second, takes 150 ms
/// for it, and says first 1232, which does not pass, or 548, and a while later nearly what passes.
fn bulk_goes_on(ways: &[Way], policy: Policy) {
    let mut worst = Duration::ZERO;
    for load in [Load::new(0, 1 << 20), Load::new(1 << 20, 0)] {
        for said in [None, Some((150, 1232)), Some((150, 548)), Some((1150, 548))] {
            let mut track = Track::new(ways);
            track.load(track.now(), load.at_once(4).policy(policy));
            let at = track.now() + BEFORE;
            shrink(&mut track, ways[0], at, 1172);
            if let Some((millis, first)) = said {
                let then = at + Duration::from_millis(millis);
                track.at(then, Happening::Size(0, first));
                track.at(then + SEARCH, Happening::Size(0, FOUND));
            }
            track.run(BEFORE + AFTER);
            for end in [CLIENT, SERVER].into_iter().filter(|_| said.is_some()) {
                let size = track.summary(end).map(|session| session.lanes[0].mtu);
                assert_eq!(size, Some(FOUND), "{said:?}");
            }
            let gap = longest_gap(&track, at);
            let (rate, name) = (rate(&track, at + GAP_MAX), names(ways));
            assert!(rate >= SHARE * ways[0].shape.rate as f64, "{rate} bytes/s");
            println!(
                "{} bytes up, {} down over {name}, said {said:?}: longest gap {gap:?}",
                load.request, load.reply
            );
            worst = worst.max(gap);
        }
    }
    assert!(worst <= GAP_MAX, "{worst:?}");
}

#[test]
fn bulk_over_the_only_path_goes_on_when_that_shrinks_below_the_base_size() {
    bulk_goes_on(&[way()], Policy::LoadBalance);
}

#[test]
fn bulk_over_two_paths_goes_on_when_one_shrinks_below_the_base_size() {
    bulk_goes_on(&[way(), way()], Policy::LoadBalance);
}

#[test]
fn bulk_bound_to_a_path_that_shrinks_below_the_base_size_goes_on() {
    let policy = Policy::Exclusive {
        lane: 0,
        wait: true,
    };
    bulk_goes_on(&[way(), way()], policy);
}
