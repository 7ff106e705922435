//! How long a lane takes to answer.

use abi::time::Duration;

use crate::config::ACK_HOLD_LONG;

/// Finest time by which a packet may be late.
const GRANULARITY: Duration = Duration::from_micros(100);
/// Round-trip time assumed of a lane of which nothing is known.
const RTT_GUESS: Duration = Duration::from_millis(10);

/// Round-trip time of a lane.
#[derive(Clone, Debug)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    least: Duration,
    latest: Duration,
    tardiness: Tardiness,
}

/// How much longer than it should a peer without time holds answers back. What that adds says nothing of the
/// way, but who takes such answers for lost finds the lane broken again and again.
#[derive(Clone, Copy, Debug)]
struct Tardiness {
    smoothed: Duration,
    variation: Duration,
}

impl Tardiness {
    const NONE: Self = Self {
        smoothed: Duration::ZERO,
        variation: Duration::ZERO,
    };

    fn sample(&mut self, excess: Duration) {
        let distance = self.smoothed.abs_diff(excess);
        // A few prompt answers in a row do not mean that the next one will be.
        let weight = if distance > self.variation { 3 } else { 31 };
        self.variation = (self.variation * weight + distance) / (weight + 1);
        self.smoothed = (self.smoothed * 7 + excess) / 8;
    }
}

impl Rtt {
    pub(crate) const fn new(known: Option<Duration>) -> Self {
        let guess = match known {
            Some(rtt) => rtt,
            None => RTT_GUESS,
        };
        Self {
            smoothed: known,
            variation: Duration::from_nanos(guess.as_nanos() as u64 / 2),
            least: guess,
            latest: guess,
            tardiness: Tardiness::NONE,
        }
    }

    pub(crate) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Takes a measured time, of which the peer says it has held the answer back for `held`.
    /// Answers the time of the way alone.
    pub(crate) fn sample(&mut self, measured: Duration, held: Duration) -> Duration {
        let Some(smoothed) = self.smoothed else {
            let rtt = measured.saturating_sub(held);
            *self = Self {
                smoothed: Some(rtt),
                variation: rtt / 2,
                least: rtt,
                latest: rtt,
                tardiness: Tardiness::NONE,
            };
            return rtt;
        };
        self.least = self.least.min(measured);
        // A peer's word may not make a round trip shorter than any seen.
        let rtt = if measured >= self.least + held {
            measured - held
        } else {
            measured
        };
        self.latest = rtt;
        let excess = (measured - rtt).saturating_sub(ACK_HOLD_LONG);
        self.tardiness.sample(excess);
        let distance = smoothed.abs_diff(rtt);
        self.variation = (self.variation * 3 + distance) / 4;
        self.smoothed = Some((smoothed * 7 + rtt) / 8);
        rtt
    }

    /// How long to wait for an answer before asking again.
    pub(crate) fn probe_timeout(&self) -> Duration {
        let smoothed = self.smoothed.unwrap_or(self.latest);
        let way = smoothed + (self.variation * 4).max(Duration::from_micros(500));
        way + ACK_HOLD_LONG + self.tardiness.smoothed + self.tardiness.variation * 4
    }

    pub(crate) const fn variation(&self) -> Duration {
        self.variation
    }

    pub(super) const fn least(&self) -> Duration {
        self.least
    }

    pub(super) fn loss_delay(&self) -> Duration {
        let rtt = self.smoothed.unwrap_or(self.latest).max(self.latest);
        (rtt * 9 / 8).max(GRANULARITY)
    }
}
