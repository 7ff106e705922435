//! The client's operations: asked, sent, answered.

mod abandoned;
mod queries;

use alloc::vec::Vec;

use abi::time::{Duration, Instant};

use crate::config::{ONE_WAY_MAX, Role};
use crate::credit::{Allowance, charge};
use crate::event::{
    Buffer, Cause, Delivery, Event, Failure, Memory, Meta, OpKey, Request, SendError,
};
use crate::frame::{Data, Head, OpState, REFUSED, WireOp};
use crate::lane::earliest;
use crate::outflow::Outflow;
use crate::policy::{Policy, Route};
use crate::queue::{Class, Control, Item};
use crate::ranges::RangeSet;
use crate::session::{Events, Session, Violation};

/// When to ask for an operation that takes long, after its request has arrived.
const QUERY_AFTER: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// When to ask for a cancelled operation.
const QUERY_CANCELLED: Duration = Duration::from_millis(20);
/// Most pieces of a message that may be missing in between: more than any honest peer makes.
pub(crate) const PIECES_MAX: usize = 16_384;

/// The program gave up an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cancel {
    pub(crate) reason: u8,
    pub(crate) cause: Cause,
}

/// What the first fragment of a reply says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyHead {
    pub(crate) total: u64,
    pub(crate) status: i64,
    pub(crate) refused: bool,
}

/// One slot of the client.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) seq: u32,
    pub(crate) busy: bool,
    pub(crate) one_way: bool,
    pub(crate) control: bool,
    pub(crate) policy: Policy,
    pub(crate) route: Route,
    /// The program has been told that it failed; the slot waits for the server's word.
    pub(crate) abandoned: bool,
    pub(crate) meta: Meta,
    pub(crate) len: u64,
    pub(crate) reply_max: u64,
    /// Bytes that are sent without being pulled.
    pub(crate) unscheduled: u32,
    pub(crate) flow: Outflow,
    pub(crate) cancel: Option<Cancel>,
    deadline: Option<Instant>,
    query_at: Option<Instant>,
    queries: usize,
    reply: Option<ReplyHead>,
    received: RangeSet,
}

/// All operations of a client.
#[derive(Debug)]
pub(crate) struct Calls {
    slots: Vec<Outgoing>,
    free: Vec<u16>,
    limit: u16,
    unscheduled: u32,
    credit: Allowance,
    /// Not later than any operation's deadline or query.
    next_check: Option<Instant>,
}

impl Outgoing {
    /// The head of the request's next fragment.
    pub(crate) fn request_head(&self) -> Head {
        if !self.flow.at_head() {
            return Head::None;
        }
        Head::Request {
            total: self.len,
            reply_max: self.reply_max,
            policy: self.policy,
            meta: self.meta,
        }
    }
}

impl Calls {
    pub(crate) const fn new(limit: u16, unscheduled: u32, credit: u64) -> Self {
        let credit = Allowance::new(credit);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            limit,
            unscheduled,
            credit,
            next_check: None,
        }
    }

    /// How many operations are outstanding.
    pub(crate) fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next_check
    }

    pub(crate) fn get(&mut self, op: WireOp) -> Option<&mut Outgoing> {
        let call = self.slots.get_mut(usize::from(op.slot))?;
        (call.busy && call.seq == op.seq).then_some(call)
    }

    /// The slot used last, so that few stay warm; a slot that has counted to the end is not reused.
    fn claim(&mut self) -> Option<u16> {
        while let Some(slot) = self.free.last().copied() {
            if self.slots[usize::from(slot)].seq < u32::MAX {
                self.free.pop();
                return Some(slot);
            }
            self.free.pop();
        }
        let slot = u16::try_from(self.slots.len())
            .ok()
            .filter(|&slot| slot < self.limit)?;
        self.slots.push(Outgoing::default());
        Some(slot)
    }

    fn check_by(&mut self, at: Instant) {
        self.next_check = earliest(self.next_check, Some(at));
    }

    fn plan_query(&mut self, op: WireOp, at: Instant) {
        if let Some(call) = self.get(op) {
            call.query_at = Some(at);
            self.check_by(at);
        }
    }
}

impl Session {
    pub(crate) const fn op_key(&self, op: WireOp) -> OpKey {
        OpKey {
            session: self.key,
            slot: op.slot,
            seq: op.seq,
        }
    }

    /// Starts an operation.
    pub(crate) fn send(
        &mut self,
        request: &Request,
        events: &mut Events,
    ) -> Result<OpKey, SendError> {
        if !self.is_open() || self.role != Role::Client {
            return Err(SendError::Closed);
        }
        if request.one_way && request.len > ONE_WAY_MAX {
            return Err(SendError::TooLong);
        }
        let route = self.route(request.policy).ok_or(SendError::NoLane)?;
        let slot = self.calls.claim().ok_or(SendError::NoSlot)?;
        let wanted = request.len.min(u64::from(self.calls.unscheduled)) as u32;
        let unscheduled = if request.one_way {
            request.len as u32
        } else {
            self.calls.credit.use_for(wanted)
        };
        let call = &mut self.calls.slots[usize::from(slot)];
        call.seq += 1;
        call.busy = true;
        call.one_way = request.one_way;
        call.control = request.control;
        call.policy = request.policy;
        call.route = route;
        call.abandoned = false;
        call.meta = request.meta;
        call.len = request.len;
        call.reply_max = request.reply_max;
        call.unscheduled = unscheduled;
        call.flow.start(u64::from(unscheduled));
        call.flow.queued = true;
        call.cancel = None;
        call.deadline = request.deadline;
        call.query_at = None;
        call.queries = 0;
        call.reply = None;
        call.received.clear();
        let op = WireOp {
            slot,
            seq: call.seq,
        };
        let class = Class::of(call.control, u64::from(unscheduled));
        if let Some(deadline) = request.deadline {
            self.calls.check_by(deadline);
        }
        let left = u64::from(unscheduled);
        self.queue
            .push(route, class, Item::Request(op), left, false);
        let waits = matches!(request.policy, Policy::Exclusive { wait: true, .. });
        if !waits && self.is_cut_off(route) {
            self.abandon(op, Cause::Link, events);
        }
        Ok(self.op_key(op))
    }

    /// The program gives an operation up.
    pub(crate) fn cancel(&mut self, now: Instant, op: WireOp, cancel: Cancel, events: &mut Events) {
        let Some(call) = self.calls.get(op) else {
            return;
        };
        if call.cancel.is_some() {
            return;
        }
        call.cancel = Some(cancel);
        call.deadline = None;
        if !call.flow.started() {
            let charge = charge(call.unscheduled);
            self.calls.credit.refund(charge);
            let failure = Failure {
                cause: cancel.cause,
                delivery: Delivery::NotDone,
            };
            self.fail_call(op, failure, events);
            return;
        }
        if !call.flow.all_sent() {
            call.flow.abort();
        }
        let route = call.route;
        self.queue.control(route, Control::Cancel(op));
        if self.is_cut_off(route) {
            self.abandon(op, cancel.cause, events);
            return;
        }
        self.expect_answer(now);
        if !self.may_lose() {
            // Nothing tells that it has arrived, so the question about it follows anyway.
            self.cancel_arrived(now, op);
        }
    }

    /// Ends an operation: its slot is free, what was queued for it is forgotten.
    fn finish(&mut self, op: WireOp) {
        let Some(call) = self.calls.get(op) else {
            return;
        };
        call.busy = false;
        let queued = core::mem::take(&mut call.flow.queued);
        call.received.clear();
        self.calls.free.push(op.slot);
        if queued {
            self.queue.remove(Item::Request(op));
        }
        self.drop_servings(op);
    }

    /// Ends an operation and tells the program, unless it knows.
    fn end_call(&mut self, op: WireOp, event: Event, events: &mut Events) {
        let told = self.calls.get(op).is_some_and(|call| call.abandoned);
        self.finish(op);
        if !told {
            events.push_back(event);
        }
    }

    fn fail_call(&mut self, op: WireOp, failure: Failure, events: &mut Events) {
        let event = Event::Failed {
            op: self.op_key(op),
            failure,
        };
        self.end_call(op, event, events);
    }

    /// Ends all operations without an answer.
    pub(crate) fn fail_calls(&mut self, cause: Cause, events: &mut Events) {
        for slot in 0..self.calls.slots.len() {
            let call = &self.calls.slots[slot];
            if !call.busy {
                continue;
            }
            let op = WireOp {
                slot: slot as u16,
                seq: call.seq,
            };
            let done = if call.flow.all_sent() {
                Delivery::Unknown
            } else {
                Delivery::NotDone
            };
            self.fail_call(
                op,
                Failure {
                    cause,
                    delivery: done,
                },
                events,
            );
        }
    }

    pub(crate) fn request_arrived(
        &mut self,
        now: Instant,
        op: WireOp,
        offset: u64,
        len: u32,
        events: &mut Events,
    ) {
        let watch = self.may_lose();
        let Some(call) = self.calls.get(op) else {
            return;
        };
        if !call.flow.acked(offset, u64::from(len)) {
            return;
        }
        // A cancelled request may have been withdrawn before its last fragment came.
        if call.one_way && call.cancel.is_none() {
            self.end_one_way(op, events);
        } else if watch {
            call.queries = 0;
            self.calls.plan_query(op, now + QUERY_AFTER[0]);
        }
    }

    fn end_one_way(&mut self, op: WireOp, events: &mut Events) {
        let event = Event::Replied {
            op: self.op_key(op),
            status: 0,
            len: 0,
        };
        self.end_call(op, event, events);
    }

    pub(crate) fn request_lost(&mut self, op: WireOp, offset: u64, len: u32) {
        let Some(call) = self.calls.get(op).filter(|call| !call.abandoned) else {
            return;
        };
        call.flow.lost(offset, u64::from(len));
        self.queue_request(op);
    }

    fn queue_request(&mut self, op: WireOp) {
        if let Some(call) = self.calls.get(op)
            && call.flow.begin_queueing()
        {
            let left = call.flow.pending_bytes();
            let class = Class::of(call.control, left);
            let item = Item::Request(op);
            self.queue.push(call.route, class, item, left, true);
        }
    }

    pub(crate) fn cancel_arrived(&mut self, now: Instant, op: WireOp) {
        self.calls.plan_query(op, now + QUERY_CANCELLED);
    }

    pub(crate) fn cancel_lost(&mut self, op: WireOp) {
        if let Some(call) = self.calls.get(op) {
            self.queue.control(call.route, Control::Cancel(op));
        }
    }

    /// Takes a fragment of a reply.
    pub(crate) fn take_reply(
        &mut self,
        data: &Data<'_>,
        memory: &mut dyn Memory,
        events: &mut Events,
    ) -> Result<(), Violation> {
        let key = self.op_key(data.op);
        let Some(call) = self.calls.get(data.op) else {
            return Ok(());
        };
        let end = data.offset + data.bytes.len() as u64;
        if end > call.reply_max || call.received.pieces() > PIECES_MAX {
            return Err(Violation);
        }
        if let Head::Reply { total, status, .. } = data.head {
            if total > call.reply_max {
                return Err(Violation);
            }
            call.reply = Some(ReplyHead {
                total,
                status,
                refused: data.flags & REFUSED != 0,
            });
        }
        if !call.received.contains(data.offset, end) {
            if !call.abandoned {
                memory.store(Buffer::Reply(key), data.offset, data.bytes);
            }
            call.received.insert(data.offset, end);
        }
        let Some(reply) = call
            .reply
            .filter(|reply| call.received.contains(0, reply.total))
        else {
            return Ok(());
        };
        let event = if reply.refused {
            Event::Refused {
                op: key,
                errno: reply.status as u16,
            }
        } else {
            Event::Replied {
                op: key,
                status: reply.status,
                len: reply.total,
            }
        };
        self.end_call(data.op, event, events);
        Ok(())
    }

    /// Whether reply bytes have arrived: then no push can be new.
    pub(crate) fn reply_has_begun(&mut self, op: WireOp) -> bool {
        self.calls
            .get(op)
            .is_none_or(|call| call.reply.is_some() || !call.received.is_empty())
    }

    /// Takes the server's word on an operation.
    pub(crate) fn take_opstat(&mut self, op: WireOp, state: OpState, events: &mut Events) {
        let Some(call) = self.calls.get(op) else {
            return;
        };
        match state {
            OpState::Receiving | OpState::Executing => {}
            OpState::Unknown => {
                if call.cancel.is_none() {
                    call.flow.resend_all();
                    self.queue_request(op);
                } else {
                    self.queue.control(call.route, Control::Cancel(op));
                }
            }
            OpState::Gone if call.one_way => self.end_one_way(op, events),
            OpState::Gone => {
                let cause = call.cancel.map_or(Cause::Link, |cancel| cancel.cause);
                self.fail_call(
                    op,
                    Failure {
                        cause,
                        delivery: Delivery::Unknown,
                    },
                    events,
                );
            }
            OpState::Cancelled => {
                let cause = call.cancel.map_or(Cause::Protocol, |cancel| cancel.cause);
                self.fail_call(
                    op,
                    Failure {
                        cause,
                        delivery: Delivery::NotDone,
                    },
                    events,
                );
            }
        }
    }

    pub(crate) fn take_credit(&mut self, slots: u16, bytes: u64) {
        self.calls.limit = self.calls.limit.max(slots.min(crate::config::SLOTS_MAX));
        self.calls.credit.raise(bytes);
    }
}
