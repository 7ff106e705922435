//! What was measured of the ways to other nodes, for the sessions that come after.

use alloc::collections::BTreeMap;

use abi::LinkAddress;
use abi::time::{Duration, Instant};

use crate::config::LaneParams;
use crate::event::LinkIndex;
use crate::lane::Lane;

/// How long a measured rate counts for something.
const FADES: Duration = Duration::from_secs(30);
/// Most ways remembered.
const WAYS_MAX: usize = 256;

/// What a lane has measured.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    /// Bytes per second.
    rate: Option<u64>,
    rtt: Option<Duration>,
    at: Instant,
}

/// Estimates per link and peer host.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    ways: BTreeMap<(LinkIndex, LinkAddress), Estimate>,
}

impl Remembered {
    /// A lane ends, or another is opened beside it, `used` being when it was used last.
    pub(super) fn learn(&mut self, used: Instant, lane: &Lane) {
        if lane.reliable || lane.rtt.smoothed().is_none() {
            return;
        }
        let key = (lane.link, lane.place.at().with_port(0));
        let known = self.ways.get(&key);
        if known.is_some_and(|known| known.at > used)
            || known.is_none() && self.ways.len() >= WAYS_MAX && !self.forget_oldest(used)
        {
            return;
        }
        let cold = lane.control.is_cold();
        let estimate = Estimate {
            rate: lane.control.bandwidth().filter(|_| !cold),
            rtt: lane.control.min_rtt(),
            at: used,
        };
        self.ways.insert(key, estimate);
    }

    /// Forgets the way that was used longest ago, if that is before `used`.
    fn forget_oldest(&mut self, used: Instant) -> bool {
        let oldest = self.ways.iter().min_by_key(|(_, way)| way.at);
        let Some(key) = oldest.filter(|(_, way)| way.at < used).map(|(key, _)| *key) else {
            return false;
        };
        self.ways.remove(&key).is_some()
    }

    /// Completes what is known of a new lane. A lane believes half of a rate it is told, which is
    /// usually that of the links; a measured one counts in full while it is fresh.
    pub(super) fn complete(&self, now: Instant, lane: &mut LaneParams) {
        let Some(way) = self.ways.get(&(lane.link, lane.peer.with_port(0))) else {
            return;
        };
        let age = now.saturating_since(way.at);
        if lane.reliable || age >= FADES {
            return;
        }
        lane.rtt = lane.rtt.or(way.rtt);
        let Some(rate) = way.rate else {
            return;
        };
        let measured = 2.0 * rate as f64;
        let told = lane.rate.map_or(measured, |told| told as f64);
        let fresh = 1.0 - age.as_nanos() as f64 / FADES.as_nanos() as f64;
        lane.rate = Some((told + (measured - told) * fresh) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn lane(rate: Option<u64>, rtt: Option<Duration>) -> LaneParams {
        let peer = LinkAddress::ipv4([10, 0, 0, 1], 4000);
        LaneParams {
            rate,
            rtt,
            ..LaneParams::new(0, LinkIndex(1), peer, 1472)
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn remembered(rate: u64) -> Remembered {
        let mut remembered = Remembered::default();
        let rtt = Some(Duration::from_micros(100));
        let lane = Lane::new(at(10), &lane(None, rtt), &Config::default());
        remembered.learn(at(10), &lane);
        for way in remembered.ways.values_mut() {
            way.rate = Some(rate);
        }
        remembered
    }

    #[test]
    fn a_fresh_measurement_counts_in_full_and_an_old_one_not_at_all() {
        let remembered = remembered(1_000_000);
        let told = |seconds, rate| {
            let mut lane = lane(rate, None);
            lane.peer = LinkAddress::ipv4([10, 0, 0, 1], 5000);
            remembered.complete(at(seconds), &mut lane);
            (lane.rate, lane.rtt.map(|rtt| rtt.as_micros()))
        };
        assert_eq!(told(10, Some(10_000_000)), (Some(2_000_000), Some(100)));
        assert_eq!(told(25, Some(10_000_000)), (Some(6_000_000), Some(100)));
        assert_eq!(told(40, Some(10_000_000)), (Some(10_000_000), None));
        assert_eq!(told(25, None), (Some(2_000_000), Some(100)));
    }

    #[test]
    fn another_host_or_link_is_another_way() {
        let remembered = remembered(1_000_000);
        let mut other = lane(None, None);
        other.peer = LinkAddress::ipv4([10, 0, 0, 2], 4000);
        remembered.complete(at(10), &mut other);
        assert_eq!(other.rate, None);
        let mut other = lane(None, None);
        other.link = LinkIndex(2);
        remembered.complete(at(10), &mut other);
        assert_eq!(other.rate, None);
    }

    #[test]
    fn the_oldest_way_makes_room() {
        let mut remembered = Remembered::default();
        let rtt = Some(Duration::from_micros(100));
        for n in 0..=WAYS_MAX {
            let mut params = lane(None, rtt);
            params.link = LinkIndex(n as u32);
            let lane = Lane::new(at(0), &params, &Config::default());
            remembered.learn(at(n as u64), &lane);
        }
        assert_eq!(remembered.ways.len(), WAYS_MAX);
        let first = remembered.ways.keys().next().map(|key| key.0);
        assert_eq!(first, Some(LinkIndex(1)));
    }
}
