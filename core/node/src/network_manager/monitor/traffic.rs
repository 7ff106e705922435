//! What programs say went over one way.

use core::time::Duration;

use abi::Instant;
use abi::system::LaneTraffic;

/// A rate that nobody has reported for so long may have changed.
const RATE_LIFE: Duration = Duration::from_secs(30);

/// Sums, and the rate reported last.
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
        if more.rate > 0 {
            self.rate = Some((now, more.rate));
        }
    }

    /// The rate that programs have seen lately, or else what the interfaces claim.
    pub(crate) fn rate(&self, now: Instant, claimed: Option<u64>) -> Option<u64> {
        let reported = self
            .rate
            .filter(|(at, _)| now.saturating_since(*at) < RATE_LIFE);
        reported.map(|(_, rate)| rate).or(claimed)
    }
}
