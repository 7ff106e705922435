//! How much may be in flight on a lane and how fast it may go: a model of the lane's rate and
//! round-trip time, learnt from acknowledgements (the ideas of BBR; no window that halves).

mod asking;
#[cfg(test)]
mod bottleneck;
mod delivery;
mod filter;
mod pacer;
mod start;
#[cfg(test)]
mod tests;
mod window;

use abi::time::{Duration, Instant};

use self::asking::{Asking, UP_GAIN};
use self::delivery::{Delivery, Rates, Surplus};
pub(crate) use self::delivery::{Mark, RateSample};
use self::filter::MaxFilter;
use self::pacer::Pacer;
use self::start::Start;
use self::window::{HOST_TIME, INITIAL_PACKETS};

/// Most that is believed of what others tell, bytes per second: no network is faster, and products
/// with it do not overflow.
const RATE_MAX: u64 = 1 << 40;
/// Least window, in packets.
const MINIMUM_PACKETS: u64 = 4;
/// Pacing while the rate is unknown: doubles it with every round.
const STARTUP_GAIN: f64 = 2.77;
/// First windows that are doubled whatever the rate seems to be.
const EARLY_WINDOWS: u64 = 4;
/// Pacing in the rounds of the cycle: one asks for more, one drains what that has queued.
const CYCLE: [f64; 8] = [UP_GAIN, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const CYCLE_UP: u8 = 0;
const CYCLE_DOWN: u8 = 1;
const CYCLE_CRUISE: u8 = 2;
/// Rounds after which draining ends although something still waits.
const DOWN_ROUNDS: u8 = 4;
/// A packet that took so many times the least time has mostly waited in a queue.
const QUEUED: u32 = 4;
/// Share of a round that is lost when the lane is too full, and least packets to tell.
const LOSS_SHARE: f64 = 0.02;
const LOSS_PACKETS: u64 = 3;
/// Age at which the least round-trip time is measured anew, and for how long.
const MIN_RTT_AGE: Duration = Duration::from_secs(10);
const MIN_RTT_TIME: Duration = Duration::from_millis(20);
/// A lane that was not used for so long starts again, from the rate it had.
const IDLE_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The rate is unknown and doubled with each round.
    Startup,
    /// What the start has queued is let out.
    Drain,
    /// The round of [`CYCLE`].
    Cycle(u8),
    /// Next to nothing is in flight, to see the bare round-trip time.
    Bare { until: Option<Instant> },
}

/// Congestion control and pacing of one lane.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    packet: u64,
    window: u64,
    window_max: u64,
    phase: Phase,
    pacer: Pacer,
    /// Rates that held for a while: those of bursts only confirm or lower them.
    rates: MaxFilter,
    /// Rates of single rounds, bursts or not: good enough to start with.
    quick: MaxFilter,
    /// Rate believed before any was measured at full load, bytes per second.
    assumed: u64,
    /// Rate that others tell of the lane: good enough to choose lanes by, not to send at.
    told: u64,
    min_rtt: Option<Duration>,
    min_rtt_at: Instant,
    delivery: Delivery,
    sent_at: Instant,
    /// The window has held something back since it was last looked at.
    held_back: bool,
    round: Round,
    phase_rounds: u8,
    asking: Asking,
    start: Start,
    /// The start has found no more, but perhaps a burst.
    flat: bool,
    surplus: Surplus,
    /// Bound in flight that losses have shown.
    bound: Option<u64>,
    bound_before: Option<u64>,
    /// Bytes since an acknowledgement was asked for.
    asked: u64,
}

/// A round: from the sending of a packet to its acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    end: u64,
    delivered: u64,
    lost: u64,
    in_flight: u64,
    limited: bool,
}

/// Bytes that go in `time` at `rate`.
fn product(rate: u64, time: Duration) -> u64 {
    (rate as f64 * time.as_nanos() as f64 / 1e9) as u64
}

impl Controller {
    /// `rtt` and `rate` (bytes per second) are what is known from elsewhere. The rate is believed
    /// by half, being that of the links, not of the way.
    pub(crate) fn new(
        now: Instant,
        packet: u64,
        window_max: u64,
        rtt: Option<Duration>,
        rate: Option<u64>,
    ) -> Self {
        let told = rate.unwrap_or(0).min(RATE_MAX);
        let assumed = told / 2;
        let mut controller = Self {
            packet,
            window: 0,
            window_max: window_max.max(INITIAL_PACKETS * packet),
            phase: Phase::Startup,
            pacer: Pacer::new(now),
            rates: MaxFilter::default(),
            quick: MaxFilter::default(),
            assumed,
            told,
            min_rtt: rtt,
            min_rtt_at: now,
            delivery: Delivery::new(now, 0),
            sent_at: now,
            held_back: false,
            round: Round::default(),
            phase_rounds: 0,
            asking: Asking::default(),
            start: Start::default(),
            flat: false,
            surplus: Surplus::new(now),
            bound: None,
            bound_before: None,
            asked: 0,
        };
        controller.window = controller.first_window();
        controller.pace();
        controller
    }

    /// Rate of the lane in bytes per second: the measured one, else the assumed one. `None` if
    /// nothing is known.
    pub(crate) fn bandwidth(&self) -> Option<u64> {
        let rate = if self.is_cold() {
            self.measured().max(self.told)
        } else {
            self.measured()
        };
        (rate > 0).then_some(rate)
    }

    const fn measured(&self) -> u64 {
        if self.is_cold() {
            self.quick.most()
        } else {
            self.rates.most()
        }
    }

    /// Least round-trip time of late.
    pub(crate) const fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    /// Whether the rate was never measured at full load: the lane may be faster than
    /// [`Self::bandwidth`] says.
    pub(crate) const fn is_cold(&self) -> bool {
        matches!(self.phase, Phase::Startup)
    }

    /// Bytes that fill the lane without a queue: rate times least round-trip time.
    pub(crate) fn lane_holds(&self) -> u64 {
        product(
            self.bandwidth().unwrap_or(0),
            self.min_rtt.unwrap_or_default(),
        )
    }

    /// Bytes for one batch at `now`, at most `max`; 0 until [`Self::paced_until`].
    pub(crate) fn batch(&self, now: Instant, max: u64) -> u64 {
        self.pacer.batch(now, self.packet, max)
    }

    /// When the next batch may go, after [`Self::batch`] has answered 0.
    pub(crate) const fn paced_until(&self) -> Instant {
        self.pacer.paced_until()
    }

    /// Whether the packet of `bytes` that follows `in_flight` should be acknowledged at once: the window
    /// is full after it, or half full and a quarter of it has gone unasked.
    pub(crate) fn asks_for_ack(&mut self, bytes: u64, in_flight: u64) -> bool {
        self.asked = if in_flight == 0 { 0 } else { self.asked } + bytes;
        let after = in_flight + bytes;
        let half = after >= self.window / 2 && self.asked >= self.window / 4;
        let asks = half || self.is_full(after);
        if asks {
            self.asked = 0;
        }
        asks
    }

    /// A packet leaves that the peer will acknowledge; `in_flight` is what was outstanding before.
    #[inline]
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: u64, in_flight: u64) -> Mark {
        if in_flight == 0 && now.saturating_since(self.sent_at) > IDLE_MAX {
            self.on_restart(now);
        }
        self.sent_at = now;
        self.pacer.on_sent(now, bytes);
        self.round.in_flight = self.round.in_flight.max(in_flight + bytes);
        self.delivery.on_sent(now, bytes, in_flight)
    }

    /// There is nothing to send on the lane although window and pacing allow it.
    pub(crate) const fn on_starved(&mut self, in_flight: u64) {
        self.delivery.on_starved(in_flight);
    }

    /// Something has arrived.
    pub(crate) fn on_acked(&mut self, now: Instant, sample: &RateSample) {
        self.take_rtt(now, sample);
        let limited = sample.mark.limited && !self.has_queued(now, sample);
        if self.is_cold() && self.round.limited && !limited {
            self.delivery.forget_span();
        }
        let rates = self.delivery.on_acked(now, sample, self.min_rtt);
        let round_over = sample.mark.delivered >= self.round.end;
        if round_over {
            self.rates.advance(!self.round.limited);
            self.quick.advance(!self.round.limited);
            self.surplus.advance();
        }
        self.round.limited = limited;
        self.take_rates(rates, limited);
        let rate = self.measured();
        self.surplus.take(now, sample.bytes, rate, self.window);
        if round_over {
            self.on_round(now);
        }
        self.step(now, sample);
        self.set_window(sample);
        self.pace();
    }

    /// Whether the newest packet has mostly waited behind others: then the lane has set the rate, even if the sender
    /// has nothing more to send.
    fn has_queued(&self, now: Instant, sample: &RateSample) -> bool {
        let Some(least) = self.min_rtt else {
            return false;
        };
        let took = now.saturating_since(sample.sent + sample.held);
        sample.in_flight >= INITIAL_PACKETS * self.packet && took >= (least + HOST_TIME) * QUEUED
    }

    /// While the sender has too little to send, only rates above the known one tell something.
    fn take_rates(&mut self, rates: Rates, limited: bool) {
        let counts = |rate: u64, known: u64| !limited || rate > known;
        if let Some(rate) = rates.short {
            if counts(rate, self.quick.most()) {
                self.quick.take(rate);
            }
            if !limited {
                // One that is a quarter above what held is what asking for more shows.
                let long = rates.long.unwrap_or(0);
                self.rates
                    .take(rate.min(self.rates.most().max(long + long / 4)));
            }
        }
        if let Some(rate) = rates.long
            && counts(rate, self.rates.most())
            && !(limited && self.is_cold())
        {
            self.rates.take(rate);
        }
    }

    fn take_rtt(&mut self, now: Instant, sample: &RateSample) {
        let Some(rtt) = sample.rtt else {
            return;
        };
        let stale = now.saturating_since(self.min_rtt_at) > MIN_RTT_AGE;
        if self.min_rtt.is_none_or(|least| rtt <= least) {
            self.min_rtt = Some(rtt);
            self.min_rtt_at = now;
        } else if stale {
            // Little in flight shows the bare time by itself.
            let little = sample.in_flight <= MINIMUM_PACKETS * self.packet;
            if little {
                self.min_rtt = Some(rtt);
                self.min_rtt_at = now;
            } else if matches!(self.phase, Phase::Cycle(_)) {
                self.phase = Phase::Bare { until: None };
            }
        }
    }

    /// A round is over.
    fn on_round(&mut self, now: Instant) {
        let round = self.round;
        self.round = Round {
            end: self.delivery.total,
            delivered: self.delivery.total,
            limited: round.limited,
            ..Round::default()
        };
        let total = self.delivery.total - round.delivered + round.lost;
        let lost = round.lost as f64 / total.max(1) as f64;
        let lossy = round.lost >= LOSS_PACKETS * self.packet && lost > LOSS_SHARE;
        let phase = self.phase;
        let asks = phase == Phase::Cycle(CYCLE_UP);
        self.asking.on_round(lost, asks);
        if phase == Phase::Startup {
            let lost = if lossy { lost } else { 0.0 };
            let flat = self.start.on_round(self.quick.most(), round.limited, lost);
            // A burst may have been all that there was.
            if flat {
                self.flat = true;
                self.assumed = 0;
            }
            if flat && self.rates.most() > 0 {
                // Where packets are lost the queue is short, and soon empty.
                self.phase = if lossy {
                    Phase::Cycle(CYCLE_DOWN)
                } else {
                    Phase::Drain
                };
            }
        }
        if lossy {
            self.tighten(round.in_flight);
        } else {
            self.loosen();
        }
        if let Phase::Cycle(at) = phase {
            self.phase_rounds = self.phase_rounds.saturating_add(1);
            if at != CYCLE_DOWN {
                self.phase = Phase::Cycle((at + 1) % CYCLE.len() as u8);
                self.phase_rounds = 0;
            } else if self.phase_rounds >= DOWN_ROUNDS {
                self.cruise(now);
            }
        }
    }

    fn step(&mut self, now: Instant, sample: &RateSample) {
        let in_flight = sample.in_flight.saturating_sub(sample.bytes);
        match self.phase {
            Phase::Drain | Phase::Cycle(CYCLE_DOWN) if in_flight <= self.drained() => {
                self.cruise(now);
            }
            Phase::Bare { until: None } if in_flight <= MINIMUM_PACKETS * self.packet => {
                let time = MIN_RTT_TIME.max(self.min_rtt.unwrap_or_default());
                self.phase = Phase::Bare {
                    until: Some(now + time),
                };
                self.min_rtt = None;
            }
            Phase::Bare { until: Some(until) } if until <= now => {
                self.min_rtt_at = now;
                self.cruise(now);
            }
            _ => {}
        }
    }

    /// Some rounds at the rate. How many differs, lest flows that share the lane ask for more in step.
    fn cruise(&mut self, now: Instant) {
        let mixed = (now.as_nanos() ^ self.delivery.total).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.phase = Phase::Cycle(CYCLE_CRUISE + (mixed >> 62) as u8);
    }

    fn is_early(&self) -> bool {
        self.delivery.total < EARLY_WINDOWS * self.first_window()
    }

    fn pace(&mut self) {
        let gain = match self.phase {
            Phase::Startup if self.flat => 1.0,
            Phase::Startup => STARTUP_GAIN,
            Phase::Drain => 1.0 / STARTUP_GAIN,
            Phase::Cycle(CYCLE_UP) => self.asking.gain,
            Phase::Cycle(at) => CYCLE[usize::from(at)],
            Phase::Bare { .. } => 1.0,
        };
        let measured = (self.measured() as f64 * gain) as u64;
        let rate = if self.is_cold() {
            // What little was sent at first says nothing of the lane: the window goes in a round.
            let window = if self.is_early() {
                self.window
            } else if measured == 0 {
                self.first_window()
            } else {
                0
            };
            let nanos = self.min_rtt.unwrap_or(Duration::MAX).as_nanos().max(1);
            let first = (window as f64 * STARTUP_GAIN * 1e9 / nanos as f64) as u64;
            measured.max(self.assumed).max(first)
        } else {
            measured
        };
        self.pacer.set_rate(rate);
    }

    /// `bytes` count as lost.
    pub(crate) fn on_lost(&mut self, bytes: u64) {
        self.round.lost += bytes;
    }

    /// `packets` that counted as lost have arrived.
    pub(crate) fn on_late(&mut self, packets: u64) {
        let bytes = packets * self.packet;
        self.round.lost = self.round.lost.saturating_sub(bytes);
        self.bound = self.bound_before;
    }

    /// Nothing comes through: as little as possible until something does.
    pub(crate) fn on_collapse(&mut self) {
        self.window = MINIMUM_PACKETS * self.packet;
    }

    /// The lane works again after it did not: start anew, from the rate it had.
    pub(crate) fn on_restart(&mut self, now: Instant) {
        let known = self.bandwidth().unwrap_or(0);
        let mut fresh = Self::new(now, self.packet, self.window_max, self.min_rtt, None);
        fresh.assumed = known;
        fresh.told = known;
        if !self.is_cold() {
            // A burst after the pause must not seem to be a faster lane.
            fresh.rates.take(known);
            fresh.phase = Phase::Cycle(CYCLE_CRUISE);
        }
        fresh.window = fresh.first_window();
        fresh.delivery = Delivery::new(now, self.delivery.total);
        fresh.round.delivered = self.delivery.total;
        fresh.round.end = self.delivery.total;
        fresh.pace();
        *self = fresh;
    }

    pub(crate) fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
    }
}
