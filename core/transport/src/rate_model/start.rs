//! When the rate of a lane counts as known.

use super::LOSS_SHARE;

/// Growth of the rate in a round below which the lane counts as full.
const GROWTH: f64 = 1.25;
/// Rounds without growth that end the start, and how many if they also lost packets.
const FLAT_ROUNDS: u8 = 3;
const LOSSY_ROUNDS: u8 = 2;
/// Share whose loss in one round ends the start.
const FLOOD_SHARE: f64 = 0.25;

/// Progress of the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    full_rate: u64,
    flat_rounds: u8,
    lossy_rounds: u8,
}

impl Start {
    /// A round is over that lost this share; `limited` if the sender had too little to fill it.
    /// Answers whether the rate no longer grows.
    pub(super) fn on_round(&mut self, rate: u64, limited: bool, lost: f64) -> bool {
        // A sender with little to send learns nothing from its rate, but from what it loses.
        if limited && lost <= LOSS_SHARE {
            return false;
        }
        if rate as f64 >= self.full_rate as f64 * GROWTH {
            *self = Self {
                full_rate: rate,
                ..Self::default()
            };
            return false;
        }
        let lossy = u8::from(lost > LOSS_SHARE) + u8::from(lost > FLOOD_SHARE);
        self.flat_rounds = self.flat_rounds.saturating_add(u8::from(!limited));
        self.lossy_rounds = self.lossy_rounds.saturating_add(lossy);
        self.flat_rounds >= FLAT_ROUNDS || self.lossy_rounds >= LOSSY_ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_flat_rounds_end_the_start_and_growth_does_not() {
        let mut start = Start::default();
        for round in 0..10 {
            assert!(!start.on_round(100 << round, false, 0.0));
        }
        let full = 100 << 9;
        assert!(!start.on_round(full, false, 0.0));
        assert!(!start.on_round(full, false, 0.0));
        assert!(start.on_round(full, false, 0.0));
    }

    #[test]
    fn a_start_may_stay_flat_for_as_long_as_it_likes() {
        let mut start = Start::default();
        assert!(!start.on_round(100, false, 0.0));
        let flat = (0..1000).filter(|_| start.on_round(100, false, 0.5));
        assert_eq!(flat.count(), 1000);
    }

    #[test]
    fn loss_without_growth_ends_it_sooner() {
        let mut start = Start::default();
        assert!(!start.on_round(100, false, 0.05));
        assert!(!start.on_round(100, false, 0.05));
        assert!(start.on_round(100, false, 0.05));
        let mut start = Start::default();
        assert!(!start.on_round(100, false, 0.0));
        assert!(start.on_round(100, false, 0.5));
    }

    #[test]
    fn a_sender_with_little_to_send_ends_it_only_by_loss() {
        let mut start = Start::default();
        assert!(!start.on_round(100, false, 0.0));
        for _ in 0..10 {
            assert!(!start.on_round(100, true, 0.0));
        }
        assert!(!start.on_round(100, true, 0.1));
        assert!(start.on_round(100, true, 0.1));
    }
}
