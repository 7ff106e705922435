//! What the lab's two cables of 1000 and 100 Mbit/s carry together, with ends that share two processors with others.
//!
//! As there: token buckets with a queue of 8 ms behind interfaces that say 10 Gbit/s, a session that begins with the
//! load, eight messages of 64 KiB at once.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use abi::time::Instant;
use testkit::random::Random;
use testkit::track::{CLIENT, Happening, SERVER};
use testkit::{Load, Shape, Track, Way};
use transport::Policy;

/// Bytes per second that a virtual Ethernet interface tells.
const TOLD: u64 = 1_250_000_000;

fn cable(megabits: u64) -> Way {
    let queue = (megabits << 10).max(64 << 10);
    let bucket = (megabits / 16).max(8) << 10;
    let shape = Shape::megabits(megabits, Duration::from_micros(40));
    Way::new(shape.with_queue(queue).with_bucket(bucket)).told(TOLD)
}

/// How much the ends are kept from running: one time in how many microseconds, and for how long at most.
#[derive(Clone, Copy, Debug)]
struct Noise {
    every: u64,
    most: u64,
}

fn disturb(track: &mut Track, noise: Noise, random: &mut Random, until: Instant) {
    for end in [CLIENT, SERVER] {
        let mut at = track.now();
        while at < until {
            at += Duration::from_micros(random.below(2 * noise.every) + 1);
            // Most waits are short, few are long.
            let long = random.below(noise.most) * random.below(noise.most) / noise.most;
            let time = Duration::from_micros(long + 1);
            track.at(at, Happening::Stall { end, time });
        }
    }
}

/// Bytes per second after the warming up.
fn rate(ways: &[Way], policy: Policy, noise: Noise, seed: u64) -> f64 {
    let mut track = Track::new(ways);
    track.seed(seed);
    track.lateness = Duration::from_micros(150);
    let end = track.now() + WARM + TIME;
    disturb(&mut track, noise, &mut Random::new(seed), end);
    let load = Load::new(64 << 10, 0).at_once(8).policy(policy);
    track.load(track.now(), load);
    track.idle(WARM);
    track.forget();
    track.idle(TIME);
    let bytes: u64 = track.arrivals.iter().map(|(.., bytes)| bytes).sum();
    bytes as f64 / TIME.as_secs_f64()
}

const WARM: Duration = Duration::from_millis(700);
const TIME: Duration = Duration::from_millis(500);

/// Shares of the sum of both alone, of which the slow cable is a tenth.
fn shares(noise: Noise) -> f64 {
    let ways = [cable(1000), cable(100)];
    let share = |seed| {
        let alone = [0, 1].map(|lane| {
            let only = Policy::Exclusive { lane, wait: true };
            rate(&ways, only, noise, seed)
        });
        let both = rate(&ways, Policy::LoadBalance, noise, seed);
        let share = both / (alone[0] + alone[1]);
        println!(
            "{noise:?} seed {seed}: {:.0} and {:.0} alone, {:.0} Mbit/s together: {share:.3}",
            alone[0] * 8e-6,
            alone[1] * 8e-6,
            both * 8e-6
        );
        share
    };
    (1..=SEEDS).map(share).fold(f64::INFINITY, f64::min)
}

const SEEDS: u64 = 5;

#[test]
fn a_slow_cable_beside_a_fast_one_adds_its_rate_though_eight_short_messages_wait_in_queues() {
    // Next to no noise, and that of a machine with a little else to do.
    for (every, most) in [(1_000_000_000, 1), (1_000, 500)] {
        let share = shares(Noise { every, most });
        assert!(share >= 0.97, "{share:.3}");
    }
}

#[test]
fn on_a_machine_that_has_no_time_it_takes_nothing_away() {
    for (every, most) in [(2_000, 4_000), (20_000, 12_000)] {
        let share = shares(Noise { every, most });
        assert!(share >= 0.9, "{share:.3}");
    }
}
