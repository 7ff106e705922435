//! How much may be in flight on a lane and how fast it may go: CUBIC (RFC 9438) with pacing.

use abi::time::{Duration, Instant};

use crate::recovery::Rtt;

/// Window of a lane of which nothing is known, in packets.
const INITIAL_PACKETS: u64 = 32;
/// Least window, in packets.
const MINIMUM_PACKETS: u64 = 4;
/// Share of the window that is kept after a loss.
const BETA: f64 = 0.7;
/// Growth of CUBIC in packets per second cubed.
const CUBE: f64 = 0.4;
/// A batch lasts about this long at the pacing rate, so that others do not wait long behind it.
const BATCH_TIME: Duration = Duration::from_micros(200);
/// Bytes a late sender may catch up at once; a shell's timers are about this late.
const BURST_TIME: Duration = Duration::from_millis(1);
const BURST_MIN: u64 = 128 << 10;
const BURST_MAX: u64 = 2 << 20;

/// Congestion control and pacing of one lane.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    packet: u64,
    window: u64,
    window_max: u64,
    slow_start_until: u64,
    recovery_start: Option<Instant>,
    epoch: Option<Epoch>,
    before_cut: f64,
    limited: bool,
    // Pacing: bytes that may go now, and when that was true.
    tokens: u64,
    tokens_at: Instant,
}

/// A stretch of growth between two losses.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    // Seconds from the start until the window of the last loss is reached again.
    plateau: f64,
}

impl Controller {
    pub(crate) fn new(now: Instant, packet: u64, window_max: u64) -> Self {
        Self {
            packet,
            window: INITIAL_PACKETS * packet,
            window_max: window_max.max(INITIAL_PACKETS * packet),
            slow_start_until: u64::MAX,
            recovery_start: None,
            epoch: None,
            before_cut: 0.0,
            limited: false,
            tokens: BURST_MIN,
            tokens_at: now,
        }
    }

    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// Bytes that may still be sent with `in_flight` outstanding. Zero counts as being held back,
    /// without which the window does not grow.
    pub(crate) fn room(&mut self, in_flight: u64) -> u64 {
        let room = self.window.saturating_sub(in_flight);
        if room < self.packet {
            self.limited = true;
            0
        } else {
            room
        }
    }

    pub(crate) const fn is_full(&self, in_flight: u64) -> bool {
        self.window.saturating_sub(in_flight) < self.packet
    }

    /// Bytes per second, or `None` while the round-trip time is unknown.
    pub(crate) fn rate(&self, rtt: &Rtt) -> Option<u64> {
        let nanos = rtt.smoothed()?.as_nanos().max(1_000) as u64;
        let gain = if self.window < self.slow_start_until {
            2.0
        } else {
            1.25
        };
        Some((self.window as f64 * gain * 1e9 / nanos as f64) as u64)
    }

    fn burst(rate: u64) -> u64 {
        (rate as f64 * BURST_TIME.as_nanos() as f64 / 1e9).clamp(BURST_MIN as f64, BURST_MAX as f64)
            as u64
    }

    /// Bytes for one batch at `now`; 0 until [`Self::paced_until`].
    pub(crate) fn batch(&mut self, now: Instant, rtt: &Rtt, max: u64) -> u64 {
        let Some(rate) = self.rate(rtt) else {
            return max;
        };
        let passed = now.saturating_since(self.tokens_at).as_nanos() as f64 / 1e9;
        let earned = (passed * rate as f64) as u64;
        self.tokens = self.tokens.saturating_add(earned).min(Self::burst(rate));
        self.tokens_at = now;
        if self.tokens < self.packet {
            return 0;
        }
        let batch = (rate as f64 * BATCH_TIME.as_nanos() as f64 / 1e9) as u64;
        batch.clamp(self.packet, max.max(self.packet))
    }

    /// When the next packet may go, after [`Self::batch`] has answered 0.
    pub(crate) fn paced_until(&self, rtt: &Rtt) -> Instant {
        let Some(rate) = self.rate(rtt) else {
            return self.tokens_at;
        };
        // A little more than one packet, so that timers are worth their cost.
        let wanted = (4 * self.packet).saturating_sub(self.tokens);
        self.tokens_at + Duration::from_nanos((wanted as f64 * 1e9 / rate as f64) as u64 + 1)
    }

    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// `bytes` sent at `sent` were acknowledged; `in_flight` is what was outstanding before.
    pub(crate) fn on_acked(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        in_flight: u64,
        rtt: &Rtt,
    ) {
        let used = self.limited || in_flight * 2 >= self.window;
        if self.recovery_start.is_some_and(|start| sent <= start) || !used {
            return;
        }
        self.limited = false;
        if self.window < self.slow_start_until {
            self.window += bytes;
            // Queues build before they overflow: a round trip that has grown by half ends the start.
            if rtt.has_grown() {
                self.slow_start_until = self.window;
                self.before_cut = self.window as f64;
            }
        } else {
            self.grow_cubic(now, bytes, rtt);
        }
        self.window = self.window.min(self.window_max);
    }

    fn grow_cubic(&mut self, now: Instant, bytes: u64, rtt: &Rtt) {
        let packet = self.packet as f64;
        let window = self.window as f64;
        let plateau_window = self.before_cut.max(window);
        let epoch = *self.epoch.get_or_insert_with(|| Epoch {
            start: now,
            plateau: cube_root((plateau_window - window) / packet / CUBE),
        });
        let ahead = rtt.smoothed().unwrap_or_default();
        let seconds = (now.saturating_since(epoch.start) + ahead).as_nanos() as f64 / 1e9;
        let offset = seconds - epoch.plateau;
        let target = CUBE * offset * offset * offset * packet + self.before_cut.max(window * BETA);
        let share = bytes as f64 / window;
        let cubic = ((target - window) * share).clamp(0.0, bytes as f64 / 2.0);
        // As fast as Reno with this beta: on short round trips the cube is far too slow.
        let reno = 0.53 * packet * share;
        self.window += cubic.max(reno) as u64;
    }

    /// Something sent at `sent` was lost: one cut per round trip.
    pub(crate) fn on_lost(&mut self, now: Instant, sent: Instant) {
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return;
        }
        self.recovery_start = Some(now);
        let window = self.window as f64;
        // A loss below the last plateau means that somebody else has come: leave room at once.
        self.before_cut = if window < self.before_cut {
            window * (1.0 + BETA) / 2.0
        } else {
            window
        };
        self.window = ((window * BETA) as u64).max(MINIMUM_PACKETS * self.packet);
        self.slow_start_until = self.window;
        self.epoch = None;
    }

    /// Nothing comes through: start again from little.
    pub(crate) fn on_collapse(&mut self) {
        self.slow_start_until = (self.window / 2).max(MINIMUM_PACKETS * self.packet);
        self.window = MINIMUM_PACKETS * self.packet;
        self.epoch = None;
    }

    /// The lane works again after it did not.
    pub(crate) fn on_restart(&mut self) {
        self.window = self.window.max(INITIAL_PACKETS * self.packet);
    }

    pub(crate) fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
    }
}

/// The cube root by Newton's method; `core` has none. Exact to a millionth, which is plenty.
fn cube_root(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let mut root = if x > 1.0 { x / 2.0 } else { 1.0 };
    for _ in 0..64 {
        let next = (2.0 * root + x / (root * root)) / 3.0;
        if (next - root).abs() < root * 1e-6 {
            return next;
        }
        root = next;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn rtt(micros: u64) -> Rtt {
        let mut rtt = Rtt::new(None);
        rtt.sample(Duration::from_micros(micros), Duration::ZERO);
        rtt
    }

    #[test]
    fn cube_roots_are_right() {
        for x in [0.001, 0.5, 1.0, 27.0, 1e6, 1e12] {
            let root = cube_root(x);
            assert!((root * root * root / x - 1.0).abs() < 1e-4, "{x}: {root}");
        }
    }

    #[test]
    fn the_window_doubles_until_a_loss_and_is_cut_once_per_round_trip() {
        let mut c = Controller::new(at(0), 1000, 8 << 20);
        let full = c.window();
        assert_eq!(c.room(full), 0);
        c.on_acked(at(1), at(0), full, full, &rtt(1000));
        assert_eq!(c.window(), 2 * full);
        c.on_lost(at(2), at(1));
        let cut = c.window();
        assert_eq!(cut, 2 * full * 7 / 10);
        c.on_lost(at(3), at(1));
        assert_eq!(c.window(), cut, "the same round trip");
        c.on_lost(at(4), at(3));
        assert!(c.window() < cut);
    }

    #[test]
    fn an_idle_sender_does_not_grow() {
        let mut c = Controller::new(at(0), 1000, 8 << 20);
        let before = c.window();
        c.on_acked(at(1), at(0), 1000, 1000, &rtt(1000));
        assert_eq!(c.window(), before);
    }

    #[test]
    fn the_window_never_leaves_its_bounds() {
        let mut c = Controller::new(at(0), 1000, 100_000);
        for i in 0..1000 {
            let window = c.window();
            c.on_acked(at(i + 1), at(i), window, window, &rtt(1000));
        }
        assert_eq!(c.window(), 100_000);
        for i in 0..100 {
            c.on_lost(at(3000 + 2 * i), at(3000 + 2 * i));
        }
        assert_eq!(c.window(), 4000);
    }

    #[test]
    fn pacing_gives_the_rate() {
        let mut c = Controller::new(at(0), 1000, 8 << 20);
        let rtt = rtt(10_000);
        let rate = c.rate(&rtt).unwrap();
        let mut sent = 0;
        for micros in 0..100_000 {
            if c.batch(Instant::from_nanos(micros * 1000), &rtt, 64_000) > 0 {
                c.on_sent(1000);
                sent += 1000;
            }
        }
        let expected = rate / 10;
        assert!(sent >= expected * 9 / 10 && sent <= expected * 11 / 10 + BURST_MIN);
    }
}
