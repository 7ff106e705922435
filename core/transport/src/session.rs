//! One session: two processes, their lanes, and the operations between them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use abi::ids::SessionId;
use abi::time::{Duration, Instant};

use crate::cipher::PacketCipher;
use crate::config::{Config, Role, SessionParams};
use crate::event::{Cause, Event, SessionKey};
use crate::incoming::Served;
use crate::lane::{Lane, SUSPECT_AFTER, earliest};
use crate::outgoing::Calls;
use crate::queue::SendQueue;
use crate::recovery::SentFrame;
use crate::summary::{LaneReason, LaneState, SessionSummary};
use crate::transfer::Transfers;

/// How often the closing notice is repeated to a peer that still sends.
const CLOSE_REPEATS: u8 = 8;
/// How long a closed session answers late packets.
const CLOSE_LINGER: Duration = Duration::from_millis(500);

/// Events that wait for the program.
pub(crate) type Events = VecDeque<Event>;

/// The peer broke the protocol; the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// What a closed session still does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) code: u16,
    pub(crate) until: Instant,
    pub(crate) send_now: bool,
    pub(crate) repeats: u8,
}

/// When the peer must have been heard of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// Since when something is unanswered.
    pub(crate) waiting_since: Option<Instant>,
    /// Bound set by the program.
    pub(crate) verify_by: Option<Instant>,
    pub(crate) ping_id: u32,
}

/// One session.
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) role: Role,
    pub(crate) local: SessionId,
    pub(crate) peer: SessionId,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) cipher: Option<Box<dyn PacketCipher>>,
    pub(crate) calls: Calls,
    pub(crate) served: Served,
    pub(crate) transfers: Transfers,
    pub(crate) queue: SendQueue,
    /// Counts acknowledgements sent: a reply is quiet only if none has left since its request.
    pub(crate) ack_epoch: u64,
    pub(crate) watch: Watch,
    pub(crate) op_dead: Duration,
    /// Lane of the packet that is being taken.
    pub(crate) arrived_on: usize,
    pub(crate) config: Config,
    pub(crate) closing: Option<Closing>,
    /// The session is over and can be forgotten.
    pub(crate) ended: Option<Cause>,
    /// Frames that have arrived or were lost, on their way to the operations.
    pub(crate) scratch: Vec<SentFrame>,
    /// Instant under which the transport's timer table holds the session.
    pub(crate) armed: Option<Instant>,
    /// The transport's list of sessions with something to send holds the session.
    pub(crate) listed: bool,
}

impl Session {
    pub(crate) fn new(
        now: Instant,
        key: SessionKey,
        params: SessionParams,
        config: &Config,
    ) -> Self {
        let lanes = params
            .lanes
            .iter()
            .map(|lane| Lane::new(now, lane, config))
            .collect();
        Self {
            key,
            role: params.role,
            local: params.local,
            peer: params.peer,
            lanes,
            calls: Calls::new(params.slots, params.unscheduled, params.credit),
            served: Served::new(params.slots, params.unscheduled, params.credit),
            cipher: params.cipher,
            transfers: Transfers::default(),
            queue: SendQueue::default(),
            ack_epoch: 0,
            watch: Watch::default(),
            op_dead: params.op_dead,
            arrived_on: 0,
            config: *config,
            closing: None,
            ended: None,
            scratch: Vec::new(),
            armed: None,
            listed: false,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.closing.is_none() && self.ended.is_none()
    }

    /// The lane that carries data: the first that works.
    pub(crate) fn active(&self) -> Option<usize> {
        self.lanes
            .iter()
            .position(|lane| lane.state == LaneState::Active)
    }

    /// Whether lost packets are possible on the lane that carries data.
    pub(crate) fn may_lose(&self) -> bool {
        self.active().is_none_or(|lane| !self.lanes[lane].reliable)
    }

    /// Something was sent that the peer must answer in some way.
    pub(crate) fn expect_answer(&mut self, now: Instant) {
        self.watch.waiting_since.get_or_insert(now);
    }

    /// Whether something has arrived since `since`, when an answer was asked for.
    pub(crate) fn is_heard_since(&self, since: Instant) -> bool {
        self.watch.waiting_since.is_none_or(|asked| asked > since)
    }

    /// An authentic packet has arrived.
    pub(crate) fn heard(&mut self) {
        self.watch.waiting_since = None;
        self.watch.verify_by = None;
    }

    /// What was in `frames` has arrived at the peer.
    pub(crate) fn arrived(
        &mut self,
        now: Instant,
        frames: &mut Vec<SentFrame>,
        events: &mut Events,
    ) {
        for frame in frames.drain(..) {
            match frame {
                SentFrame::Request { op, offset, len } => {
                    self.request_arrived(now, op, offset, len, events);
                }
                SentFrame::Reply { op, offset, len } => {
                    self.reply_arrived(op, offset, len, events);
                }
                SentFrame::Pulled { id, offset, len } => self.pulled_arrived(id, offset, len),
                SentFrame::Pushed { id, offset, len } => {
                    self.pushed_arrived(id, offset, len, events);
                }
                SentFrame::Cancel { op } => self.cancel_arrived(now, op),
                SentFrame::Pull { .. } | SentFrame::Credit | SentFrame::Ping => {}
            }
        }
    }

    /// What was in `frames` was lost and is to be sent again.
    pub(crate) fn lost(&mut self, frames: &mut Vec<SentFrame>) {
        for frame in frames.drain(..) {
            match frame {
                SentFrame::Request { op, offset, len } => self.request_lost(op, offset, len),
                SentFrame::Reply { op, offset, len } => self.reply_lost(op, offset, len),
                SentFrame::Pulled { id, offset, len } => self.pulled_lost(id, offset, len),
                SentFrame::Pushed { id, offset, len } => self.pushed_lost(id, offset, len),
                SentFrame::Pull { id } => self.pull_lost(id),
                SentFrame::Cancel { op } => self.cancel_lost(op),
                SentFrame::Credit => self.served.credit_due = true,
                SentFrame::Ping => {}
            }
        }
    }

    /// Does what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, events: &mut Events) {
        if let Some(closing) = self.closing {
            if closing.until <= now {
                self.ended = Some(Cause::Closed);
            }
            return;
        }
        for index in 0..self.lanes.len() {
            self.recover_lane(now, index, events);
        }
        self.check_operations(now, events);
        let silent = self
            .watch
            .waiting_since
            .is_some_and(|since| since + self.op_dead <= now);
        let unverified = self.watch.verify_by.is_some_and(|by| by <= now);
        if silent || unverified {
            self.end(Cause::Link, events);
        }
    }

    fn recover_lane(&mut self, now: Instant, index: usize, events: &mut Events) {
        let lane = &mut self.lanes[index];
        if lane
            .recovery_deadline(&self.config)
            .is_none_or(|deadline| deadline > now)
        {
            return;
        }
        if lane.flight.loss_time().is_some_and(|at| at <= now) {
            self.detect_lost(now, index);
        } else {
            self.on_probe_timeout(now, index, events);
        }
    }

    /// Gives up what later packets have overtaken on a lane.
    pub(crate) fn detect_lost(&mut self, now: Instant, index: usize) {
        let mut frames = core::mem::take(&mut self.scratch);
        let lane = &mut self.lanes[index];
        let loss = lane.flight.detect_lost(now, &lane.rtt, &mut frames);
        if loss.packets > 0 {
            lane.control.on_lost(loss.bytes);
            lane.note_lost_size(loss.biggest as usize);
            lane.packets_lost += u64::from(loss.packets);
        }
        self.lost(&mut frames);
        self.scratch = frames;
    }

    fn on_probe_timeout(&mut self, now: Instant, index: usize, events: &mut Events) {
        let others = (0..self.lanes.len())
            .any(|other| other != index && self.lanes[other].state == LaneState::Active);
        let lane = &mut self.lanes[index];
        lane.pto_count = lane.pto_count.saturating_add(1);
        lane.flight.restart_probe_timer(now);
        if lane.pto_count == SUSPECT_AFTER {
            events.push_back(Event::LaneChanged {
                session: self.key,
                lane: lane.id,
                state: LaneState::Suspect,
                why: LaneReason::Unanswered,
            });
            if !others {
                lane.control.on_collapse();
            }
        }
        if others && lane.pto_count >= SUSPECT_AFTER {
            lane.suspect(now);
            self.give_up(index, usize::MAX);
            return;
        }
        lane.probes = 2;
        let count = if lane.pto_count > SUSPECT_AFTER {
            usize::MAX
        } else {
            2
        };
        let size = lane.mtu;
        if lane.pto_count > 1 {
            lane.note_lost_size(size);
        }
        self.give_up(index, count);
        if self.queue.is_empty() {
            self.lanes[index].ping_now = true;
        }
    }

    /// Messages come on another lane than the one that would carry ours, which is silent: the peer
    /// has left it, so ours would be lost there. It is probed and returns if it works.
    pub(crate) fn follow_peer(&mut self, now: Instant) {
        let Some(active) = self.active().filter(|active| *active != self.arrived_on) else {
            return;
        };
        let silent = now.saturating_since(self.lanes[active].heard_at) > self.config.pto_min;
        if silent && self.lanes[self.arrived_on].state == LaneState::Active {
            self.lanes[active].suspect(now);
            self.give_up(active, usize::MAX);
        }
    }

    /// Sends again what is in flight on a lane, `count` packets at most.
    pub(crate) fn give_up(&mut self, index: usize, count: usize) {
        let mut frames = core::mem::take(&mut self.scratch);
        self.lanes[index].flight.give_up_oldest(count, &mut frames);
        self.lost(&mut frames);
        self.scratch = frames;
    }

    /// The link of a lane has failed.
    pub(crate) fn lane_down(&mut self, now: Instant, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.state == LaneState::Down {
            return;
        }
        let reliable = lane.reliable;
        lane.state = LaneState::Down;
        lane.ping_at = None;
        self.give_up(index, usize::MAX);
        if reliable {
            self.query_all(now);
        }
    }

    /// The link of a lane may work again.
    pub(crate) fn lane_up(&mut self, now: Instant, index: usize) {
        let alone = self.lanes.len() == 1;
        let lane = &mut self.lanes[index];
        if lane.state != LaneState::Down {
            return;
        }
        if lane.reliable || alone {
            lane.revive(now);
        } else {
            lane.suspect(now);
        }
    }

    /// Whether anything is unfinished that the peer has a part in.
    pub(crate) fn has_open_operations(&self) -> bool {
        self.calls.open() > 0 || !self.transfers.is_empty() || !self.queue.is_empty()
    }

    /// The program wants to know whether the peer lives.
    pub(crate) fn verify(&mut self, by: Instant) {
        let by = self.watch.verify_by.map_or(by, |earlier| earlier.min(by));
        self.watch.verify_by = Some(by);
        if let Some(active) = self.active() {
            self.lanes[active].ping_now = true;
        }
    }

    /// Closes and tells the peer.
    pub(crate) fn close(&mut self, now: Instant, code: u16, cause: Cause, events: &mut Events) {
        if !self.is_open() {
            return;
        }
        self.finish_all(cause, events);
        events.push_back(Event::Closed {
            session: self.key,
            cause,
        });
        let until = now + CLOSE_LINGER;
        self.closing = Some(Closing {
            code,
            until,
            send_now: true,
            repeats: CLOSE_REPEATS,
        });
    }

    /// A packet came for a session that is closed here.
    pub(crate) fn repeat_close(&mut self) {
        if let Some(closing) = &mut self.closing
            && closing.repeats > 0
        {
            closing.repeats -= 1;
            closing.send_now = true;
        }
    }

    /// Ends the session at once.
    pub(crate) fn end(&mut self, cause: Cause, events: &mut Events) {
        if self.ended.is_some() {
            return;
        }
        if self.closing.is_none() {
            self.finish_all(cause, events);
            events.push_back(Event::Closed {
                session: self.key,
                cause,
            });
        }
        self.ended = Some(cause);
    }

    fn finish_all(&mut self, cause: Cause, events: &mut Events) {
        self.fail_calls(cause, events);
        self.fail_transfers(events);
        self.withdraw_all(events);
        self.queue.clear();
    }

    /// The next instant at which the session must be looked at.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        if let Some(closing) = self.closing {
            return Some(closing.until);
        }
        let mut next = self.watch.verify_by;
        for lane in &self.lanes {
            next = earliest(next, lane.deadline(now, &self.config));
        }
        next = earliest(next, self.paced_until(now));
        next = earliest(
            next,
            self.watch.waiting_since.map(|since| since + self.op_dead),
        );
        earliest(next, self.calls.deadline())
    }

    /// When a sender that is held back by its rate may go on.
    fn paced_until(&self, now: Instant) -> Option<Instant> {
        let lane = &self.lanes[self.active()?];
        if lane.reliable || !self.queue.has_items() || lane.control.is_full(lane.flight.bytes()) {
            return None;
        }
        let until = lane.control.paced_until();
        (until > now).then_some(until)
    }

    /// What is known of the session.
    pub(crate) fn summary(&self) -> SessionSummary {
        SessionSummary {
            session: self.key,
            local: self.local,
            peer: self.peer,
            role: self.role,
            operations: self.calls.open() + self.served.executing(),
            held: self.served.held(),
            lanes: self.lanes.iter().map(Lane::summary).collect(),
        }
    }
}
