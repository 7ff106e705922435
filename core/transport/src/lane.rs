//! One lane of a session: packet numbers, round-trip time, window, and what is owed to the peer.

mod address;
mod debt;
mod probing;
mod size;

use abi::time::{Duration, Instant};

use crate::config::{Config, LaneParams, Protection};
use crate::event::LinkIndex;
use crate::queue::SMALL;
use crate::rate_model::Controller;
use crate::recovery::{InFlight, Rtt};
use crate::replay::ReplayWindow;
use crate::schedule::Outlook;
use crate::summary::{LaneReason, LaneState, LaneSummary};

use self::address::Place;
pub(crate) use self::debt::{AckDebt, Urgency};
use self::probing::{Floor, PROBE_INTERVAL_MAX};
pub(crate) use self::size::SIZE_LEAST;
use self::size::Size;

/// Round-trip time and rate assumed of a lane of which nothing is known.
const RTT_GUESS: Duration = Duration::from_millis(10);
const RATE_GUESS: u64 = 12_500_000;
/// Rate of a lane that is memory, in bytes per nanosecond.
const RATE_MEMORY: f64 = 10.0;

/// One lane of a session.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: u8,
    pub(crate) link: LinkIndex,
    /// Where the peer is.
    pub(crate) place: Place,
    pub(crate) size: Size,
    pub(crate) reliable: bool,
    pub(crate) state: LaneState,
    /// Since when it is in its state.
    pub(crate) since: Instant,
    /// From when on those who prefer it may use it; none while it is down.
    pub(crate) preferred_from: Option<Instant>,
    pub(crate) why: LaneReason,
    pub(crate) protection: Protection,
    pub(crate) next_pn: u64,
    pub(crate) flight: InFlight,
    pub(crate) rtt: Rtt,
    pub(crate) control: Controller,
    pub(crate) pto_count: u32,
    /// When a packet of the peer came last.
    heard_at: Option<Instant>,
    /// When something was acknowledged last.
    pub(crate) acked_at: Option<Instant>,
    /// Stalls of this end in a row, and until when probe timeouts wait after the last.
    excuses: u8,
    pub(crate) excused_until: Option<Instant>,
    /// Packets that may go although the window is full.
    pub(crate) probes: u8,
    /// A probe is to be sent, with this answer expected.
    pub(crate) ping_now: bool,
    /// When a lane that does not answer is probed next.
    pub(crate) ping_at: Option<Instant>,
    /// Questions since the last answer.
    pings: u32,
    floor: Floor,
    /// The node daemon says that the lane is down.
    pub(crate) reported_down: bool,
    /// The peer is to be told that the lane does not work for us.
    pub(crate) tell_peer: bool,
    pub(crate) pong: Option<(u32, u64)>,
    pub(crate) seen: ReplayWindow,
    pub(crate) debt: AckDebt,
    /// Bytes sent although others would have delivered them sooner, to get to know the lane.
    pub(crate) explored: u64,
    /// When what was sent has left, if the rate is as believed.
    busy_until: Instant,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_lost: u64,
    pub(crate) bytes_received: u64,
    pub(crate) packets_received: u64,
    pub(crate) switches: u64,
    pub(crate) left: u64,
}

impl Lane {
    pub(crate) fn new(now: Instant, params: &LaneParams, config: &Config) -> Self {
        let mtu = params.mtu as usize;
        Self {
            id: params.id,
            link: params.link,
            place: Place::new(params.peer),
            size: Size::new(mtu),
            reliable: params.reliable,
            state: LaneState::Active,
            since: now,
            preferred_from: Some(now),
            why: LaneReason::Opened,
            protection: params.protection,
            next_pn: 0,
            flight: InFlight::new(now),
            rtt: Rtt::new(params.rtt),
            control: Controller::new(now, mtu as u64, config.window_max, params.rtt, params.rate),
            pto_count: 0,
            heard_at: None,
            acked_at: None,
            excuses: 0,
            excused_until: None,
            probes: 0,
            ping_now: false,
            ping_at: None,
            pings: 0,
            floor: Floor::new(now, config.pto_min),
            reported_down: false,
            tell_peer: false,
            pong: None,
            seen: ReplayWindow::new(),
            debt: AckDebt::new(now),
            explored: 0,
            busy_until: now,
            bytes_sent: 0,
            packets_sent: 0,
            packets_lost: 0,
            bytes_received: 0,
            packets_received: 0,
            switches: 0,
            left: 0,
        }
    }

    /// Whether packet `pn` may be opened: it is new.
    pub(crate) fn admits(&self, pn: u64) -> bool {
        self.seen.check(pn)
    }

    /// Whether packet `pn` is newer than all that have come.
    pub(crate) fn is_newest(&self, pn: u64) -> bool {
        self.seen.largest().is_none_or(|largest| pn > largest)
    }

    /// Remembers an authentic packet, and whether its content is bound to this lane. Answers
    /// whether packets before it are missing.
    pub(crate) fn note_received(&mut self, now: Instant, pn: u64, bound: bool) -> bool {
        self.heard_at = Some(now);
        let largest = self.seen.largest();
        let gap = match largest {
            None => pn > 0,
            Some(largest) => pn != largest + 1,
        };
        self.seen.accept(pn);
        let newest = largest.is_none_or(|largest| pn > largest);
        self.debt.note(now, pn, newest, bound);
        gap
    }

    /// How long an answer may take before the peer is asked again.
    pub(crate) fn probe_timeout(&self, config: &Config) -> Duration {
        self.rtt
            .probe_timeout()
            .max(self.floor.get())
            .clamp(config.pto_min, config.pto_max)
    }

    /// When packets in flight must be looked at.
    pub(crate) fn recovery_deadline(&self, config: &Config) -> Option<Instant> {
        if self.reliable || self.state != LaneState::Active {
            return None;
        }
        let probe = self.flight.awaits_ack().then(|| {
            let wait = self.probe_timeout(config) * (1 << self.pto_count.min(10));
            let bound = PROBE_INTERVAL_MAX.max(config.pto_max);
            let due = self.flight.last_eliciting() + wait.min(bound);
            self.excused_until.map_or(due, |until| due.max(until))
        });
        earliest(probe, self.flight.loss_time())
    }

    /// The next instant at which this lane has something to do by itself. What is due already
    /// waits for the driver, not for time.
    pub(crate) fn deadline(&self, now: Instant, config: &Config) -> Option<Instant> {
        let down = self.state == LaneState::Down;
        let owed = self.debt.deadline().filter(|at| *at > now && !down);
        earliest(earliest(owed, self.ping_at), self.recovery_deadline(config))
    }

    /// When something given to the lane now would begin to arrive, its rate in bytes per
    /// nanosecond, and whether it may leave at once. What is `urgent` waits for no pacing and a
    /// little less for the window.
    pub(crate) fn outlook(&mut self, now: Instant, urgent: bool) -> (Outlook, bool) {
        if self.reliable {
            let (start, rate) = (0.0, RATE_MEMORY);
            return (Outlook { start, rate }, true);
        }
        let rate = self.rate();
        let rtt = self.control.min_rtt().or(self.rtt.smoothed());
        let in_flight = self.flight.bytes();
        let queued = self.queued(now, in_flight, rate);
        let wait = if self.has_room(urgent) {
            self.paced_for(now, urgent).as_nanos() as f64
        } else {
            let over = in_flight + self.size.packet() as u64;
            over.saturating_sub(self.control.window()).max(1) as f64 / rate
        };
        let way = rtt.unwrap_or(RTT_GUESS).as_nanos() as f64 / 2.0;
        // While it waits, what stands before it gets shorter.
        let start = way + queued.max(wait);
        (Outlook { start, rate }, wait == 0.0)
    }

    /// Bytes per nanosecond.
    fn rate(&self) -> f64 {
        self.control.bandwidth().unwrap_or(RATE_GUESS).max(1) as f64 / 1e9
    }

    /// How many nanoseconds of what was sent stand before the next packet. Acknowledgements may be
    /// held back longer than a queue lasts, so the rate tells, if it is known.
    fn queued(&self, now: Instant, in_flight: u64, rate: f64) -> f64 {
        if self.control.bandwidth().is_none() {
            return in_flight.saturating_sub(self.control.lane_holds()) as f64 / rate;
        }
        let sent = self.busy_until.saturating_since(now).as_nanos() as f64;
        sent.min(in_flight as f64 / rate)
    }

    /// A packet of `bytes` takes its time on the way.
    pub(crate) fn keep_busy(&mut self, now: Instant, bytes: usize) {
        let time = Duration::from_nanos((bytes as f64 / self.rate()) as u64);
        self.busy_until = self.busy_until.max(now) + time;
    }

    /// Whether the window lets something leave.
    pub(crate) fn has_room(&mut self, urgent: bool) -> bool {
        let in_flight = self.flight.bytes();
        self.reliable
            || self.probes > 0
            || self.control.room(in_flight) > 0
            || urgent && in_flight < self.control.window() + SMALL
    }

    /// Whether pacing holds something back.
    pub(crate) fn is_paced(&self, now: Instant, urgent: bool) -> bool {
        self.paced_for(now, urgent) > Duration::ZERO
    }

    /// How long pacing holds something back.
    fn paced_for(&self, now: Instant, urgent: bool) -> Duration {
        if urgent || self.probes > 0 || self.control.batch(now, 1) > 0 {
            return Duration::ZERO;
        }
        let until = self.control.paced_until();
        until.saturating_since(now).max(Duration::from_nanos(1))
    }

    /// What is known of the lane.
    pub(crate) fn summary(&self) -> LaneSummary {
        LaneSummary {
            id: self.id,
            link: self.link,
            peer: self.place.at(),
            state: self.state,
            since: self.since,
            why: self.why,
            rtt: self.rtt.smoothed(),
            min_rtt: self.control.min_rtt(),
            rate: self.control.bandwidth(),
            window: self.control.window(),
            in_flight: self.flight.bytes(),
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            packets_sent: self.packets_sent,
            packets_received: self.packets_received,
            losses: self.packets_lost,
            switches: self.switches,
            left: self.left,
            mtu: self.size.packet() as u32,
        }
    }
}

/// The earlier of two instants that may not be.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
