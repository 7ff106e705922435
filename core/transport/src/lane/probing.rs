//! Questions whether a lane works, and how long to wait for answers.

use abi::time::{Duration, Instant};

use super::Lane;
use crate::config::Config;
use crate::summary::{LaneReason, LaneState};

/// Longest time between questions on a lane that does not answer: at first, and after a while.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
const PROBE_INTERVAL_LATER: Duration = Duration::from_millis(400);
/// Longest time between probe timeouts.
pub(super) const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// A timer that fires so much too late tells of a stall of this end; what is due then waits for a moment, but not
/// for ever.
const STALLED: Duration = Duration::from_millis(5);
const EXCUSE: Duration = Duration::from_millis(1);
const EXCUSES_MAX: u8 = 2;
/// Largest floor of the probe timeout, and the time in which it falls by a tenth.
const FLOOR_MAX: Duration = Duration::from_millis(20);
const FLOOR_DECAY: Duration = Duration::from_secs(1);

/// Least probe timeout: grows when one was too short, and falls slowly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    least: Duration,
    value: Duration,
    at: Instant,
}

impl Floor {
    pub(super) const fn new(now: Instant, least: Duration) -> Self {
        Self {
            least,
            value: least,
            at: now,
        }
    }

    pub(super) const fn get(&self) -> Duration {
        self.value
    }

    fn raise(&mut self, now: Instant) {
        self.value = (self.value * 3 / 2).min(FLOOR_MAX.max(self.least));
        self.at = now;
    }

    fn decay(&mut self, now: Instant) {
        if self.value > self.least && now.saturating_since(self.at) >= FLOOR_DECAY {
            self.value = (self.value * 9 / 10).max(self.least);
            self.at = now;
        }
    }
}

impl Lane {
    /// Packets that had been given up have arrived after all: the probe timeout was too short.
    pub(crate) fn note_late(&mut self, now: Instant) {
        self.floor.raise(now);
    }

    /// Something was acknowledged.
    pub(crate) fn note_acked(&mut self, now: Instant) {
        self.pto_count = 0;
        self.acked_at = Some(now);
        self.floor.decay(now);
    }

    /// Whether the peer was heard over the lane until just now, after the newest packet had left: what is
    /// missing may wait in a queue with what the peer sends.
    pub(crate) fn is_heard(&self, now: Instant, config: &Config) -> bool {
        let late = self.probe_timeout(config) / 2;
        self.heard_at > Some(self.flight.last_eliciting()) && self.was_heard(now, late)
    }

    /// Whether something that was due then is better judged a moment later: this end itself has had no time, and
    /// the answer may be here, not taken in yet.
    pub(crate) fn excuses(&mut self, now: Instant, due: Instant) -> bool {
        let stalled = now.saturating_since(due) > STALLED && self.excuses < EXCUSES_MAX;
        if stalled {
            self.excuses += 1;
            self.excused_until = Some(now + EXCUSE);
        } else {
            self.excuses = 0;
        }
        stalled
    }

    /// Whether a packet of the peer came within `time`.
    pub(crate) fn was_heard(&self, now: Instant, time: Duration) -> bool {
        self.heard_at.is_some_and(|at| at + time >= now)
    }

    /// Whether questions go on until the lane answers.
    pub(crate) fn is_asked(&self) -> bool {
        match self.state {
            LaneState::Active => false,
            LaneState::Suspect => true,
            LaneState::Down => self.why == LaneReason::Unanswered,
        }
    }

    /// The lane does not answer, or its peer may have moved: it is asked at once, along with what may go only here.
    pub(crate) fn start_probing(&mut self, now: Instant, config: &Config) {
        self.pings = 0;
        self.plan_probe(now, config);
    }

    /// A question leaves as soon as the driver takes it, and the next one is planned. Answers how
    /// many were asked in vain.
    pub(crate) fn plan_probe(&mut self, now: Instant, config: &Config) -> u32 {
        self.ping_now = true;
        match self.state {
            LaneState::Active => {}
            LaneState::Suspect => self.probes = 2,
            LaneState::Down => self.probes = 0,
        }
        let unanswered = self.pings;
        self.pings = self.pings.saturating_add(1);
        let wait = self.probe_timeout(config) * (1 << unanswered.min(10));
        let patient = now.saturating_since(self.since) > PROBE_PATIENCE;
        let most = if patient {
            PROBE_INTERVAL_LATER
        } else {
            PROBE_INTERVAL
        };
        self.ping_at = Some(now + wait.min(most));
        unanswered
    }

    /// The lane works again: estimates stay, the window starts anew.
    pub(crate) fn revive(&mut self, now: Instant) {
        self.control.on_restart(now);
        self.pto_count = 0;
        self.probes = 0;
        if !self.place.is_doubted() {
            self.pings = 0;
            self.ping_at = None;
        }
        self.tell_peer = false;
    }
}
