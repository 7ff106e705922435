//! What programs say went over one way.

use core::time::Duration;

use abi::Instant;
use abi::system::LaneTraffic;

/// A rate that nobody has reported for so long may have changed.
const RATE_LIFE: Duration = Duration::from_secs(30);

/// Who has sent less since the last report has not filled the lane, and knows nothing about its rate.
const MEASURED: u64 = 256 * 1024;

/// No lane carries more bytes per second, whoever claims it: sums and doubles of rates stay far from overflowing.
pub(crate) const RATE_MAX: u64 = 1 << 40;

/// Sums, and the best rate reported lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) switches: u32,
    rate: Option<(Instant, u64)>,
}

impl Traffic {
    pub(crate) fn add(&mut self, now: Instant, more: &LaneTraffic) {
        self.sent = self.sent.saturating_add(more.bytes_sent);
        self.received = self.received.saturating_add(more.bytes_received);
        self.switches = self.switches.saturating_add(more.switches);
        let (at, known) = self.rate.unwrap_or((now, 0));
        let old = now.saturating_since(at) >= RATE_LIFE / 3;
        let rate = more.rate.min(RATE_MAX);
        if rate > 0 && more.bytes_sent >= MEASURED && (old || rate >= known) {
            self.rate = Some((now, rate));
        }
    }

    /// The rate that programs have seen lately, or else what the interfaces claim.
    pub(crate) fn rate(&self, now: Instant, claimed: Option<u64>) -> Option<u64> {
        let reported = self
            .rate
            .filter(|(at, _)| now.saturating_since(*at) < RATE_LIFE);
        let claimed = claimed.map(|rate| rate.min(RATE_MAX));
        reported.map(|(_, rate)| rate).or(claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::{LinkAddress, Nd};

    fn report(bytes_sent: u64, rate: u64) -> LaneTraffic {
        LaneTraffic {
            node: Nd(1),
            link: 0,
            peer: LinkAddress::NONE,
            bytes_sent,
            bytes_received: 0,
            rate,
            switches: 0,
            suspect: false,
        }
    }

    #[test]
    fn small_talk_does_not_hide_what_bulk_has_measured() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let claimed = Some(1_000);
        let mut traffic = Traffic::default();
        traffic.add(at(1), &report(500, 7));
        assert_eq!(traffic.rate(at(1), claimed), claimed);
        traffic.add(at(2), &report(1 << 20, 900));
        traffic.add(at(3), &report(500, 7));
        traffic.add(at(3), &report(1 << 20, 300));
        assert_eq!(traffic.rate(at(3), claimed), Some(900));
        traffic.add(at(13), &report(1 << 20, 300));
        assert_eq!(
            traffic.rate(at(13), claimed),
            Some(300),
            "slower for ten seconds"
        );
        assert_eq!(
            traffic.rate(at(50), claimed),
            claimed,
            "nobody has said anything lately"
        );
        assert_eq!(traffic.sent, 3 * (1 << 20) + 1000);
    }

    #[test]
    fn nobody_claims_a_rate_that_cannot_be_doubled() {
        let now = Instant::from_nanos(1_000_000_000);
        let mut traffic = Traffic::default();
        assert_eq!(traffic.rate(now, Some(u64::MAX)), Some(RATE_MAX));
        traffic.add(now, &report(1 << 20, u64::MAX));
        assert_eq!(traffic.rate(now, None), Some(RATE_MAX));
    }
}
