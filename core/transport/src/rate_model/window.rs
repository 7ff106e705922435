//! How much may be in flight on a lane.

use abi::time::Duration;

use super::{CYCLE_UP, Controller, MINIMUM_PACKETS, Phase, RateSample, STARTUP_GAIN, product};

/// Window of a lane of which nothing is known, in packets.
pub(super) const INITIAL_PACKETS: u64 = 32;
/// Window in products of rate and round-trip time, and its floor while packets are lost.
const WINDOW_GAIN: f64 = 2.0;
const LOSSY_GAIN: f64 = 1.5;
/// What the ends add to the round trip by waking late; the window allows for it.
pub(super) const HOST_TIME: Duration = Duration::from_micros(250);
/// What is kept of the bound in flight after a round that lost too much.
const LOSS_KEEP: f64 = 0.85;

impl Controller {
    pub(super) fn first_window(&self) -> u64 {
        let assumed = product(self.assumed, self.min_rtt.unwrap_or_default());
        assumed
            .saturating_mul(2)
            .clamp(INITIAL_PACKETS * self.packet, self.window_max)
    }

    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// Bytes that may still be sent with `in_flight` outstanding. Zero counts as being held back,
    /// without which the window does not grow.
    pub(crate) fn room(&mut self, in_flight: u64) -> u64 {
        if self.is_full(in_flight) {
            self.held_back = true;
            return 0;
        }
        self.window - in_flight
    }

    pub(crate) const fn is_full(&self, in_flight: u64) -> bool {
        self.window.saturating_sub(in_flight) < self.packet
    }

    pub(super) fn tighten(&mut self, in_flight: u64) {
        let least = self.scaled(LOSSY_GAIN);
        let before = self.bound.unwrap_or(self.window_max).min(in_flight);
        self.bound_before = self.bound;
        self.bound = Some(((before as f64 * LOSS_KEEP) as u64).max(least));
    }

    pub(super) fn loosen(&mut self) {
        if let Some(bound) = self.bound
            && matches!(self.phase, Phase::Cycle(CYCLE_UP) | Phase::Startup)
        {
            let wider = bound + bound / 4;
            self.bound = (wider < self.window_max).then_some(wider);
        }
    }

    /// Rate times round-trip time, `gain` times, and what the ends need.
    pub(super) fn scaled(&self, gain: f64) -> u64 {
        let products = (self.lane_holds() as f64 * gain) as u64;
        products + self.host_share() + self.surplus.most()
    }

    pub(super) fn host_share(&self) -> u64 {
        product(self.bandwidth().unwrap_or(0), HOST_TIME)
    }

    /// Bytes in flight with which no queue is left.
    pub(super) fn drained(&self) -> u64 {
        self.lane_holds() + self.host_share() / 2
    }

    pub(super) fn set_window(&mut self, sample: &RateSample) {
        let least = MINIMUM_PACKETS * self.packet;
        if matches!(self.phase, Phase::Bare { .. }) {
            self.window = least;
            return;
        }
        let used = self.held_back || sample.in_flight * 2 >= self.window;
        self.held_back = false;
        if self.phase == Phase::Startup {
            let target = self.scaled(STARTUP_GAIN).max(self.first_window());
            // The first acknowledgements of a round know a part of it: too little to hold it back.
            if used && (self.is_early() || self.window < target) {
                self.window += sample.bytes;
            }
        } else {
            let target = self.scaled(WINDOW_GAIN);
            self.window = target.min(self.window + sample.bytes);
        }
        let most = self.bound.unwrap_or(self.window_max).min(self.window_max);
        self.window = self.window.clamp(least, most.max(least));
    }
}
