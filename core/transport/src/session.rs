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
use crate::key_phase::KeyPhase;
use crate::keys::Secret;
use crate::lane::{Lane, earliest};
use crate::outgoing::Calls;
use crate::policy::Route;
use crate::queue::SendQueue;
use crate::recovery::SentFrame;
use crate::summary::{LaneState, SessionSummary};
use crate::tail::Tail;
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
    /// When the peer is dead if nothing comes.
    pub(crate) dead_at: Option<Instant>,
    /// Bound set by the program.
    pub(crate) verify_by: Option<Instant>,
    /// Times this end has stood still since then.
    excuses: u8,
    pub(crate) ping_id: u32,
}

/// A timer that fires so much too late tells that this end was stopped, by a signal or with its machine. Afterwards the
/// peer has as long to be heard.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// How often that counts while nothing comes, so that each operation ends.
const EXCUSES_MAX: u8 = 8;

impl Watch {
    fn begin(&mut self, now: Instant, patience: Duration) {
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            self.dead_at = Some(now + patience);
        }
    }

    const fn end(&mut self) {
        self.waiting_since = None;
        self.dead_at = None;
        self.verify_by = None;
        self.excuses = 0;
    }

    /// What was due `late` ago is done only now. If this end stood still for that long, the time is not the peer's, and what
    /// the peer said may be here, not taken in yet.
    fn excuse(&mut self, now: Instant, late: Duration) {
        if late < STOOD_STILL || self.excuses == EXCUSES_MAX {
            return;
        }
        self.excuses += 1;
        for by in [&mut self.dead_at, &mut self.verify_by]
            .into_iter()
            .flatten()
        {
            *by = (*by + late).max(now + STOOD_STILL);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        [self.dead_at, self.verify_by]
            .into_iter()
            .flatten()
            .any(|by| by <= now)
    }
}

/// One session.
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) role: Role,
    pub(crate) local: SessionId,
    pub(crate) peer: SessionId,
    pub(crate) lanes: Vec<Lane>,
    /// The lanes that may carry data, as bits.
    pub(crate) active: u16,
    pub(crate) cipher: Option<Box<dyn PacketCipher>>,
    pub(crate) key_phase: KeyPhase,
    pub(crate) calls: Calls,
    pub(crate) served: Served,
    pub(crate) transfers: Transfers,
    pub(crate) queue: SendQueue,
    /// Counts acknowledgements sent: a reply is quiet only if none has left since its request.
    pub(crate) ack_epoch: u64,
    pub(crate) watch: Watch,
    pub(crate) op_dead: Duration,
    /// What the questions to new addresses of the peer come from, and how many there were.
    pub(crate) challenge: Option<Secret>,
    pub(crate) moves: u32,
    /// Route of answers to the packet that is being taken, where nothing else is known.
    pub(crate) arrived: Route,
    /// The batch being made takes all that its lane should carry.
    pub(crate) starved: bool,
    pub(crate) tail: Tail,
    /// When content was last sent or received.
    pub(crate) busy_at: Instant,
    /// Lanes that do not answer are not asked until there is something to send.
    pub(crate) dormant: bool,
    /// The lane on which content came last: short messages follow it if all else is equal.
    pub(crate) habit: usize,
    /// The peer has sent something.
    pub(crate) met: bool,
    /// Bytes of messages sent.
    pub(crate) carried: u64,
    pub(crate) config: Config,
    pub(crate) closing: Option<Closing>,
    /// The code with which the peer has closed the session.
    pub(crate) said: Option<u16>,
    /// The session is over and can be forgotten.
    pub(crate) ended: Option<Cause>,
    /// Frames that have arrived or were lost, on their way to the operations.
    pub(crate) scratch: Vec<SentFrame>,
    /// Memory for what the packet that is being made carries.
    pub(crate) drafted: Vec<SentFrame>,
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
            .collect::<Vec<_>>();
        let active = u16::MAX >> (16 - lanes.len().min(16));
        Self {
            key,
            role: params.role,
            local: params.local,
            peer: params.peer,
            lanes,
            active,
            calls: Calls::new(params.slots, params.unscheduled, params.credit),
            served: Served::new(params.slots, params.unscheduled, params.credit),
            key_phase: KeyPhase::new(params.cipher.as_deref().map_or(0, PacketCipher::key_life)),
            cipher: params.cipher,
            transfers: Transfers::default(),
            queue: SendQueue::default(),
            ack_epoch: 0,
            watch: Watch::default(),
            op_dead: params.op_dead,
            challenge: params.challenge,
            moves: 0,
            arrived: Route::Any,
            starved: false,
            tail: Tail::new(now),
            busy_at: now,
            dormant: false,
            habit: 0,
            met: false,
            carried: 0,
            config: *config,
            closing: None,
            said: None,
            ended: None,
            scratch: Vec::new(),
            drafted: Vec::new(),
            armed: None,
            listed: false,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.closing.is_none() && self.ended.is_none()
    }

    /// Something was sent that the peer must answer in some way.
    pub(crate) fn expect_answer(&mut self, now: Instant) {
        self.watch.begin(now, self.op_dead);
    }

    /// Whether something has arrived since `since`, when an answer was asked for.
    pub(crate) fn is_heard_since(&self, since: Instant) -> bool {
        self.watch.waiting_since.is_none_or(|asked| asked > since)
    }

    /// An authentic packet has arrived.
    pub(crate) fn heard(&mut self) {
        self.watch.end();
    }

    /// What was in `frames` has arrived at the peer.
    pub(crate) fn arrived(
        &mut self,
        now: Instant,
        frames: &mut Vec<SentFrame>,
        events: &mut Events,
    ) {
        SentFrame::join(frames);
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
                SentFrame::LaneLeft { lane } => self.lanes[usize::from(lane)].tell_peer = false,
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
                SentFrame::Ping => self.key_phase.ask_again(),
                SentFrame::LaneLeft { .. } => {}
            }
        }
    }

    /// Does what is due at `now`, and was to be looked at by `due`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, due: Instant, events: &mut Events) {
        if let Some(closing) = self.closing {
            if closing.until <= now {
                self.ended = Some(Cause::Closed);
            }
            return;
        }
        for index in 0..self.lanes.len() {
            self.recover_lane(now, index, events);
            self.probe_again(now, index, events);
        }
        self.check_operations(now, events);
        self.watch.excuse(now, now.saturating_since(due));
        if self.watch.is_over(now) {
            self.end(Cause::Link, events);
        }
    }

    fn recover_lane(&mut self, now: Instant, index: usize, events: &mut Events) {
        let lane = &mut self.lanes[index];
        let Some(due) = lane
            .recovery_deadline(&self.config)
            .filter(|due| *due <= now)
        else {
            return;
        };
        if lane.flight.loss_time().is_some_and(|at| at <= now) {
            self.detect_lost(now, index, events);
        } else if !lane.excuses(now, due) {
            self.on_probe_timeout(now, index, events);
        }
    }

    /// Gives up what later packets have overtaken on a lane.
    pub(crate) fn detect_lost(&mut self, now: Instant, index: usize, events: &mut Events) {
        let mut frames = core::mem::take(&mut self.scratch);
        let lane = &mut self.lanes[index];
        let loss = lane.flight.detect_lost(now, &lane.rtt, &mut frames);
        if loss.packets > 0 {
            lane.control.on_lost(loss.bytes);
            lane.packets_lost += u64::from(loss.packets);
            self.note_lost_size(now, index, loss.biggest as usize, events);
        }
        self.lost(&mut frames);
        self.scratch = frames;
    }

    /// Whether anything is unfinished that the peer has a part in.
    pub(crate) fn has_open_operations(&self) -> bool {
        self.calls.open() > 0 || !self.transfers.is_empty() || !self.queue.is_empty()
    }

    /// The program wants to know whether the peer lives.
    pub(crate) fn verify(&mut self, by: Instant) {
        let by = self.watch.verify_by.map_or(by, |earlier| earlier.min(by));
        self.watch.verify_by = Some(by);
        for lane in &mut self.lanes {
            lane.ping_now |= lane.state != LaneState::Down;
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
            code: None,
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
                code: self.said,
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
        next = earliest(next, self.watch.dead_at);
        earliest(next, self.calls.deadline())
    }

    /// When a sender that is held back by its rate may go on.
    fn paced_until(&self, now: Instant) -> Option<Instant> {
        if !self.queue.has_items() {
            return None;
        }
        let mut lanes = 0;
        for stream in &self.queue.streams {
            if stream.lines.iter().any(|line| !line.is_empty()) {
                lanes |= self.usable(now, stream.route);
            }
        }
        let mut next = None;
        for (index, lane) in self.lanes.iter().enumerate() {
            if lanes >> index & 1 == 0 || lane.reliable || lane.control.is_full(lane.flight.bytes())
            {
                continue;
            }
            let until = lane.control.paced_until();
            next = earliest(next, (until > now).then_some(until));
        }
        next
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
