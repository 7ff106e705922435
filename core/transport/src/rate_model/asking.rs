//! How much more than the known rate is tried, by what trying costs.

use super::LOSS_SHARE;

/// Gain of the round that asks for more, at first and at most.
pub(super) const UP_GAIN: f64 = 1.25;
/// Least gain, where asking loses packets.
const UP_GAIN_MIN: f64 = 1.03;

/// How much more is asked for, and what it costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) gain: f64,
    /// Share that is lost in rounds that do not ask for more.
    usual: f64,
    /// The round before asked for more: what that lost shows now.
    before: bool,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            gain: UP_GAIN,
            usual: 0.0,
            before: false,
        }
    }
}

impl Asking {
    /// A round is over that lost this share.
    pub(super) fn on_round(&mut self, lost: f64, asks: bool) {
        let asked = core::mem::replace(&mut self.before, asks);
        let beyond = self.gain - 1.0;
        if !asked {
            self.usual += (lost - self.usual) / 4.0;
        } else if lost > self.usual + LOSS_SHARE {
            self.gain = (1.0 + beyond / 2.0).max(UP_GAIN_MIN);
        } else {
            self.gain = (1.0 + beyond * 1.5).min(UP_GAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_only_by_asking_makes_it_ask_for_less() {
        let mut asking = Asking::default();
        for _ in 0..4 {
            asking.on_round(0.0, true);
            asking.on_round(0.1, false);
            asking.on_round(0.0, false);
        }
        assert!(asking.gain < 1.04);
        for _ in 0..8 {
            asking.on_round(0.0, true);
            asking.on_round(0.0, false);
        }
        assert!((asking.gain - UP_GAIN).abs() < 1e-9);
    }

    #[test]
    fn what_is_lost_anyway_does_not() {
        let mut asking = Asking::default();
        for _ in 0..20 {
            asking.on_round(0.05, false);
        }
        for _ in 0..20 {
            asking.on_round(0.05, true);
            asking.on_round(0.05, false);
        }
        assert!((asking.gain - UP_GAIN).abs() < 1e-9);
    }
}
