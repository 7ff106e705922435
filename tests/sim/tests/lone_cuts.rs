//! The only lane of a session is cut for a while, and returns: nothing of that says how large packets may be.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use abi::time::Instant;
use testkit::track::{CLIENT, Happening, SERVER, names};
use testkit::{Load, Track, Way};

const BEFORE: Duration = Duration::from_millis(300);
const AFTER: Duration = Duration::from_millis(1500);
/// The lane must carry most of its rate again so soon: a lane that does not answer is asked once in a second at least.
const BACK_WITHIN: Duration = Duration::from_millis(1300);
const STEP: Duration = Duration::from_millis(20);
const SHARE: f64 = 0.9;

/// Bytes per second that arrived in `STEP` from `from` on.
fn rate(track: &Track, from: Instant) -> f64 {
    let there = |at: Instant| at >= from && at < from + STEP;
    let arrivals = track.arrivals.iter().filter(|arrival| there(arrival.0));
    arrivals.map(|arrival| arrival.2).sum::<u64>() as f64 / STEP.as_secs_f64()
}

/// Largest packets of both ends, and how long after the return of the way its rate was there again for good.
fn cut_for(way: Way, load: Load, cut: Duration) -> ([u32; 2], Duration) {
    let mut track = Track::new(&[way]);
    track.load(track.now(), load.at_once(4));
    track.idle(BEFORE);
    track.at(track.now(), Happening::Cut(0));
    track.idle(cut);
    let mended = track.now();
    track.at(mended, Happening::Mend(0));
    track.idle(AFTER);
    let size = |end| track.summary(end).map_or(0, |session| session.lanes[0].mtu);
    let steps = (0..).map(|n| mended + STEP * n);
    let full = SHARE * way.shape.rate as f64;
    let slow = steps
        .take_while(|from| *from + STEP < track.now())
        .filter(|from| rate(&track, *from) < full)
        .last();
    let back = slow.map_or(Duration::ZERO, |from| from + STEP - mended);
    ([CLIENT, SERVER].map(size), back)
}

#[test]
fn a_lone_lane_that_was_cut_comes_back_with_packets_of_full_size_and_its_rate() {
    for way in [Way::of(1000, 50), Way::of(100, 1000)] {
        for load in [Load::new(0, 1 << 20), Load::new(1 << 20, 0)] {
            for millis in [20, 50, 100, 200, 400, 800, 1600, 5000] {
                let (sizes, back) = cut_for(way, load, Duration::from_millis(millis));
                let name = names(&[way]);
                println!(
                    "{name}, {} bytes up, {} down, cut for {millis} ms: sizes {sizes:?}, back after {back:?}",
                    load.request, load.reply
                );
                assert_eq!(sizes, [way.mtu; 2]);
                assert!(back <= BACK_WITHIN, "{back:?}");
            }
        }
    }
}
