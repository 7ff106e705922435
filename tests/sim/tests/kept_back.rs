//! What an end has to send may be kept back for a moment, by its program or by a machine that has no time. That must not
//! look like a lane that fails, nor keep one that has failed from coming back.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use abi::time::Instant;
use testkit::track::{CLIENT, Happening, SERVER, names};
use testkit::{Load, Track, Way};
use transport::{LaneState, LaneSummary};

const PAUSE: Duration = Duration::from_millis(300);

/// How long lanes must stay.
const WATCHED: Duration = Duration::from_secs(2);

/// Cuts two ways in turn under a load, then watches the lanes while nothing fails.
fn lanes_come_back_and_stay(ways: &[Way], load: Load, kept_back: Duration) {
    let mut track = Track::new(ways);
    track.kept_back = kept_back;
    track.lateness = Duration::from_micros(100);
    let number = track.load(track.now(), load);
    track.idle(PAUSE);
    for way in [0, 1, 0, 1] {
        track.at(track.now(), Happening::Cut(way));
        track.idle(PAUSE);
        track.at(track.now(), Happening::Mend(way));
        track.idle(PAUSE);
    }
    track.forget();
    track.idle(WATCHED);
    let calls = track.tally(number).samples.len();
    let changes = track.lane_events.len();
    let name = names(ways);
    println!("{kept_back:?} over {name}, {load:?}: {calls} calls, {changes} changes");
    assert!(calls > 0);
    assert_eq!(changes, 0, "{:?}", track.lane_events);
    for end in [CLIENT, SERVER] {
        let works = |lane: &LaneSummary| lane.state == LaneState::Active;
        let session = track.summary(end);
        assert!(session.is_some_and(|session| session.lanes.iter().all(works)));
    }
}

#[test]
fn lanes_that_were_cut_come_back_and_stay_although_packets_are_kept_back() {
    let ways = [
        vec![Way::of(1000, 50), Way::of(1000, 50)],
        vec![Way::of(1000, 50), Way::of(100, 50), Way::of(1000, 50)],
    ];
    for micros in [100, 1000, 3000, 10_000] {
        for load in [
            Load::new(64, 64),
            Load::new(64, 64).at_once(16),
            Load::new(0, 1 << 16).at_once(4),
        ] {
            for ways in &ways {
                lanes_come_back_and_stay(ways, load, Duration::from_micros(micros));
            }
        }
    }
}

/// The longest time after `from` in which no byte came for the first time.
fn longest_gap(track: &Track, from: Instant) -> Duration {
    let times = track.arrivals.iter().map(|arrival| arrival.0);
    let mut times: Vec<Instant> = times.filter(|time| *time > from).collect();
    times.insert(0, from);
    times.push(track.now());
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// The gap after a cut of the first of two ways, for packets that were kept back until so long before it and perhaps
/// still are.
fn gap(load: Load, kept_back: Duration, until: Option<Duration>) -> Duration {
    let mut track = Track::new(&[Way::of(1000, 50), Way::of(1000, 50)]);
    track.kept_back = kept_back;
    track.load(track.now(), load);
    track.idle(Duration::from_secs(1));
    if let Some(before) = until {
        track.kept_back = Duration::ZERO;
        track.idle(before);
    }
    let cut = track.now();
    track.at(cut, Happening::Cut(0));
    track.idle(Duration::from_millis(500));
    longest_gap(&track, cut)
}

#[test]
fn a_cut_is_found_in_time_while_packets_are_kept_back_and_as_fast_as_ever_soon_after() {
    for load in [Load::new(64, 64), Load::new(0, 1 << 16).at_once(4)] {
        for millis in [1, 3, 10] {
            let kept_back = Duration::from_millis(millis);
            let slow = gap(load, kept_back, None);
            let after = gap(load, kept_back, Some(Duration::from_millis(200)));
            println!("{kept_back:?}, {load:?}: gap {slow:?}, afterwards {after:?}");
            assert!(
                slow <= kept_back * 5 + Duration::from_millis(10),
                "{slow:?}"
            );
            // Two probe timeouts and a round trip of a machine that has time.
            assert!(after <= Duration::from_micros(4500), "{after:?}");
        }
    }
}
