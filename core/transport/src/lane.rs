//! One lane of a session: packet numbers, round-trip time, window, and what is owed to the peer.

use abi::LinkAddress;
use abi::time::{Duration, Instant};

use crate::config::{ACK_HOLD, ACK_HOLD_LONG, Config, LaneParams, Protection};
use crate::event::LinkIndex;
use crate::frame::{ACK_WORDS, Ack};
use crate::rate_model::Controller;
use crate::recovery::{InFlight, Rtt};
use crate::replay::ReplayWindow;
use crate::summary::{LaneReason, LaneState, LaneSummary};

/// Probe timeouts in a row after which another lane takes over.
pub(crate) const SUSPECT_AFTER: u32 = 2;
/// Longest time between probes of a lane that does not answer.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Packets of a session's first moments that are acknowledged more often.
const EAGER_PACKETS: u64 = 32;
const EAGER_EVERY: u32 = 2;
const ACK_EVERY: u32 = 64;
/// Every network carries packets of this size (UDP payload).
const BASE_MTU: usize = 1232;
/// Large packets lost in a row that show a smaller limit on the way.
const BLACK_HOLE: u8 = 6;

/// Acknowledgements that are owed to the peer.
#[derive(Clone, Debug)]
pub(crate) struct AckDebt {
    packets: u32,
    deadline: Option<Instant>,
    now: bool,
    largest_at: Instant,
    since_sent: u64,
    total: u64,
}

impl AckDebt {
    /// Whether an acknowledgement must leave at `now`.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.packets > 0 && (self.now || self.deadline.is_some_and(|deadline| deadline <= now))
    }

    pub(crate) const fn is_owed(&self) -> bool {
        self.packets > 0
    }
}

/// How soon the peer should hear that a packet has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Nothing in the packet asks for it.
    Never,
    /// An answer may carry it.
    Hold,
    /// Along with some more.
    Long,
    /// At once.
    Now,
}

/// One lane of a session.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: u8,
    pub(crate) link: LinkIndex,
    pub(crate) peer: LinkAddress,
    pub(crate) mtu: usize,
    pub(crate) reliable: bool,
    pub(crate) state: LaneState,
    /// Since when it is in its state.
    pub(crate) since: Instant,
    pub(crate) why: LaneReason,
    pub(crate) protection: Protection,
    pub(crate) next_pn: u64,
    pub(crate) heard_at: Instant,
    pub(crate) flight: InFlight,
    pub(crate) rtt: Rtt,
    pub(crate) control: Controller,
    pub(crate) pto_count: u32,
    /// Packets that may go although the window is full.
    pub(crate) probes: u8,
    /// A probe is to be sent, with this answer expected.
    pub(crate) ping_now: bool,
    /// When a lane that does not answer is probed next.
    pub(crate) ping_at: Option<Instant>,
    pings: u32,
    pub(crate) pong: Option<(u32, u64)>,
    pub(crate) seen: ReplayWindow,
    pub(crate) debt: AckDebt,
    big_lost: u8,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_lost: u64,
    pub(crate) bytes_received: u64,
    pub(crate) packets_received: u64,
    pub(crate) switches: u64,
}

impl Lane {
    pub(crate) fn new(now: Instant, params: &LaneParams, config: &Config) -> Self {
        let mtu = params.mtu as usize;
        Self {
            id: params.id,
            link: params.link,
            peer: params.peer,
            mtu,
            reliable: params.reliable,
            state: LaneState::Active,
            since: now,
            why: LaneReason::Opened,
            protection: params.protection,
            next_pn: 0,
            heard_at: now,
            flight: InFlight::new(now),
            rtt: Rtt::new(params.rtt),
            control: Controller::new(now, mtu as u64, config.window_max, params.rtt, params.rate),
            pto_count: 0,
            probes: 0,
            ping_now: false,
            ping_at: None,
            pings: 0,
            pong: None,
            seen: ReplayWindow::new(),
            debt: AckDebt {
                packets: 0,
                deadline: None,
                now: false,
                largest_at: now,
                since_sent: 0,
                total: 0,
            },
            big_lost: 0,
            bytes_sent: 0,
            packets_sent: 0,
            packets_lost: 0,
            bytes_received: 0,
            packets_received: 0,
            switches: 0,
        }
    }

    /// Whether packet `pn` may be opened: it is new.
    pub(crate) fn admits(&self, pn: u64) -> bool {
        self.seen.check(pn)
    }

    /// Remembers an authentic packet. Answers whether packets before it are missing.
    pub(crate) fn note_received(&mut self, now: Instant, pn: u64) -> bool {
        let largest = self.seen.largest();
        let gap = match largest {
            None => pn > 0,
            Some(largest) => pn != largest + 1,
        };
        self.seen.accept(pn);
        if largest.is_none_or(|largest| pn > largest) {
            self.debt.largest_at = now;
        }
        self.debt.since_sent += 1;
        gap
    }

    /// Notes that the peer wants to hear of the packet just received.
    pub(crate) fn owe(&mut self, now: Instant, urgency: Urgency, gap: bool) {
        if self.reliable || urgency == Urgency::Never {
            return;
        }
        let debt = &mut self.debt;
        debt.packets += 1;
        debt.total += 1;
        let every = if debt.total < EAGER_PACKETS {
            EAGER_EVERY
        } else {
            ACK_EVERY
        };
        let many = urgency == Urgency::Long && debt.packets >= every || debt.packets >= ACK_EVERY;
        if gap || urgency == Urgency::Now || many {
            debt.now = true;
        }
        let hold = if urgency == Urgency::Hold {
            ACK_HOLD
        } else {
            ACK_HOLD_LONG
        };
        let deadline = now + hold;
        debt.deadline = Some(
            debt.deadline
                .map_or(deadline, |earlier| earlier.min(deadline)),
        );
    }

    /// The acknowledgement to send now; the debt is settled.
    pub(crate) fn settle_debt(&mut self, now: Instant) -> Option<Ack> {
        let largest = self.seen.largest()?;
        let mut bitmap = [0; ACK_WORDS];
        let mut words = 0;
        let reach = 64 + 4 * self.debt.since_sent;
        let mut newest = largest.checked_sub(1);
        let mut hole = false;
        while let Some(at) = newest
            && words < ACK_WORDS
            && (hole || (words as u64) * 64 < reach)
        {
            bitmap[words] = self.seen.seen_downward(at);
            hole |= bitmap[words] != u64::MAX && at >= 63;
            words += 1;
            newest = at.checked_sub(64);
        }
        let held = now.saturating_since(self.debt.largest_at).as_micros() / 8;
        self.debt.packets = 0;
        self.debt.deadline = None;
        self.debt.now = false;
        self.debt.since_sent = 0;
        Some(Ack {
            lane: self.id,
            largest,
            delay: u16::try_from(held).unwrap_or(u16::MAX),
            words: words as u8,
            bitmap,
        })
    }

    /// How long an answer may take before the peer is asked again.
    pub(crate) fn probe_timeout(&self, config: &Config) -> Duration {
        self.rtt
            .probe_timeout(ACK_HOLD_LONG)
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
            self.flight.last_eliciting() + wait.min(bound)
        });
        earliest(probe, self.flight.loss_time())
    }

    /// The next instant at which this lane has something to do by itself. What is due already
    /// waits for the driver, not for time.
    pub(crate) fn deadline(&self, now: Instant, config: &Config) -> Option<Instant> {
        if self.state == LaneState::Down {
            return None;
        }
        let owed = self.debt.deadline.filter(|_| self.debt.is_owed());
        let sending = earliest(owed, self.ping_at).filter(|at| *at > now);
        earliest(sending, self.recovery_deadline(config))
    }

    /// Whether a probe must leave at `now`.
    pub(crate) fn probe_due(&self, now: Instant) -> bool {
        self.ping_now || self.ping_at.is_some_and(|at| at <= now)
    }

    /// Plans the next probe of a lane that does not answer.
    pub(crate) fn plan_probe(&mut self, now: Instant, config: &Config) {
        self.ping_now = false;
        if self.state == LaneState::Active {
            self.ping_at = None;
            return;
        }
        let wait = self.probe_timeout(config) * (1 << self.pings.min(10));
        self.pings += 1;
        self.ping_at = Some(now + wait.min(PROBE_INTERVAL_MAX));
    }

    /// The lane does not answer: only probes from here on.
    pub(crate) fn suspect(&mut self, now: Instant) {
        self.state = LaneState::Suspect;
        self.pings = 0;
        self.probes = 0;
        self.ping_at = Some(now);
    }

    /// The lane works.
    pub(crate) fn revive(&mut self, now: Instant) {
        if self.state != LaneState::Active {
            self.control.on_restart(now);
        }
        self.state = LaneState::Active;
        self.pto_count = 0;
        self.ping_at = None;
    }

    /// What is known of the lane.
    pub(crate) fn summary(&self) -> LaneSummary {
        LaneSummary {
            id: self.id,
            link: self.link,
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
            mtu: self.mtu as u32,
        }
    }

    /// Large packets that vanish while small ones arrive mean a smaller limit on the way.
    pub(crate) fn note_lost_size(&mut self, bytes: usize) {
        if bytes <= BASE_MTU || self.reliable {
            return;
        }
        self.big_lost += 1;
        if self.big_lost >= BLACK_HOLE {
            self.mtu = self.mtu.min(BASE_MTU);
            self.control.set_packet(self.mtu as u64);
            self.big_lost = 0;
        }
    }

    pub(crate) fn note_arrived_size(&mut self, bytes: u64) {
        if bytes > BASE_MTU as u64 {
            self.big_lost = 0;
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
