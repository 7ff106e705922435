//! How fast the peer receives, from what had been delivered when packets left and when they were
//! acknowledged.

use abi::time::{Duration, Instant};

use super::filter::MaxFilter;
use super::product;

/// State of the delivery when a packet left; its acknowledgement turns that into a rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(super) delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    pub(super) limited: bool,
}

/// What an acknowledgement tells of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSample {
    /// Bytes that have newly arrived.
    pub(crate) bytes: u64,
    /// When the newest packet among them left, and its mark.
    pub(crate) sent: Instant,
    pub(crate) mark: Mark,
    /// Round-trip time, if the acknowledgement allows to tell.
    pub(crate) rtt: Option<Duration>,
    /// How long the peer says it has held it back.
    pub(crate) held: Duration,
    /// Bytes in flight before it.
    pub(crate) in_flight: u64,
}

/// What has been delivered on a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    /// Bytes.
    pub(super) total: u64,
    at: Instant,
    first_sent: Instant,
    /// Until this much is delivered the sender, not the lane, sets the rate.
    limited_until: u64,
}

impl Delivery {
    pub(super) const fn new(now: Instant, total: u64) -> Self {
        Self {
            total,
            at: now,
            first_sent: now,
            limited_until: 0,
        }
    }

    /// The mark of a packet that leaves.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, in_flight: u64) -> Mark {
        if in_flight == 0 {
            self.first_sent = now;
            self.at = now;
            // The first flight after a pause tells how much there was to send, not how fast the lane is.
            self.limited_until = self.limited_until.max(self.total + bytes);
        }
        Mark {
            delivered: self.total,
            delivered_at: self.at,
            first_sent: self.first_sent,
            limited: self.total < self.limited_until,
        }
    }

    pub(super) const fn on_starved(&mut self, in_flight: u64) {
        self.limited_until = self.total + in_flight + 1;
    }

    /// Takes an acknowledgement. Answers the rate in bytes per second, unless the times are too
    /// short to tell.
    pub(super) fn on_acked(
        &mut self,
        now: Instant,
        sample: &RateSample,
        min_rtt: Option<Duration>,
    ) -> Option<u64> {
        let mark = &sample.mark;
        // A peer that waits for company of its acknowledgement does not make the lane slow.
        let soonest = self.at.max(sample.sent + min_rtt.unwrap_or_default());
        let at = now
            .checked_sub(sample.held)
            .unwrap_or(now)
            .max(soonest)
            .min(now);
        self.total += sample.bytes;
        self.at = at;
        self.first_sent = self.first_sent.max(sample.sent);
        let sending = sample.sent.saturating_since(mark.first_sent);
        let acking = at.saturating_since(mark.delivered_at);
        let time = sending.max(acking);
        // Acknowledged faster than the way is long: something else was measured.
        if time.is_zero() || min_rtt.is_some_and(|least| time < least) {
            return None;
        }
        let bytes = self.total - mark.delivered;
        Some((bytes as f64 * 1e9 / time.as_nanos() as f64) as u64)
    }
}

/// How much more than the rate explains is acknowledged at once.
#[derive(Clone, Debug)]
pub(super) struct Surplus {
    since: Instant,
    acked: u64,
    most: MaxFilter,
}

impl Surplus {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            acked: 0,
            most: MaxFilter::default(),
        }
    }

    pub(super) fn take(&mut self, now: Instant, bytes: u64, rate: u64, window: u64) {
        let expected = product(rate, now.saturating_since(self.since));
        if self.acked <= expected {
            self.since = now;
            self.acked = bytes;
            self.most.take(bytes.min(window));
            return;
        }
        self.acked += bytes;
        self.most
            .take(self.acked.saturating_sub(expected).min(window));
    }

    pub(super) fn advance(&mut self) {
        self.most.advance(true);
    }

    pub(super) const fn most(&self) -> u64 {
        self.most.most()
    }
}
