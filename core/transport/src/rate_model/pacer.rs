//! Spreads what is sent over time, in batches that are worth a system call.

use abi::time::{Duration, Instant};

/// A batch lasts about this long, so that others do not wait long behind it.
const BATCH_TIME: Duration = Duration::from_micros(200);
/// Bytes a late sender may catch up at once; a shell's timers are about this late.
const BURST_TIME: Duration = Duration::from_millis(1);
const BURST_MIN: i64 = 32 << 10;
const BURST_MAX: i64 = 2 << 20;

/// A bucket of bytes that may go now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    /// Bytes per second; 0 while unknown, then nothing is held back.
    rate: u64,
    burst: i64,
    batch: u64,
    tokens: i64,
    tokens_at: Instant,
}

impl Pacer {
    pub(crate) const fn new(now: Instant, tokens: u64) -> Self {
        Self {
            rate: 0,
            burst: 0,
            batch: 0,
            tokens: tokens as i64,
            tokens_at: now,
        }
    }

    pub(crate) fn set_rate(&mut self, rate: Option<u64>) {
        let rate = rate.unwrap_or(0);
        if rate == self.rate {
            return;
        }
        self.rate = rate;
        self.burst = self.bytes_in(BURST_TIME).clamp(BURST_MIN, BURST_MAX);
        self.batch = self.bytes_in(BATCH_TIME) as u64;
    }

    fn bytes_in(&self, time: Duration) -> i64 {
        (self.rate as f64 * time.as_nanos() as f64 / 1e9) as i64
    }

    /// Bytes for one batch at `now`, between a packet and `max`; 0 until [`Self::paced_until`].
    pub(crate) fn batch(&mut self, now: Instant, packet: u64, max: u64) -> u64 {
        if self.rate == 0 {
            return max;
        }
        let earned = self.bytes_in(now.saturating_since(self.tokens_at));
        self.tokens = self.tokens.saturating_add(earned).min(self.burst);
        self.tokens_at = now;
        if self.tokens < packet as i64 {
            return 0;
        }
        self.batch.clamp(packet, max.max(packet))
    }

    /// When a batch is worth a timer.
    pub(crate) fn paced_until(&self, packet: u64) -> Instant {
        if self.rate == 0 {
            return self.tokens_at;
        }
        let wanted = self.batch.clamp(packet, 1 << 16) as i64 - self.tokens;
        let nanos = wanted.max(0) as f64 * 1e9 / self.rate as f64;
        self.tokens_at + Duration::from_nanos(nanos as u64 + 1)
    }

    /// More than allowed may be sent: what is urgent does not wait, what follows waits longer.
    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes as i64).max(-BURST_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pacing_gives_the_rate() {
        let mut pacer = Pacer::new(Instant::from_nanos(0), 0);
        pacer.set_rate(Some(10_000_000));
        let mut sent = 0;
        for micros in 0..100_000 {
            if pacer.batch(Instant::from_nanos(micros * 1000), 1000, 64_000) > 0 {
                pacer.on_sent(1000);
                sent += 1000;
            }
        }
        assert!((990_000..=1_001_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_is_caught_up_only_in_part() {
        let mut pacer = Pacer::new(Instant::from_nanos(0), 0);
        pacer.set_rate(Some(1_000_000_000));
        let later = Instant::from_nanos(1_000_000_000);
        let mut sent = 0;
        while pacer.batch(later, 1000, 64_000) > 0 {
            pacer.on_sent(1000);
            sent += 1000;
        }
        assert_eq!(sent, 1_000_000);
        let next = pacer.paced_until(1000).saturating_since(later);
        assert_eq!(next.as_micros(), 65, "a batch of 64 KiB is waited for");
    }

    #[test]
    fn nothing_is_held_back_while_the_rate_is_unknown() {
        let mut pacer = Pacer::new(Instant::from_nanos(0), 0);
        pacer.on_sent(1 << 20);
        assert_eq!(pacer.batch(Instant::from_nanos(0), 1000, 64_000), 64_000);
    }
}
