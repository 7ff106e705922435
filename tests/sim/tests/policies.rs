//! What a policy demands of lanes, on the track: what carries bytes, what fails and when.
//! That nothing exclusive is ever on another lane is judged in every world of `seeds.rs`, packet by
//! packet.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::track::{CLIENT, Happening, SERVER};
use testkit::{Load, Track, Way};
use transport::{Cause, Delivery, Event, Policy};

const PAUSE: Duration = Duration::from_millis(1);

fn two() -> Track {
    Track::new(&[Way::of(1000, 50), Way::of(1000, 50)])
}

/// Longest packets that went over a way in either direction, since the beginning.
fn longest(track: &Track, way: usize) -> usize {
    let to = |end| track.wire(way, end).longest;
    to(CLIENT).max(to(SERVER))
}

/// A PING or an acknowledgement, and nothing that a program gave.
const SMALL: usize = 32 + 13 + 13 + 64;

#[test]
fn exclusive_bulk_leaves_the_other_lane_to_probes() {
    for bulk in [Load::new(0, 1 << 20), Load::new(1 << 20, 0)] {
        let mut track = two();
        let policy = Policy::Exclusive {
            lane: 1,
            wait: false,
        };
        let load = track.load(track.now(), bulk.at_once(3).count(30).policy(policy));
        track.run(Duration::from_secs(5));
        assert_eq!(track.tally(load).samples.len(), 30);
        assert!(longest(&track, 0) <= SMALL, "{} bytes", longest(&track, 0));
    }
}

#[test]
fn preferred_bulk_leaves_the_other_lane_to_probes() {
    let mut track = two();
    let bulk = Load::new(0, 1 << 20).at_once(3).count(30);
    let load = track.load(track.now(), bulk.policy(Policy::Preferred(1)));
    track.run(Duration::from_secs(5));
    assert_eq!(track.tally(load).samples.len(), 30);
    assert!(longest(&track, 0) <= SMALL, "{} bytes", longest(&track, 0));
}

#[test]
fn two_connections_of_a_session_use_the_lanes_they_demand() {
    let mut track = two();
    let bulk = Load::new(0, 4 << 20).at_once(2);
    let loads = [0, 1].map(|lane| {
        let policy = Policy::Exclusive { lane, wait: false };
        track.load(track.now(), bulk.count(50).policy(policy))
    });
    let start = track.now();
    track.run(Duration::from_secs(20));
    for (lane, load) in loads.into_iter().enumerate() {
        let samples = &track.tally(load).samples;
        assert_eq!(samples.len(), 50);
        let end = samples.iter().map(|sample| sample.end).max().unwrap();
        let rate = 50.0 * f64::from(4 << 20) / (end - start).as_secs_f64();
        let alone = testkit::ideal::goodput(&[Way::of(1000, 50)], testkit::ideal::Carrier::Reply);
        println!(
            "exclusive to lane {lane}: {:.1} % of it",
            rate / alone * 100.0
        );
        assert!(rate > 0.95 * alone);
    }
}

#[test]
fn exclusive_calls_fail_as_soon_as_their_lane_is_down() {
    let mut track = two();
    let call = Load::new(64, 64).pause(PAUSE);
    let policy = |wait| Policy::Exclusive { lane: 1, wait };
    let failing = track.load(track.now(), call.policy(policy(false)));
    let waiting = track.load(track.now(), call.policy(policy(true)));
    let other = track.load(track.now(), call);
    track.idle(Duration::from_millis(100));
    let down = track.now() + Duration::from_millis(100);
    let up = down + Duration::from_secs(1);
    track.at(track.now(), Happening::Cut(1));
    track.at(down, Happening::Monitor { way: 1, up: false });
    track.at(up, Happening::Mend(1));
    track.at(up, Happening::Monitor { way: 1, up: true });
    track.idle(Duration::from_secs(2));

    let failed = &track.tally(failing).failed;
    let first = failed.first().expect("none failed").0;
    let last = failed.last().expect("none failed").0;
    println!(
        "{} exclusive calls failed, the first {:?} after the word",
        failed.len(),
        first - down
    );
    assert!(
        first - down < Duration::from_millis(1) && first >= down,
        "{:?}",
        first - down
    );
    assert!(last <= up, "{:?} too late", last - up);
    for (at, event) in failed {
        let Event::Failed { failure, .. } = event else {
            unreachable!("{event:?}");
        };
        assert_eq!(failure.cause, Cause::Link);
        // Those asked while it is down have never left.
        assert!(failure.delivery == Delivery::NotDone || *at - down < Duration::from_millis(1));
    }
    let again = track
        .tally(failing)
        .samples
        .iter()
        .filter(|sample| sample.start > up);
    assert!(again.count() > 100, "calls work again");

    assert_eq!(track.tally(waiting).failed.len(), 0);
    let waited = track
        .tally(waiting)
        .samples
        .iter()
        .map(testkit::track::Sample::time)
        .max();
    let waited = waited.unwrap_or_default();
    println!("a waiting call took {waited:?}");
    assert!((Duration::from_millis(1000)..Duration::from_millis(1200)).contains(&waited));
    assert_eq!(track.tally(other).failed.len(), 0);
    let slowest = track
        .tally(other)
        .samples
        .iter()
        .map(testkit::track::Sample::time)
        .max();
    assert!(
        slowest.unwrap_or_default() < Duration::from_millis(10),
        "{slowest:?}"
    );
}
