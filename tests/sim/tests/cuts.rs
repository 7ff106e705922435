//! A cable is pulled while something is under way: how long nothing comes, and when it is used again.
//!
//! The bound of a gap is 2 PTO + 1 RTT, with the probe timeout of the protocol's page (smoothed
//! time + at least 500 us + 1 ms, at least 2 ms) computed from the longest round trip that the
//! simulated wires have seen before the cut, queues included. Nobody tells the ends of the cut.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::track::{CLIENT, Happening, SERVER, names};
use testkit::{Load, Loss, Shape, Track, Way};
use transport::{Event, LaneState, Policy};

const BULK: u64 = 1 << 20;
const WARM: Duration = Duration::from_millis(300);

/// Probe timeout and longest round trip of the ways, as the wires have seen it.
fn bound(track: &Track) -> Duration {
    let rtt = track.longest.iter().max().copied().unwrap_or_default();
    let pto = (rtt + Duration::from_micros(1500))
        .clamp(Duration::from_millis(2), Duration::from_millis(200));
    2 * pto + rtt
}

/// Warms a load up, cuts way 0 (to one end only, or both), and answers the longest time without a new byte and the bound.
fn gap(ways: &[Way], load: Load, to: Option<usize>) -> (Duration, Duration) {
    let mut track = Track::new(ways);
    let number = track.load(track.now(), load);
    track.idle(WARM);
    track.forget();
    track.idle(Duration::from_millis(100));
    let (bound, cut) = (bound(&track), track.now());
    let cutting = to.map_or(Happening::Cut(0), |end| Happening::CutTo { way: 0, end });
    track.at(cut, cutting);
    track.idle(Duration::from_millis(500));
    assert_eq!(
        track.tally(number).failed.len(),
        0,
        "{:?}",
        track.tally(number).failed.first()
    );
    let times: Vec<_> = track.arrivals.iter().map(|(at, ..)| *at).collect();
    let after = times.windows(2).filter(|pair| pair[1] > cut);
    let longest = after
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(Duration::MAX);
    let silent = track.now() - times.last().copied().unwrap_or(cut);
    (longest.max(silent), bound)
}

fn check_gap(what: &str, ways: &[Way], load: Load) {
    check_gap_to(what, ways, load, None);
}

fn check_gap_to(what: &str, ways: &[Way], load: Load, to: Option<usize>) {
    let (gap, bound) = gap(ways, load, to);
    println!(
        "gap after a cut: {what:12} {:24} {gap:10.1?}, bound {bound:10.1?}",
        names(ways)
    );
    assert!(gap <= bound, "{what} {}: {gap:?} > {bound:?}", names(ways));
}

fn cases() -> [Vec<Way>; 3] {
    [
        vec![Way::of(1000, 50), Way::of(1000, 50)],
        vec![Way::of(1000, 50), Way::of(100, 50)],
        vec![Way::of(1000, 50), Way::of(1000, 1000)],
    ]
}

#[test]
fn a_cut_stops_bulk_for_two_probe_timeouts_at_most() {
    for ways in cases() {
        check_gap("replies", &ways, Load::new(0, BULK).at_once(4));
        check_gap("requests", &ways, Load::new(BULK, 0).at_once(4));
        let preferred = Load::new(0, BULK).at_once(4).policy(Policy::Preferred(0));
        check_gap("preferred", &ways, preferred);
    }
}

#[test]
fn a_cut_stops_small_calls_for_two_probe_timeouts_at_most() {
    for ways in cases() {
        check_gap("calls", &ways, Load::new(64, 64));
        check_gap(
            "preferred",
            &ways,
            Load::new(64, 64).policy(Policy::Preferred(0)),
        );
    }
}

#[test]
fn a_cut_delays_messages_by_two_probe_timeouts_at_most() {
    for ways in cases() {
        check_gap("100 kB", &ways, Load::new(0, 100_000));
    }
}

#[test]
fn a_cut_of_one_direction_is_no_worse() {
    for ways in cases() {
        for end in [CLIENT, SERVER] {
            let what = ["to client", "to server"][end];
            check_gap_to(what, &ways, Load::new(64, 64), Some(end));
            check_gap_to(what, &ways, Load::new(0, BULK).at_once(4), Some(end));
        }
    }
}

/// Share of new bytes that came over `way` from `from` for `time`, and bytes per second of all.
fn shares(track: &Track, way: usize, from: abi::time::Instant, time: Duration) -> (f64, f64) {
    let within = track
        .arrivals
        .iter()
        .filter(|(at, ..)| *at >= from && *at < from + time);
    let (mut own, mut all) = (0, 0);
    for (_, n, bytes) in within {
        all += bytes;
        own += if *n == way { *bytes } else { 0 };
    }
    (
        own as f64 / all.max(1) as f64,
        all as f64 / time.as_secs_f64(),
    )
}

/// Cuts way 0 for half a second, with or without a monitor; answers how long after the mend (or
/// after the monitor's word) the first new byte comes over it.
fn back(monitor: bool) -> Duration {
    let ways = [Way::of(1000, 50), Way::of(1000, 50)];
    back_after(&ways, monitor, Duration::from_millis(500))
}

fn back_after(ways: &[Way], monitor: bool, cut_for: Duration) -> Duration {
    let mut track = Track::new(ways);
    track.load(track.now(), Load::new(0, BULK).at_once(4));
    track.idle(WARM);
    let cut = track.now();
    let mend = cut + cut_for;
    let told = mend + Duration::from_millis(75);
    track.at(cut, Happening::Cut(0));
    track.at(mend, Happening::Mend(0));
    if monitor {
        track.at(
            cut + Duration::from_millis(100),
            Happening::Monitor { way: 0, up: false },
        );
        track.at(told, Happening::Monitor { way: 0, up: true });
    }
    track.idle(cut_for + Duration::from_millis(2500));
    let from = if monitor { told } else { mend };
    let first = track
        .arrivals
        .iter()
        .find(|(at, way, _)| *way == 0 && *at > mend);
    let back = first.map_or(Duration::MAX, |(at, ..)| *at - from);
    let (share, rate) = shares(
        &track,
        0,
        from + back + Duration::from_millis(50),
        Duration::from_millis(300),
    );
    let attainable = testkit::ideal::goodput(ways, testkit::ideal::Carrier::Reply);
    println!(
        "back in use, monitor {monitor:5}: {back:.1?}; 50 ms later {:.1} % of the bytes, {:.1} % of the sum",
        share * 100.0,
        rate / attainable * 100.0
    );
    assert!(
        rate >= 0.95 * attainable,
        "the rate does not come back: {rate}"
    );
    back
}

#[test]
fn a_mended_lane_is_used_again_at_once_when_the_monitor_says_so() {
    assert!(back(true) <= Duration::from_millis(50));
}

#[test]
fn a_mended_lane_is_found_without_a_monitor_too() {
    assert!(back(false) <= Duration::from_millis(500));
}

#[test]
fn a_lane_that_was_cut_for_long_is_found_as_soon() {
    for millis in [3_000, 9_900, 10_300, 12_345, 12_900, 15_000] {
        let time = Duration::from_millis(millis);
        let took = back_after(&[Way::of(100, 50), Way::of(100, 50)], false, time);
        assert!(
            took <= Duration::from_millis(500),
            "after {time:?}: {took:?}"
        );
    }
}

/// One end's link goes down and up while the other end knows nothing of it; what the first end hears of
/// its link at the end is the peer alone.
#[test]
fn a_link_of_one_end_that_comes_back_is_used_at_once() {
    for end in [CLIENT, SERVER] {
        for told in [true, false] {
            let mut track = Track::new(&[Way::of(1000, 50), Way::of(1000, 50)]);
            track.load(track.now(), Load::new(0, BULK).at_once(4));
            track.idle(WARM);
            let cut = track.now();
            let mend = cut + Duration::from_millis(2_345);
            track.at(cut, Happening::Cut(0));
            let driver = |up| Happening::DriverOf { way: 0, end, up };
            track.at(cut, driver(false));
            track.at(mend, Happening::Mend(0));
            if told {
                // The link is up before anything passes.
                track.at(cut + Duration::from_millis(1_995), driver(true));
            }
            track.idle(Duration::from_secs(5));
            let mut arrivals = track.arrivals.iter();
            let first = arrivals.find(|(at, way, _)| *way == 0 && *at > mend);
            let back = first.map_or(Duration::MAX, |(at, ..)| *at - mend);
            println!("link of end {end} back, told {told}: {back:.1?}");
            assert!(back <= Duration::from_millis(500), "{back:?}");
        }
    }
}

// qnx: Q6
#[test]
fn what_prefers_a_lane_returns_to_it_two_seconds_after_it_works() {
    let ways = [Way::of(1000, 50), Way::of(1000, 50)];
    let mut track = Track::new(&ways);
    let load = Load::new(64, 64)
        .pause(Duration::from_millis(1))
        .policy(Policy::Preferred(1));
    let number = track.load(track.now(), load);
    track.idle(WARM);
    assert!(
        track.arrivals.iter().all(|(_, way, _)| *way == 1),
        "it began elsewhere"
    );
    let cut = track.now();
    let mend = cut + Duration::from_secs(1);
    for (after, up) in [(100, false), (1075, true)] {
        track.at(
            cut + Duration::from_millis(after),
            Happening::Monitor { way: 1, up },
        );
    }
    track.at(cut, Happening::Cut(1));
    track.at(mend, Happening::Mend(1));
    track.idle(Duration::from_secs(5));
    assert_eq!(track.tally(number).failed.len(), 0);
    let told = cut + Duration::from_millis(1075);
    let first = track
        .arrivals
        .iter()
        .find(|(at, way, _)| *way == 1 && *at > mend);
    let back = first.map_or(Duration::MAX, |(at, ..)| *at - told);
    println!("preferred lane used again {back:.3?} after it is up");
    assert!(
        (Duration::from_secs(2)..Duration::from_millis(2100)).contains(&back),
        "{back:?}"
    );
    let (share, _) = shares(&track, 1, told + back, Duration::from_secs(1));
    assert!(share > 0.999, "it does not stay: {share}");
}

#[test]
fn loss_jitter_and_stalls_take_no_lane_down() {
    let lossy = Shape::megabits(1000, Duration::from_micros(50))
        .with_loss(Loss::Each(10_000))
        .with_jitter(Duration::from_millis(1));
    let mut track = Track::new(&[Way::new(lossy), Way::new(lossy)]);
    let number = track.load(
        track.now(),
        Load::new(64, 64).pause(Duration::from_millis(3)),
    );
    let start = track.now();
    for second in 0..120 {
        let at = start + Duration::from_millis(second * 1000 + 500);
        let time = Duration::from_millis(50);
        track.at(
            at,
            Happening::Stall {
                end: second as usize % 2,
                time,
            },
        );
    }
    track.idle(Duration::from_secs(120));
    let tally = track.tally(number);
    let state = |wanted| {
        let is = |event: &&(_, _, Event)| matches!(event.2, Event::LaneChanged { state, .. } if state == wanted);
        track.lane_events.iter().filter(is).count()
    };
    let (suspect, down) = (state(LaneState::Suspect), state(LaneState::Down));
    println!(
        "120 s at 1 % loss with stalls of 50 ms: {} calls, {suspect} suspicions, {down} down",
        tally.samples.len()
    );
    assert!(tally.failed.is_empty() && tally.samples.len() > 10_000);
    assert_eq!(down, 0);
}
