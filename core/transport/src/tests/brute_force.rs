//! The scheduler against all ways to spread a message over lanes.

use alloc::vec::Vec;

use proptest::prelude::*;

use crate::schedule::{Outlook, share, waterfill};

const PACKET: f64 = 1_472.0;

fn any_lanes() -> impl Strategy<Value = Vec<Outlook>> {
    let lane = (0_u32..10_000_000, 1_u32..1_250).prop_map(|(start, rate)| Outlook {
        start: f64::from(start),
        rate: f64::from(rate) / 1_000.0,
    });
    prop::collection::vec(lane, 1..=4)
}

/// The soonest end of `packets` over all ways to spread them.
fn best(lanes: &[Outlook], packets: u32) -> f64 {
    let Some((lane, rest)) = lanes.split_first() else {
        return if packets == 0 { 0.0 } else { f64::INFINITY };
    };
    let ends = (0..=packets).map(|count| {
        let own = if count == 0 {
            0.0
        } else {
            lane.start + f64::from(count) * PACKET / lane.rate
        };
        own.max(best(rest, packets - count))
    });
    ends.fold(f64::INFINITY, f64::min)
}

/// The end of `packets` if each takes the lane that the scheduler gives it.
fn scheduled(lanes: &[Outlook], packets: u32) -> f64 {
    let mut lanes = lanes.to_vec();
    let mut end = 0.0_f64;
    for left in (1..=packets).rev() {
        let bytes = f64::from(left) * PACKET;
        let arrival = |lane: &Outlook| lane.start + PACKET / lane.rate;
        let own = (0..lanes.len())
            .filter(|&own| share(&lanes, own, bytes, PACKET) > 0.0)
            .min_by(|&a, &b| arrival(&lanes[a]).total_cmp(&arrival(&lanes[b])))
            .expect("some lane takes it");
        lanes[own].start = arrival(&lanes[own]);
        end = end.max(lanes[own].start);
    }
    end
}

proptest! {
    #[test]
    fn no_way_to_spread_a_message_ends_sooner(lanes in any_lanes(), packets in 1_u32..8) {
        let (found, best) = (scheduled(&lanes, packets), best(&lanes, packets));
        prop_assert!(found <= best * 1.000_001, "{found} > {best}");
        let water = waterfill(&lanes, f64::from(packets) * PACKET);
        prop_assert!(water <= best * 1.000_001, "{water} > {best}");
    }

    #[test]
    fn water_stands_level_and_is_all_there(lanes in any_lanes(), bytes in 1_u32..10_000_000) {
        let bytes = f64::from(bytes);
        let end = waterfill(&lanes, bytes);
        let carried: f64 = lanes
            .iter()
            .map(|lane| (end - lane.start).max(0.0) * lane.rate)
            .sum();
        prop_assert!((carried / bytes - 1.0).abs() < 1e-6, "{carried} of {bytes}");
    }
}
