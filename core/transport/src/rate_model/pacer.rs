//! Spreads what is sent over time, in batches that are worth a system call.

use abi::time::{Duration, Instant};

/// A batch lasts about this long, so that others do not wait long behind it.
const BATCH_TIME: Duration = Duration::from_micros(200);
/// What a late sender may catch up at once, in time and within these bounds in bytes; a shell's
/// timers are about this late.
const BURST_TIME: Duration = Duration::from_millis(1);
const BURST_MIN: u64 = 32 << 10;
const BURST_MAX: u64 = 2 << 20;
/// What may have been sent ahead of time.
const AHEAD_MAX: Duration = Duration::from_millis(10);

/// When the next batch is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    /// Bytes per second; 0 while unknown, then nothing is held back.
    rate: u64,
    nanos_per_byte: f64,
    burst: Duration,
    batch: u64,
    due: Instant,
}

impl Pacer {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            rate: 0,
            nanos_per_byte: 0.0,
            burst: Duration::ZERO,
            batch: 0,
            due: now,
        }
    }

    /// What is sent from here on takes its time at `rate`, bytes per second.
    pub(crate) fn set_rate(&mut self, rate: u64) {
        if rate == self.rate || rate == 0 {
            return;
        }
        self.rate = rate;
        self.nanos_per_byte = 1e9 / rate as f64;
        self.burst = BURST_TIME.clamp(
            self.time_of(BURST_MIN),
            self.time_of(BURST_MAX).max(self.time_of(BURST_MIN)),
        );
        self.batch = super::product(rate, BATCH_TIME);
    }

    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_nanos((bytes as f64 * self.nanos_per_byte) as u64)
    }

    /// Bytes for one batch at `now`, between a packet and `max`; 0 until [`Self::paced_until`].
    pub(crate) fn batch(&self, now: Instant, packet: u64, max: u64) -> u64 {
        if self.rate == 0 {
            return max;
        }
        if self.due > now {
            return 0;
        }
        self.batch.clamp(packet, max.max(packet))
    }

    /// When the next batch is due.
    pub(crate) const fn paced_until(&self) -> Instant {
        self.due
    }

    /// Something was sent. What is urgent may go ahead of time; what follows waits longer.
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if self.rate == 0 {
            return;
        }
        if now.saturating_since(self.due) > self.burst {
            self.due = now.checked_sub(self.burst).unwrap_or(now);
        }
        self.due = (self.due + self.time_of(bytes)).min(now + AHEAD_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + nanos)
    }

    #[test]
    fn pacing_gives_the_rate() {
        let mut pacer = Pacer::new(at(0));
        pacer.set_rate(10_000_000);
        let mut sent = 0;
        for micros in 0..100_000 {
            if pacer.batch(at(micros * 1000), 1000, 64_000) > 0 {
                pacer.on_sent(at(micros * 1000), 1000);
                sent += 1000;
            }
        }
        assert!((999_000..=1_001_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_wait_that_ends_is_followed_by_a_packet_at_any_rate() {
        for rate in [1, 999, 6_163_337, 124_999_999, 1_250_000_001] {
            let mut pacer = Pacer::new(at(0));
            pacer.set_rate(rate);
            let mut now = at(0);
            for _ in 0..1000 {
                now = now.max(pacer.paced_until());
                assert!(pacer.batch(now, 1472, 64_000) > 0);
                pacer.on_sent(now, 1472);
            }
        }
    }

    #[test]
    fn a_pause_is_caught_up_only_in_part() {
        let mut pacer = Pacer::new(at(0));
        pacer.set_rate(1_000_000_000);
        let later = at(1_000_000_000);
        let mut sent = 0;
        while pacer.batch(later, 1000, 64_000) > 0 {
            pacer.on_sent(later, 1000);
            sent += 1000;
        }
        assert_eq!(sent, 1_001_000);
    }

    #[test]
    fn nothing_is_held_back_while_the_rate_is_unknown() {
        let mut pacer = Pacer::new(at(0));
        pacer.on_sent(at(0), 1 << 20);
        assert_eq!(pacer.batch(at(0), 1000, 64_000), 64_000);
    }
}
