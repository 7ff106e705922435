//! The model over a bottleneck.

use abi::time::{Duration, Instant};

use super::bottleneck::{Link, PACKET, World};
use super::product;

/// Megabits per second in bytes.
const M: u64 = 1_000_000 / 8;

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// A link whose queue holds `quarters` of a quarter of what it carries in a round trip, and some packets.
fn link(megabits: u64, delay: u64, quarters: u64, loss_ppm: u32) -> Link {
    let (rate, delay) = (megabits * M, micros(delay));
    let holds = product(rate, delay * 2);
    Link {
        rate,
        delay,
        queue: holds * quarters / 4 + 12 * PACKET,
        loss_ppm,
    }
}

fn rounds(link: &Link, n: u32) -> Duration {
    (link.delay * 2).max(micros(400)) * n
}

#[test]
fn a_lane_is_filled_whatever_its_rate_its_delay_and_its_queue() {
    for (megabits, delay) in [
        (100, 50),
        (100, 10_000),
        (1000, 50),
        (1000, 1000),
        (10_000, 50),
        (10_000, 5_000),
    ] {
        for quarters in [1, 8] {
            let link = link(megabits, delay, quarters, 0);
            let mut world = World::new(link, &[(None, None)]);
            world.run(rounds(&link, 25));
            let share = world.share(0, rounds(&link, 25));
            assert!(share > 0.97, "{link:?}: {share}");
        }
    }
}

#[test]
fn random_loss_costs_what_is_lost_and_little_more() {
    for (megabits, delay) in [(100, 5000), (1000, 50), (1000, 500)] {
        for loss_ppm in [1000, 10_000, 50_000] {
            let link = link(megabits, delay, 4, loss_ppm);
            let mut world = World::new(link, &[(None, None)]);
            world.run(rounds(&link, 40));
            let share = world.share(0, rounds(&link, 40));
            let arrives = 1.0 - f64::from(loss_ppm) / 1e6;
            assert!(share > arrives - 0.04, "{link:?}: {share}");
        }
    }
}

#[test]
fn a_third_of_the_packets_lost_is_survived() {
    let link = link(100, 1000, 4, 330_000);
    let mut world = World::new(link, &[(None, None)]);
    world.run(rounds(&link, 100));
    let share = world.share(0, rounds(&link, 100));
    assert!(share > 0.05, "{share}");
}

#[test]
fn two_flows_share_a_lane() {
    for (megabits, delay, quarters) in [(100, 500, 16), (100, 500, 1), (200, 2000, 4)] {
        let link = link(megabits, delay, quarters, 0);
        let known = (Some(link.delay * 2), None);
        let mut world = World::new(link, &[known, known]);
        world.flows[1].start = world.now + rounds(&link, 50);
        world.run(rounds(&link, 400));
        let before = world.flows[1].arrived;
        let time = rounds(&link, 400);
        let first = world.share(0, time);
        let second = (world.flows[1].arrived - before) as f64 / product(link.rate, time) as f64;
        assert!(first > 0.3 && second > 0.3, "{link:?}: {first} {second}");
        assert!(first + second > 0.96, "{link:?}: {first} {second}");
    }
}

#[test]
fn who_came_late_and_saw_only_the_queue_learns_the_bare_time() {
    let link = link(20, 2000, 40, 0);
    let mut world = World::new(link, &[(None, None), (None, None)]);
    world.flows[1].start = world.now + Duration::from_secs(2);
    world.run(Duration::from_secs(25));
    let before = world.flows[1].arrived;
    let time = Duration::from_secs(10);
    let first = world.share(0, time);
    let second = (world.flows[1].arrived - before) as f64 / product(link.rate, time) as f64;
    assert!(first > 0.3 && second > 0.3, "{first} {second}");
}

#[test]
fn a_long_queue_is_left_almost_empty() {
    let mut link = link(1000, 500, 0, 0);
    link.queue = 16 << 20;
    let mut world = World::new(link, &[(None, None)]);
    world.run(rounds(&link, 60));
    world.queued_most = 0;
    world.run(rounds(&link, 60));
    let holds = product(link.rate, link.delay * 2);
    assert!(world.queued_most < holds / 2, "{}", world.queued_most);
}

#[test]
fn the_start_doubles_the_rate_with_every_round() {
    let link = link(1000, 2000, 4, 0);
    let mut world = World::new(link, &[(None, None)]);
    world.run(link.delay * 2 * 10);
    let share = world.share(0, link.delay * 2 * 10);
    assert!(share > 0.9, "{share}");
}

#[test]
fn a_lane_of_known_rate_and_time_is_fast_at_once() {
    let link = link(1000, 2000, 4, 0);
    let known = (Some(link.delay * 2), Some(link.rate));
    let mut world = World::new(link, &[known]);
    assert_eq!(world.flows[0].sender.control.bandwidth(), Some(link.rate));
    let share = world.share(0, link.delay * 2 * 10);
    let mut unknown = World::new(link, &[(None, None)]);
    let guessed = unknown.share(0, link.delay * 2 * 10);
    assert!(share > 0.75 && guessed < share - 0.15, "{share} {guessed}");
}

#[test]
fn a_lane_that_was_said_to_be_faster_than_it_is_loses_little() {
    let link = link(100, 500, 8, 0);
    let known = (Some(link.delay * 2), Some(100 * link.rate));
    let mut world = World::new(link, &[known]);
    world.run(rounds(&link, 30));
    let share = world.share(0, rounds(&link, 30));
    assert!(share > 0.96, "{share}");
    assert!(world.flows[0].dropped < 4000, "{}", world.flows[0].dropped);
}

#[test]
fn a_pause_does_not_make_a_lane_slow() {
    let link = link(1000, 500, 4, 0);
    let mut world = World::new(link, &[(None, None)]);
    world.run(rounds(&link, 40));
    let known = world.flows[0].sender.control.bandwidth();
    let now = world.now;
    world.flows[0].pause = Some((now, now + Duration::from_secs(3)));
    world.run(micros(2_999_999));
    assert_eq!(world.flows[0].sender.flight.bytes(), 0);
    let share = world.share(0, rounds(&link, 5));
    assert!(share > 0.7, "{share}");
    assert!(world.flows[0].sender.control.bandwidth() >= known);
}

#[test]
fn a_lane_that_becomes_slower_or_faster_is_followed() {
    let fast = link(1000, 500, 4, 0);
    let mut world = World::new(fast, &[(None, None)]);
    world.run(rounds(&fast, 30));
    world.link.rate = 100 * M;
    world.run(rounds(&fast, 300));
    let share = world.share(0, rounds(&fast, 100));
    assert!(share > 0.95, "{share}");
    let believed = world.flows[0].sender.control.bandwidth().unwrap();
    assert!(believed < 110 * M, "{believed}");
    world.link.rate = 1000 * M;
    world.run(rounds(&fast, 200));
    let share = world.share(0, rounds(&fast, 30));
    assert!(share > 0.9, "{share}");
}

#[test]
fn a_longer_way_is_noticed_by_measuring_the_bare_time_anew() {
    let short = link(20, 1000, 40, 0);
    let mut world = World::new(short, &[(None, None)]);
    world.run(Duration::from_secs(1));
    world.link.delay = micros(20_000);
    world.run(Duration::from_secs(22));
    let least = world.flows[0].sender.control.min_rtt().unwrap();
    assert!(least >= micros(40_000), "{least:?}");
    let share = world.share(0, Duration::from_secs(8));
    assert!(share > 0.95, "{share}");
}

#[test]
fn a_lane_that_carried_only_short_calls_is_not_paced_by_them() {
    let now = Instant::from_nanos(1_000_000_000);
    let mut model = super::Controller::new(now, PACKET, 8 << 20, Some(micros(100)), None);
    let mut at = now;
    for _ in 0..10 {
        let mark = model.on_sent(at, 100, 0);
        model.on_starved(100);
        let sent = at;
        at += micros(600);
        let sample = super::RateSample {
            bytes: 100,
            sent,
            mark,
            rtt: Some(micros(100)),
            held: micros(500),
            in_flight: 100,
        };
        model.on_acked(at, &sample);
        at += micros(2000);
    }
    assert!(model.is_cold());
    let mut sent = 0;
    while model.room(sent) > 0 && model.batch(at, 1 << 16) > 0 {
        model.on_sent(at, PACKET, sent);
        sent += PACKET;
    }
    assert!(sent >= 30 * PACKET, "{sent}");
}
