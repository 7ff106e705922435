//! Links behind a token bucket: a burst goes at the speed of the bare link, the rest at the rate.
//! What is believed of such a lane, what is lost on it, and whether those who prefer it stay.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::track::{CLIENT, Happening, SERVER};
use testkit::{Load, Shape, Track, Way};
use transport::Policy;

/// Bytes per second of the shaped links.
const RATE: u64 = 12_500_000;

/// 100 Mbit/s with a bucket of so many KiB and a queue of so many milliseconds, on a link of 0.2 ms.
fn bucket(kilobytes: u64, queue: u64) -> Way {
    let bytes = RATE * queue / 1000;
    let shape = Shape::megabits(100, Duration::from_micros(100));
    Way::new(shape.with_queue(bytes).with_bucket(kilobytes << 10))
}

fn cases() -> Vec<Way> {
    let sizes = [(16, 8), (32, 10), (64, 8), (64, 10)];
    sizes.map(|(size, queue)| bucket(size, queue)).to_vec()
}

/// Rate that the server believes of a way, as a multiple of the true one.
fn believed(track: &Track, way: usize) -> f64 {
    let summary = track.summary(SERVER).expect("the session is open");
    summary.lanes[way].rate.unwrap_or(0) as f64 / RATE as f64
}

/// The greatest of what is believed, looked at every millisecond for `time`, and the share of the
/// time in which it is more than a third too much.
fn watch(track: &mut Track, way: usize, time: Duration) -> (f64, f64) {
    let (mut most, mut wrong) = (0.0, 0);
    let steps = time.as_millis() as u32;
    for _ in 0..steps {
        track.idle(Duration::from_millis(1));
        let now = believed(track, way);
        most = f64::max(most, now);
        wrong += u32::from(now > 1.34);
    }
    (most, f64::from(wrong) / f64::from(steps))
}

#[test]
fn a_burst_is_not_taken_for_the_rate() {
    let mut wrong_ones = Vec::new();
    for way in cases() {
        for (what, load) in [
            ("bulk", Load::new(0, 1 << 20).at_once(4)),
            ("one by one", Load::new(0, 1 << 20)),
            (
                "with pauses",
                Load::new(0, 1 << 20).pause(Duration::from_millis(20)),
            ),
            (
                "bursts",
                Load::new(0, 64 << 10).pause(Duration::from_millis(20)),
            ),
        ] {
            let mut track = Track::new(&[way]);
            track.load(track.now(), load);
            track.idle(Duration::from_millis(300));
            let (most, wrong) = watch(&mut track, 0, Duration::from_secs(2));
            let wire = track.wire(0, CLIENT);
            let lost = wire.overflowed as f64 / wire.offered as f64;
            println!(
                "bucket {:5} queue {:6} {what:12} believed {most:5.2} of the rate, too much {:5.1} % of the time, lost {:.1} %",
                way.shape.bucket,
                way.shape.queue,
                wrong * 100.0,
                lost * 100.0
            );
            // What goes in bursts and then rests does go as fast.
            let right = most < 1.8 && wrong < 0.05 && lost < 0.05;
            if !right && what != "bursts" {
                wrong_ones.push((way.shape.bucket, what));
            }
        }
    }
    assert!(wrong_ones.is_empty(), "{wrong_ones:?}");
}

#[test]
fn two_lanes_behind_buckets_carry_their_sum() {
    for way in cases() {
        let mut track = Track::new(&[way, way]);
        track.load(track.now(), Load::new(0, 1 << 20).at_once(4));
        track.idle(Duration::from_millis(300));
        track.forget();
        track.idle(Duration::from_secs(2));
        let bytes: u64 = track.arrivals.iter().map(|(.., bytes)| bytes).sum();
        let ideal = testkit::ideal::goodput(&[way, way], testkit::ideal::Carrier::Reply);
        let share = bytes as f64 / 2.0 / ideal;
        println!("two behind buckets: {:.1} %", share * 100.0);
        assert!(share > 0.95, "{share}");
    }
}

#[test]
fn a_lane_that_was_cut_in_silence_is_not_overfilled_when_it_returns() {
    let mut bad = false;
    for way in cases() {
        let mut track = Track::new(&[way, Way::of(100, 100)]);
        track.load(track.now(), Load::new(0, 1 << 20).at_once(4));
        track.idle(Duration::from_millis(500));
        track.at(track.now(), Happening::Cut(0));
        track.at(
            track.now() + Duration::from_millis(1500),
            Happening::Mend(0),
        );
        track.idle(Duration::from_millis(1500));
        let before = (
            track.wire(0, CLIENT).offered,
            track.wire(0, CLIENT).overflowed,
        );
        let (most, wrong) = watch(&mut track, 0, Duration::from_secs(2));
        let wire = track.wire(0, CLIENT);
        let lost = (wire.overflowed - before.1) as f64 / (wire.offered - before.0).max(1) as f64;
        println!(
            "back after a cut: believed {most:.2}, {:.1} % of the time, lost {:.1} %",
            wrong * 100.0,
            lost * 100.0
        );
        assert!(wire.offered - before.0 > 10_000, "it is not used");
        bad |= most > 1.8 || lost > 0.05;
    }
    assert!(!bad);
}

/// Share of the bytes that come over a preferred way in the first `time`, and how often it was left.
fn kept(way: Way, load: Load, time: Duration) -> (f64, usize) {
    let mut track = Track::new(&[way, Way::of(1000, 100)]);
    track.load(track.now(), load.policy(Policy::Preferred(0)));
    track.idle(time);
    let (mut own, mut all) = (0, 0);
    for (_, way, bytes) in &track.arrivals {
        all += bytes;
        own += if *way == 0 { *bytes } else { 0 };
    }
    for (at, end, event) in &track.lane_events {
        println!("    {:?} end {end}: {event:?}", *at - testkit::track::START);
    }
    (own as f64 / all as f64, track.lane_events.len())
}

#[test]
fn a_preferred_lane_is_not_left_for_its_own_congestion() {
    let short = Way::new(Shape::megabits(100, Duration::from_micros(100)).with_queue(20_000));
    let long = Way::new(Shape::megabits(100, Duration::from_micros(100)).with_queue(1 << 20));
    let mut left = 0;
    for way in cases().into_iter().chain([short, long]) {
        for load in [
            Load::new(0, 1 << 20).at_once(4),
            Load::new(1 << 20, 0).at_once(4),
            Load::new(0, 1 << 20)
                .at_once(4)
                .pause(Duration::from_millis(30)),
            Load::new(0, 200_000).at_once(16),
        ] {
            let (share, events) = kept(way, load, Duration::from_secs(3));
            println!(
                "preferred, bucket {:5} queue {:7} {:7} x {:2}: {:.1} % of the bytes, {events} changes",
                way.shape.bucket,
                way.shape.queue,
                load.request.max(load.reply),
                load.at_once,
                share * 100.0
            );
            left += u32::from(share < 0.99);
        }
    }
    assert_eq!(left, 0);
}
