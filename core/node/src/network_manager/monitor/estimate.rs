//! Round-trip time and loss of one way, as its probes show them.

use core::time::Duration;

use super::probe::Tally;

/// Longer round trips are taken for the echo of something else.
const RTT_MAX: Duration = Duration::from_secs(10);
const MILLION: u32 = 1_000_000;

/// Smoothed round-trip time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    pub(crate) smoothed: Option<Duration>,
    pub(crate) least: Option<Duration>,
    varies: Duration,
}

impl RoundTrip {
    /// An echo took so long.
    pub(crate) fn sample(&mut self, took: Duration) {
        if took > RTT_MAX {
            return;
        }
        self.least = Some(self.least.map_or(took, |least| least.min(took)));
        let Some(smoothed) = self.smoothed else {
            (self.smoothed, self.varies) = (Some(took), took / 2);
            return;
        };
        self.varies = (self.varies * 3 + smoothed.abs_diff(took)) / 4;
        self.smoothed = Some((smoothed * 7 + took) / 8);
    }

    pub(crate) fn smoothed_or_zero(&self) -> Duration {
        self.smoothed.unwrap_or_default()
    }

    /// How much later than usual an answer may come.
    pub(crate) fn slack(&self) -> Duration {
        self.varies * 4
    }
}

/// Lost packets of a million, each way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    there: u32,
    here: u32,
}

impl Loss {
    pub(crate) fn count(&mut self, there: Tally, here: Tally) {
        mix(&mut self.there, there);
        mix(&mut self.here, here);
    }

    /// Both ways together.
    pub(crate) const fn both(self) -> u32 {
        let passes = (MILLION - self.there) as u64 * (MILLION - self.here) as u64;
        MILLION - (passes / MILLION as u64) as u32
    }
}

/// The last 64 packets or so count.
fn mix(loss: &mut u32, tally: Tally) {
    for _ in 0..tally.came {
        *loss -= *loss / 64;
    }
    for _ in 0..tally.lost {
        *loss += (MILLION - *loss) / 64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_of_both_ways_is_that_of_a_round_trip() {
        let mut loss = Loss::default();
        for _ in 0..1000 {
            loss.count(Tally { came: 9, lost: 1 }, Tally { came: 10, lost: 0 });
        }
        assert!((80_000..120_000).contains(&loss.both()), "{}", loss.both());
        for _ in 0..1000 {
            loss.count(Tally { came: 0, lost: 10 }, Tally { came: 0, lost: 10 });
        }
        assert!((999_000..=MILLION).contains(&loss.both()));
        for _ in 0..1000 {
            loss.count(Tally { came: 1, lost: 0 }, Tally { came: 1, lost: 0 });
        }
        assert!(loss.both() < 1000);
    }

    #[test]
    fn an_impossible_round_trip_is_no_sample() {
        let mut rtt = RoundTrip::default();
        rtt.sample(Duration::from_millis(10));
        rtt.sample(Duration::from_secs(3000));
        assert_eq!(rtt.smoothed, Some(Duration::from_millis(10)));
        rtt.sample(Duration::from_millis(2));
        assert_eq!(rtt.least, Some(Duration::from_millis(2)));
        assert_eq!(rtt.smoothed, Some(Duration::from_millis(9)));
    }
}
