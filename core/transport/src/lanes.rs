//! The lanes of a session: which may be used, and how they fail and come back.

use abi::LinkAddress;
use abi::time::{Duration, Instant};

use crate::event::Event;
use crate::keys;
use crate::lane::Lane;
use crate::policy::{Policy, Route};
use crate::session::{Events, Session};
use crate::summary::{LaneReason, LaneReport, LaneState, LaneWord};

/// Probe timeouts in a row after which the daemon should look at a lane that has no alternative.
const HINT_AFTER: u32 = 2;
/// Probe timeouts in a row after which a lane without alternative counts as down for operations
/// that may use no other.
pub(crate) const DOWN_AFTER: u32 = 6;
/// Probe timeouts in a row that a lane is not left for while the peer is heard over it.
const HEARD_MAX: u32 = 6;
/// Questions without an answer after which a suspect lane is down.
const PINGS_MAX: u32 = 5;
/// The same after this time of being suspect.
const PINGS_MIN: u32 = 2;
const SUSPECT_MAX: Duration = Duration::from_millis(100);
/// Time without content after which lanes that do not answer are not asked any more.
const IDLE_AFTER: Duration = Duration::from_secs(10);

impl Session {
    /// The route of a policy, or `None` if it demands a lane that the session does not have.
    pub(crate) fn route(&self, policy: Policy) -> Option<Route> {
        let place = |id| self.lanes.iter().position(|lane| lane.id == id);
        match policy {
            Policy::LoadBalance => Some(Route::Any),
            Policy::Preferred(id) => {
                Some(place(id).map_or(Route::Any, |lane| Route::Prefer(lane as u8)))
            }
            Policy::Exclusive { lane, .. } => place(lane).map(|lane| Route::Only(lane as u8)),
        }
    }

    /// The lanes that content of a route may use now, as bits.
    pub(crate) fn usable(&self, now: Instant, route: Route) -> u16 {
        match route {
            Route::Any => self.usable_any(),
            Route::Only(lane) => {
                let bit = 1 << lane;
                let known = &self.lanes[usize::from(lane)];
                let probes = known.state == LaneState::Suspect && known.probes > 0;
                if probes { bit } else { self.active & bit }
            }
            Route::Prefer(lane) => {
                let bit = 1 << lane;
                let known = &self.lanes[usize::from(lane)];
                let settled = known.preferred_from.is_some_and(|from| from <= now);
                let others = self.usable_any() & !bit;
                if self.active & bit != 0 && (settled || others == 0) {
                    bit
                } else {
                    others
                }
            }
        }
    }

    fn usable_any(&self) -> u16 {
        if self.active != 0 {
            return self.active;
        }
        self.lanes_where(|lane| lane.state == LaneState::Suspect && lane.probes > 0)
    }

    pub(crate) fn lanes_where(&self, wanted: impl Fn(&Lane) -> bool) -> u16 {
        let lanes = self.lanes.iter().enumerate();
        lanes.fold(0, |mask, (index, lane)| {
            mask | u16::from(wanted(lane)) << index
        })
    }

    /// Whether lost packets are possible.
    pub(crate) fn may_lose(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.reliable)
    }

    /// One more lane, which both ends agree on.
    pub(crate) fn add_lane(&mut self, lane: Lane) {
        self.active |= 1 << self.lanes.len();
        self.lanes.push(lane);
    }

    fn set_state(
        &mut self,
        now: Instant,
        index: usize,
        (state, why): (LaneState, LaneReason),
        events: &mut Events,
    ) {
        let lane = &mut self.lanes[index];
        if lane.state == state {
            return;
        }
        let was_active = lane.state == LaneState::Active;
        lane.switches += u64::from(was_active != (state == LaneState::Active));
        // A lane that is only asked whether it answers, as under congestion, was not left.
        lane.left += u64::from(state == LaneState::Down);
        if was_active {
            lane.owe_again();
        }
        // Bulk that begins loses packets too, and a lane soon answers for that.
        let lapse = lane.preferred_from.is_some() && now.saturating_since(lane.since) < SUSPECT_MAX;
        match state {
            LaneState::Active if !lapse => {
                lane.preferred_from = Some(now + self.config.prefer_after)
            }
            LaneState::Down => lane.preferred_from = None,
            _ => {}
        }
        lane.state = state;
        lane.since = now;
        lane.why = why;
        events.push_back(Event::LaneChanged {
            session: self.key,
            lane: lane.id,
            state,
            why,
        });
        self.active = self.lanes_where(|lane| lane.state == LaneState::Active);
    }

    /// Nothing was acknowledged in time on a lane.
    pub(crate) fn on_probe_timeout(&mut self, now: Instant, index: usize, events: &mut Events) {
        let others = self.active & !(1 << index) != 0;
        let lane = &mut self.lanes[index];
        let heard = lane.is_heard(now, &self.config);
        lane.flight.restart_probe_timer(now);
        if !lane.flight.demands_ack() {
            // The peer may have all of it.
            self.give_up(index, usize::MAX);
            return;
        }
        lane.pto_count = lane.pto_count.saturating_add(1);
        if others && heard && lane.pto_count <= HEARD_MAX {
            lane.probes = 2;
            lane.ping_now = true;
            self.give_up(index, 2);
        } else if others {
            // What is bound to the lane goes with its first question.
            lane.tell_peer = true;
            let biggest = lane.flight.biggest();
            self.note_lost_size(now, index, biggest, events);
            self.suspect(now, index, LaneReason::Unanswered, events);
        } else {
            self.insist(now, index, events);
        }
    }

    /// Nothing was acknowledged in time, and there is no other lane, or no reason to leave this one: a little of what
    /// is in flight is sent again, and everything if that does not help.
    fn insist(&mut self, now: Instant, index: usize, events: &mut Events) {
        let lane = &mut self.lanes[index];
        let (timeouts, biggest) = (lane.pto_count, lane.flight.biggest());
        let passed_over = lane.flight.oldest() < lane.acked_at;
        if timeouts == HINT_AFTER {
            events.push_back(Event::LaneChanged {
                session: self.key,
                lane: lane.id,
                state: LaneState::Suspect,
                why: LaneReason::Unanswered,
            });
            lane.control.on_collapse();
        }
        lane.probes = 2;
        // A way that is cut swallows small packets, too.
        if passed_over {
            self.note_lost_size(now, index, biggest, events);
        }
        if timeouts >= DOWN_AFTER {
            self.fail_bound(index, events);
        }
        let count = if timeouts > HINT_AFTER { usize::MAX } else { 2 };
        self.give_up(index, count);
        // Small packets may pass where large ones vanish.
        if self.queue.is_empty() || timeouts > 1 || passed_over {
            self.lanes[index].ping_now = true;
        }
    }

    /// A lane does not answer: what is in flight on it goes elsewhere, and it is asked.
    pub(crate) fn suspect(
        &mut self,
        now: Instant,
        index: usize,
        why: LaneReason,
        events: &mut Events,
    ) {
        self.set_state(now, index, (LaneState::Suspect, why), events);
        let lane = &mut self.lanes[index];
        lane.start_probing(now, &self.config);
        self.give_up(index, usize::MAX);
    }

    /// The peer says that a lane does not work for it.
    pub(crate) fn take_lane_notice(&mut self, now: Instant, id: u8, events: &mut Events) {
        let Some(index) = self.lanes.iter().position(|lane| lane.id == id) else {
            return;
        };
        let others = self.active & !(1 << index) != 0;
        if others && self.lanes[index].state == LaneState::Active {
            self.suspect(now, index, LaneReason::Left, events);
        }
    }

    /// A lane that does not answer is due to be asked again.
    pub(crate) fn probe_again(&mut self, now: Instant, index: usize, events: &mut Events) {
        let lane = &mut self.lanes[index];
        let Some(due) = lane.ping_at.filter(|at| *at <= now) else {
            return;
        };
        if lane.excuses(now, due) {
            lane.ping_at = lane.excused_until;
            return;
        }
        let doubted = lane.place.is_doubted();
        if !doubted && !lane.is_asked() {
            lane.ping_at = None;
            return;
        }
        // A doubt ends by itself, so it may as well end before the rest.
        if !doubted && self.busy_at + IDLE_AFTER < now {
            lane.ping_at = None;
            self.dormant = true;
            return;
        }
        let unanswered = lane.plan_probe(now, &self.config);
        lane.doubt_place(unanswered);
        if lane.state == LaneState::Suspect {
            let long = lane.since + SUSPECT_MAX < now && unanswered > PINGS_MIN;
            if unanswered > PINGS_MAX || long {
                self.lanes[index].probes = 0;
                self.set_state(
                    now,
                    index,
                    (LaneState::Down, LaneReason::Unanswered),
                    events,
                );
                self.fail_bound(index, events);
            }
            self.give_up(index, usize::MAX);
        }
    }

    /// There is something to send again: lanes that do not answer are asked again.
    pub(crate) fn wake_up(&mut self, now: Instant) {
        self.dormant = false;
        self.busy_at = now;
        for lane in &mut self.lanes {
            if lane.is_asked() && lane.ping_at.is_none() {
                lane.plan_probe(now, &self.config);
            }
        }
    }

    /// Sends again what is in flight on a lane, `count` packets at most.
    pub(crate) fn give_up(&mut self, index: usize, count: usize) {
        let mut frames = core::mem::take(&mut self.scratch);
        self.lanes[index].flight.give_up_oldest(count, &mut frames);
        self.lost(&mut frames);
        self.scratch = frames;
    }

    /// An answer has come over a lane: it works.
    pub(crate) fn lane_answers(&mut self, now: Instant, index: usize, events: &mut Events) {
        let lane = &mut self.lanes[index];
        if lane.state == LaneState::Active || lane.reported_down {
            return;
        }
        lane.revive(now);
        self.set_state(
            now,
            index,
            (LaneState::Active, LaneReason::Answered),
            events,
        );
    }

    /// A packet has come over a lane: one that was down is asked whether it works again. What was
    /// under way when it failed says nothing.
    pub(crate) fn lane_heard(&mut self, now: Instant, index: usize, events: &mut Events) {
        let lane = &self.lanes[index];
        let stale = now.saturating_since(lane.since) < SUSPECT_MAX;
        if lane.state == LaneState::Down && !lane.reliable && !stale {
            self.lane_up(now, index, LaneReason::Answered, events);
        }
    }

    /// A lane has failed.
    pub(crate) fn lane_down(
        &mut self,
        now: Instant,
        index: usize,
        why: LaneReason,
        events: &mut Events,
    ) {
        let lane = &mut self.lanes[index];
        if lane.state == LaneState::Down {
            return;
        }
        lane.ping_at = None;
        lane.ping_now = false;
        lane.probes = 0;
        lane.tell_peer = true;
        let reliable = lane.reliable;
        self.set_state(now, index, (LaneState::Down, why), events);
        self.give_up(index, usize::MAX);
        self.fail_bound(index, events);
        if reliable {
            self.query_all(now);
        }
    }

    /// A lane may work again.
    pub(crate) fn lane_up(
        &mut self,
        now: Instant,
        index: usize,
        why: LaneReason,
        events: &mut Events,
    ) {
        let alone = self.lanes.len() == 1;
        let lane = &mut self.lanes[index];
        if lane.reported_down {
            return;
        }
        match lane.state {
            LaneState::Active => {}
            LaneState::Down if lane.reliable || alone => {
                lane.revive(now);
                self.set_state(now, index, (LaneState::Active, why), events);
            }
            LaneState::Down => self.suspect(now, index, why, events),
            LaneState::Suspect => lane.start_probing(now, &self.config),
        }
    }

    /// The newest packet of a lane came from another address: the peer has moved, or somebody was faster
    /// than the peer with a copy of its packet. The address must prove itself.
    pub(crate) fn follow(&mut self, now: Instant, index: usize, to: LinkAddress) {
        let Some(secret) = &self.challenge else {
            return;
        };
        self.moves = self.moves.wrapping_add(1);
        let drawn = keys::purpose(secret, b"slashnet challenge", &self.moves.to_le_bytes());
        let [a, b, c, d, ..] = drawn.0;
        let lane = &mut self.lanes[index];
        if lane.place.follow(to, u32::from_le_bytes([a, b, c, d])) {
            lane.start_probing(now, &self.config);
        }
    }

    /// The link's socket was made anew: the peer must learn where packets come from now.
    pub(crate) fn lane_rebound(&mut self, now: Instant, index: usize, events: &mut Events) {
        self.lane_up(now, index, LaneReason::Link, events);
        self.lanes[index].ping_now = true;
    }

    /// Takes what the node daemon says of a lane.
    pub(crate) fn lane_report(
        &mut self,
        now: Instant,
        index: usize,
        report: &LaneReport,
        events: &mut Events,
    ) {
        let lane = &mut self.lanes[index];
        lane.reported_down = report.word == LaneWord::Down;
        lane.learn(now, report, &self.config);
        match report.word {
            LaneWord::Up => self.lane_up(now, index, LaneReason::Monitor, events),
            LaneWord::Silent => self.lane_silent(now, index, events),
            LaneWord::Down => self.lane_down(now, index, LaneReason::Monitor, events),
        }
    }

    /// The node hears nothing of the peer on a lane. It may be the node that has no time, so the session asks itself;
    /// as long as it hears the peer, or has no other lane, it stays.
    fn lane_silent(&mut self, now: Instant, index: usize, events: &mut Events) {
        let others = self.active & !(1 << index) != 0;
        let lane = &mut self.lanes[index];
        match lane.state {
            LaneState::Active if lane.reliable => {}
            LaneState::Active if !others || lane.was_heard(now, SUSPECT_MAX) => {
                lane.ping_now = true;
            }
            LaneState::Down if lane.why != LaneReason::Monitor => {}
            LaneState::Active | LaneState::Down => {
                self.suspect(now, index, LaneReason::Monitor, events);
            }
            LaneState::Suspect => {}
        }
    }

    /// A packet of `bytes` was lost; too many large ones make the lane's packets smaller.
    pub(crate) fn note_lost_size(
        &mut self,
        now: Instant,
        index: usize,
        bytes: usize,
        events: &mut Events,
    ) {
        let lane = &mut self.lanes[index];
        if lane.note_lost_size(now, bytes) {
            events.push_back(Event::LaneChanged {
                session: self.key,
                lane: lane.id,
                state: lane.state,
                why: LaneReason::BlackHole,
            });
        }
    }
}
