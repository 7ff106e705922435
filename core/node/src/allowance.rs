//! How often somebody may do something: a token bucket, kept as the time at which it is full again.

use abi::Instant;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// What somebody has used up of an allowance; nothing at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    full_at: u64,
}

impl Allowance {
    /// Takes one if there is one: of `burst` at once, `per_second` come back.
    pub(crate) fn take(&mut self, now: Instant, burst: u32, per_second: u32) -> bool {
        let each = SECOND / u64::from(per_second.max(1));
        let now = now.as_nanos();
        let full_at = self.full_at.max(now) + each;
        let is_allowed = full_at - now <= each * u64::from(burst);
        if is_allowed {
            self.full_at = full_at;
        }
        is_allowed
    }

    /// Nothing of it is used up.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_and_comes_back_with_time() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut allowance = Allowance::default();
        let granted =
            |allowance: &mut Allowance, at| (0..10).filter(|_| allowance.take(at, 4, 2)).count();
        assert_eq!(granted(&mut allowance, at(1000)), 4);
        assert_eq!(granted(&mut allowance, at(1400)), 0);
        assert_eq!(granted(&mut allowance, at(1500)), 1);
        assert!(!allowance.is_full(at(1600)));
        assert!(allowance.is_full(at(60_000)));
        assert_eq!(
            granted(&mut allowance, at(60_000)),
            4,
            "no more is saved up"
        );
    }
}
