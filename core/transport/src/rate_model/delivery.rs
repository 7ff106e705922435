//! How fast the peer receives, from what had been delivered when packets left and when they were
//! acknowledged.

use abi::time::{Duration, Instant};

use super::filter::MaxFilter;
use super::product;

/// Bytes, or time, over which a rate must hold before it is believed. A token bucket lets a burst of 64 KiB
/// and less go at the speed of the bare link: that is a quarter of it at most.
const SPAN_BYTES: u64 = 256 << 10;
const SPAN_TIME: Duration = Duration::from_millis(20);
/// Points in it that are remembered.
const POINTS: usize = 8;
const POINT_BYTES: u64 = SPAN_BYTES / POINTS as u64;
const POINT_TIME: Duration = Duration::from_micros(2_500);
/// A pause after which a span begins anew.
const PAUSE: Duration = Duration::from_millis(1);

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

/// A moment of the delivery.
#[derive(Clone, Copy, Debug)]
struct Point {
    delivered: u64,
    at: Instant,
    sent: Instant,
}

/// Moments of late, oldest first.
#[derive(Clone, Copy, Debug)]
struct Points {
    points: [Point; POINTS + 2],
    count: usize,
}

impl Points {
    const fn new(first: Point) -> Self {
        Self {
            points: [first; POINTS + 2],
            count: 1,
        }
    }

    /// One more; the one before it is kept if it is far enough from those that are.
    fn add(&mut self, point: Point) {
        let last = self.count - 1;
        let far = last == 0 || {
            let (before, last) = (self.points[last - 1], self.points[last]);
            last.delivered - before.delivered >= POINT_BYTES
                || last.at.saturating_since(before.at) >= POINT_TIME
        };
        if !far {
            self.points[last] = point;
            return;
        }
        if self.count == self.points.len() {
            self.points.rotate_left(1);
            self.count -= 1;
        }
        self.points[self.count] = point;
        self.count += 1;
    }

    /// The newest one that is so long ago that a burst does not count for much.
    fn far_from(&self, point: Point) -> Option<Point> {
        let points = self.points[..self.count].iter().rev();
        points.copied().find(|from| spans(*from, point))
    }
}

fn spans(from: Point, to: Point) -> bool {
    to.delivered - from.delivered >= SPAN_BYTES || to.at.saturating_since(from.at) >= SPAN_TIME
}

/// Rates that an acknowledgement shows, in bytes per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Of the last round: perhaps of a burst.
    pub(super) short: Option<u64>,
    /// Over a span that no burst can fill.
    pub(super) long: Option<u64>,
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
    points: Points,
}

impl Delivery {
    pub(super) const fn new(now: Instant, total: u64) -> Self {
        Self {
            total,
            at: now,
            first_sent: now,
            limited_until: 0,
            points: Points::new(Point {
                delivered: total,
                at: now,
                sent: now,
            }),
        }
    }

    /// Spans begin anew at `now`.
    const fn begin_span(&mut self, now: Instant) {
        self.points = Points::new(Point {
            delivered: self.total,
            at: now,
            sent: now,
        });
    }

    /// What was sent until now does not count for spans.
    pub(super) const fn forget_span(&mut self) {
        self.points = Points::new(Point {
            delivered: self.total,
            at: self.at,
            sent: self.first_sent,
        });
    }

    /// The mark of a packet that leaves.
    #[inline]
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, in_flight: u64) -> Mark {
        if in_flight == 0 {
            if now.saturating_since(self.at) >= PAUSE {
                self.begin_span(now);
            }
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

    /// Takes an acknowledgement. Answers what rates it shows, unless the times are too short to tell.
    pub(super) fn on_acked(
        &mut self,
        now: Instant,
        sample: &RateSample,
        min_rtt: Option<Duration>,
    ) -> Rates {
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
        let here = Point {
            delivered: self.total,
            at,
            sent: sample.sent,
        };
        let before = Point {
            delivered: mark.delivered,
            at: mark.delivered_at,
            sent: mark.first_sent,
        };
        let far = if spans(before, here) {
            Some(before)
        } else {
            self.points.far_from(here)
        };
        self.points.add(here);
        Rates {
            short: rate_between(before, here, min_rtt),
            long: far.and_then(|far| rate_between(far, here, min_rtt)),
        }
    }
}

/// Bytes over the longer of the times in which they were sent and acknowledged.
fn rate_between(from: Point, to: Point, min_rtt: Option<Duration>) -> Option<u64> {
    let sending = to.sent.saturating_since(from.sent);
    let acking = to.at.saturating_since(from.at);
    let time = sending.max(acking);
    // Acknowledged faster than the way is long: something else was measured.
    if time.is_zero() || min_rtt.is_some_and(|least| time < least) {
        return None;
    }
    let bytes = to.delivered - from.delivered;
    Some((bytes as f64 * 1e9 / time.as_nanos() as f64) as u64)
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
