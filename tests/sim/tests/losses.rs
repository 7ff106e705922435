//! Random loss costs what the protocol's page says, and no more.
//!
//! A call of two packets fails to come back with the chance q that one of them is lost. Then a probe
//! timeout passes, doubled each time. With PTO = round trip + 1.5 ms, at least 2 ms (the page), the
//! mean of a call is ideally its round trip + q PTO / (1 - 2 q). The bound allows a quarter more.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use testkit::track::names;
use testkit::{Load, Loss, Track, Way};

const CALLS: u64 = 5000;
const SLACK: f64 = 1.25;

fn lossy(megabits: u64, micros: u64, percent: u64) -> Way {
    let mut way = Way::of(megabits, micros);
    way.shape.loss = Loss::Each(percent * 10_000);
    way
}

/// Mean and longest time of small calls.
fn calls(ways: &[Way]) -> (Duration, Duration) {
    let mut track = Track::new(ways);
    let call = Load::new(64, 64).pause(Duration::from_micros(300));
    let load = track.load(track.now(), call.count(CALLS));
    track.run(Duration::from_secs(600));
    let tally = track.tally(load);
    assert_eq!(tally.failed.len(), 0, "{:?}", tally.failed.first());
    assert_eq!(tally.samples.len() as u64, CALLS);
    println!(
        "64 B calls at {:28} mean {:9.1?}, p99 {:9.1?}, longest {:9.1?}",
        names(ways),
        tally.mean(),
        tally.quantile(990),
        tally.quantile(1000)
    );
    (tally.mean(), tally.quantile(1000))
}

#[test]
fn a_lost_packet_of_a_call_costs_a_probe_timeout() {
    for percent in [1, 5] {
        let way = lossy(200, 50, percent);
        let rtt = way.shape.delay * 2 + way.shape.serialization(140) * 2;
        let pto = (rtt + Duration::from_micros(1500)).max(Duration::from_millis(2));
        let arrives = 1.0 - percent as f64 / 100.0;
        let lost = 1.0 - arrives * arrives;
        let ideal = rtt + pto.mul_f64(lost / (1.0 - 2.0 * lost));
        let (mean, _) = calls(&[way]);
        println!("    {percent} % each way: ideally {ideal:.1?}");
        assert!(mean <= ideal.mul_f64(SLACK), "{mean:?} > 1.25 x {ideal:?}");
    }
}

#[test]
fn a_lossy_lane_beside_a_clean_one_holds_no_call_up() {
    let (mean, longest) = calls(&[lossy(200, 50, 5), Way::of(200, 50)]);
    // A lost packet costs a timeout on the lossy lane; the copy goes on the clean one.
    assert!(mean <= Duration::from_micros(400), "{mean:?}");
    assert!(longest <= Duration::from_millis(8), "{longest:?}");
}

#[test]
fn bulk_over_a_lossy_lane_goes_on() {
    for percent in [1, 5] {
        for ways in [
            vec![lossy(200, 500, percent)],
            vec![lossy(200, 500, percent), Way::of(200, 500)],
        ] {
            let mut track = Track::new(&ways);
            let load = track.load(track.now(), Load::new(0, 1 << 20).at_once(4).count(200));
            let start = track.now();
            track.run(Duration::from_secs(60));
            let tally = track.tally(load);
            assert_eq!((tally.failed.len(), tally.samples.len()), (0, 200));
            let end = tally
                .samples
                .iter()
                .map(|sample| sample.end)
                .max()
                .unwrap_or(start);
            let rate = 200.0 * f64::from(1 << 20) / (end - start).as_secs_f64();
            let sum = testkit::ideal::goodput(&ways, testkit::ideal::Carrier::Reply);
            let arrives = 1.0 - percent as f64 / 100.0 / ways.len() as f64;
            println!(
                "bulk at {percent} % loss over {:20} {:5.0} Mb/s = {:.1} % of what arrives",
                names(&ways),
                rate * 8.0 / 1e6,
                rate / (sum * arrives) * 100.0
            );
            assert!(rate >= 0.6 * sum * arrives, "{rate}");
        }
    }
}
