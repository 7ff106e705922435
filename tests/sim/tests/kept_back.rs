//! What an end has to send may be kept back for a moment, by its program or by a machine that has no time. That must not
//! look like a lane that fails, nor keep one that has failed from coming back.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::track::{CLIENT, Happening, SERVER, names};
use testkit::{Load, Track, Way};
use transport::{LaneState, LaneSummary};

const PAUSE: Duration = Duration::from_millis(300);

/// Cuts two ways in turn under a load, then watches the lanes for a second in which nothing fails.
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
    track.idle(Duration::from_secs(1));
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
    for micros in [100, 1000] {
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
