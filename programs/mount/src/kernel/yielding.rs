//! Whether to give the CPU away and look again before sleeping.

use std::time::{Duration, Instant};

/// Learns whether it pays: kept up while something is found, and tried ever more rarely when not.
#[derive(Debug, Default)]
pub(super) struct Yielding {
    /// Waits to go without trying.
    skip: u32,
    /// Waits skipped after the last failure.
    penalty: u32,
    until: Option<Instant>,
}

impl Yielding {
    /// Whether the last tries make another one worth while.
    pub(super) fn is_worth_it(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    pub(super) fn begin(&mut self) {
        self.until = Instant::now().checked_add(LOOK_MAX);
    }

    /// Whether there is time left; the try has failed if not.
    pub(super) fn goes_on(&mut self) -> bool {
        if self.until.is_some_and(|until| Instant::now() < until) {
            return true;
        }
        self.penalty = (self.penalty * 2).clamp(1, PENALTY_MAX);
        self.skip = self.penalty;
        false
    }

    pub(super) fn found(&mut self) {
        self.penalty = 0;
    }
}

/// Longest look: about what waking a halted CPU costs twice.
const LOOK_MAX: Duration = Duration::from_micros(50);
/// Waits between two tries where looking never pays: 50 us in 256 waits is little.
const PENALTY_MAX: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_that_never_pays_is_tried_ever_more_rarely_and_success_counts_at_once() {
        let mut yielding = Yielding::default();
        let mut tries = 0;
        for _ in 0..10_000 {
            if yielding.is_worth_it() {
                tries += 1;
                yielding.until = None;
                assert!(!yielding.goes_on());
            }
        }
        assert!((8..60).contains(&tries), "{tries} tries");
        while !yielding.is_worth_it() {}
        yielding.begin();
        yielding.found();
        assert!(yielding.is_worth_it());
    }
}
