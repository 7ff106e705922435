//! The server's operations: received, executed by the program, answered.

mod answers;

use alloc::vec::Vec;

use abi::time::{Duration, Instant};

use crate::config::SLOTS_MAX;
use crate::credit::{Grant, charge};
use crate::event::{Buffer, Event, Gone, IncomingKey, Memory, Meta};
use crate::frame::{Data, Head, ONE_WAY, OpState, WireOp};
use crate::outflow::Outflow;
use crate::outgoing::{PIECES_MAX, ReplyHead};
use crate::policy::Route;
use crate::queue::{Class, Item};
use crate::ranges::RangeSet;
use crate::session::{Events, Session, Violation};

/// Least time between two repetitions of a reply that the client asks for.
const REPEAT_REPLY: Duration = Duration::from_millis(1);

/// What a server slot is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Never used.
    #[default]
    Idle,
    /// Fragments of the request are missing.
    Receiving,
    /// The program has it.
    Executing,
    /// The reply is on its way.
    Replying,
    /// Over; its buffers are released.
    Done,
    /// Cancelled before it was complete.
    Cancelled,
}

/// One slot of the server.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) seq: u32,
    pub(crate) phase: Phase,
    /// By which lanes all that concerns the operation goes.
    pub(crate) route: Route,
    pub(crate) one_way: bool,
    has_head: bool,
    stored: bool,
    unblocked: bool,
    /// The client has no bytes of the request any more, nor room for the reply.
    pub(crate) lost: bool,
    meta: Meta,
    pub(crate) len: u64,
    pub(crate) reply_max: u64,
    unscheduled: u32,
    charge: u32,
    received: RangeSet,
    /// The session's count of acknowledgements when the request was complete, and the time.
    pub(crate) whole_epoch: u64,
    pub(crate) whole_at: Instant,
    pub(crate) flow: Outflow,
    pub(crate) reply: Option<ReplyHead>,
    /// Lane index and packet of a reply that is not acknowledged by itself.
    pub(crate) quiet: Option<(usize, u64)>,
    repeat_after: Instant,
}

/// All operations of a server.
#[derive(Debug)]
pub(crate) struct Served {
    slots: Vec<Incoming>,
    limit: u16,
    unscheduled: u32,
    grant: Grant,
    /// A grant is to be announced.
    pub(crate) credit_due: bool,
    /// By which lanes it goes: those of the operation that made it due.
    pub(crate) credit_route: Route,
    /// Bytes of quiet replies that wait for their slots' reuse.
    pub(crate) cached: u64,
    /// Operations the program has.
    executing: usize,
}

/// How an operation in a frame relates to the slot's.
enum Age {
    Old,
    Same,
    New,
}

impl Incoming {
    /// The head of the reply's next fragment.
    pub(crate) fn reply_head(&self, now: Instant, reply: ReplyHead) -> Head {
        if !self.flow.at_head() {
            return Head::None;
        }
        let ReplyHead { total, status, .. } = reply;
        let worked = now.saturating_since(self.whole_at).as_micros();
        let worked = u32::try_from(worked).unwrap_or(u32::MAX);
        Head::Reply {
            total,
            status,
            worked,
        }
    }
}

impl Served {
    pub(crate) const fn new(limit: u16, unscheduled: u32, credit: u64) -> Self {
        Self {
            slots: Vec::new(),
            limit,
            unscheduled,
            grant: Grant::new(credit),
            credit_due: false,
            credit_route: Route::Any,
            cached: 0,
            executing: 0,
        }
    }

    pub(crate) const fn limit(&self) -> u16 {
        self.limit
    }

    pub(crate) const fn announce(&mut self) -> u64 {
        self.grant.announce()
    }

    /// Unscheduled bytes held for clients.
    pub(crate) const fn held(&self) -> u64 {
        self.grant.held()
    }

    /// Operations the program has.
    pub(crate) const fn executing(&self) -> usize {
        self.executing
    }

    pub(crate) fn get(&mut self, op: WireOp) -> Option<&mut Incoming> {
        self.slots
            .get_mut(usize::from(op.slot))
            .filter(|incoming| incoming.seq == op.seq)
    }

    /// The operation, if the program has it and has not answered it.
    pub(crate) fn executing_op(&mut self, op: WireOp) -> Result<&mut Incoming, Gone> {
        self.get(op)
            .filter(|incoming| incoming.phase == Phase::Executing)
            .ok_or(Gone)
    }

    fn age(&mut self, op: WireOp) -> Result<Age, Violation> {
        if op.slot >= self.limit.min(SLOTS_MAX) {
            return Err(Violation);
        }
        let slot = usize::from(op.slot);
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, Incoming::default);
        }
        Ok(match op.seq.cmp(&self.slots[slot].seq) {
            core::cmp::Ordering::Less => Age::Old,
            core::cmp::Ordering::Equal => Age::Same,
            core::cmp::Ordering::Greater => Age::New,
        })
    }

    /// The program does not need the request's unscheduled bytes any more.
    fn free_charge(&mut self, op: WireOp) {
        if let Some(incoming) = self.get(op) {
            let charge = core::mem::take(&mut incoming.charge);
            let route = incoming.route;
            if self.grant.free(charge) {
                self.credit_due = true;
                self.credit_route = route;
            }
        }
    }
}

impl Session {
    pub(crate) const fn incoming_key(&self, op: WireOp) -> IncomingKey {
        IncomingKey {
            session: self.key,
            slot: op.slot,
            seq: op.seq,
        }
    }

    /// Takes a fragment of a request.
    pub(crate) fn take_request(
        &mut self,
        now: Instant,
        data: &Data<'_>,
        memory: &mut dyn Memory,
        events: &mut Events,
    ) -> Result<(), Violation> {
        let op = data.op;
        match self.served.age(op)? {
            Age::Old => return Ok(()),
            Age::New => {
                self.begin(op, data.unscheduled, events)?;
            }
            Age::Same => {
                if self.served.slots[usize::from(op.slot)].phase != Phase::Receiving {
                    self.repeat_answer(now, op);
                    return Ok(());
                }
            }
        }
        let key = self.incoming_key(op);
        let policy = data.head.policy();
        let route = self.route(policy).ok_or(Violation)?;
        let incoming = &mut self.served.slots[usize::from(op.slot)];
        let end = data.offset + data.bytes.len() as u64;
        if data.unscheduled != incoming.unscheduled
            || end > u64::from(incoming.unscheduled)
            || incoming.received.pieces() > PIECES_MAX
        {
            return Err(Violation);
        }
        if let Head::Request {
            total,
            reply_max,
            meta,
            ..
        } = data.head
        {
            if total < u64::from(incoming.unscheduled) {
                return Err(Violation);
            }
            incoming.has_head = true;
            incoming.route = route;
            incoming.len = total;
            incoming.reply_max = reply_max;
            incoming.meta = meta;
            incoming.one_way = data.flags & ONE_WAY != 0;
        }
        if !incoming.received.contains(data.offset, end) {
            memory.store(Buffer::Incoming(key), data.offset, data.bytes);
            incoming.stored = true;
            incoming.received.insert(data.offset, end);
        }
        if incoming.has_head
            && incoming
                .received
                .contains(0, u64::from(incoming.unscheduled))
        {
            self.announce(now, op, events);
        }
        Ok(())
    }

    /// A slot's next operation begins; it shows that the client has the previous reply.
    fn begin(
        &mut self,
        op: WireOp,
        unscheduled: u32,
        events: &mut Events,
    ) -> Result<(), Violation> {
        let previous = &self.served.slots[usize::from(op.slot)];
        match previous.phase {
            Phase::Receiving | Phase::Executing => return Err(Violation),
            Phase::Replying => self.release(
                WireOp {
                    slot: op.slot,
                    seq: previous.seq,
                },
                events,
            ),
            Phase::Idle | Phase::Done | Phase::Cancelled => {}
        }
        let charge = charge(unscheduled);
        if unscheduled > self.served.unscheduled.max(crate::config::CREDIT_FREE) {
            return Err(Violation);
        }
        self.served.grant.take(charge).ok_or(Violation)?;
        let incoming = &mut self.served.slots[usize::from(op.slot)];
        incoming.seq = op.seq;
        incoming.phase = Phase::Receiving;
        incoming.route = self.arrived;
        incoming.has_head = false;
        incoming.stored = false;
        incoming.unblocked = false;
        incoming.lost = false;
        incoming.unscheduled = unscheduled;
        incoming.charge = charge;
        incoming.received.clear();
        incoming.reply = None;
        incoming.quiet = None;
        Ok(())
    }

    /// The unscheduled part is complete: the program gets the request.
    fn announce(&mut self, now: Instant, op: WireOp, events: &mut Events) {
        let incoming = &mut self.served.slots[usize::from(op.slot)];
        incoming.whole_epoch = self.ack_epoch;
        incoming.whole_at = now;
        incoming.phase = if incoming.one_way {
            Phase::Done
        } else {
            Phase::Executing
        };
        let one_way = incoming.one_way;
        events.push_back(Event::Request {
            incoming: IncomingKey {
                session: self.key,
                slot: op.slot,
                seq: op.seq,
            },
            session: self.key,
            meta: incoming.meta,
            len: incoming.len,
            available: u64::from(incoming.unscheduled),
            reply_max: incoming.reply_max,
            one_way,
        });
        if one_way {
            self.served.free_charge(op);
        } else {
            self.served.executing += 1;
        }
    }

    /// A request has come once more: the client does not have the answer.
    fn repeat_answer(&mut self, now: Instant, op: WireOp) {
        let Some(incoming) = self.served.get(op) else {
            return;
        };
        match incoming.phase {
            Phase::Replying if incoming.repeat_after <= now => {
                incoming.repeat_after = now + REPEAT_REPLY;
                incoming.flow.resend_unacked();
                self.raise_voice(op);
                self.queue_reply(op, true);
            }
            Phase::Cancelled => self.state_op(op, OpState::Cancelled),
            _ => {}
        }
    }

    /// The program answers.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        op: WireOp,
        head: ReplyHead,
        events: &mut Events,
    ) -> Result<(), Gone> {
        let incoming = self.served.executing_op(op)?;
        let total = head.total.min(incoming.reply_max);
        incoming.phase = Phase::Replying;
        incoming.reply = Some(ReplyHead { total, ..head });
        incoming.flow.start(total);
        incoming.flow.queued = false;
        incoming.repeat_after = now + REPEAT_REPLY;
        self.served.executing -= 1;
        self.served.free_charge(op);
        self.fail_transfers_of(op, events);
        self.queue_reply(op, false);
        Ok(())
    }

    fn queue_reply(&mut self, op: WireOp, again: bool) {
        if let Some(incoming) = self.served.get(op)
            && incoming.flow.begin_queueing()
        {
            let left = incoming.flow.pending_bytes();
            let class = Class::of(false, left);
            let item = Item::Reply(op);
            self.queue.push(incoming.route, class, item, left, again);
        }
    }

    pub(crate) fn reply_arrived(&mut self, op: WireOp, offset: u64, len: u32, events: &mut Events) {
        if let Some(incoming) = self.served.get(op)
            && incoming.phase == Phase::Replying
            && incoming.flow.acked(offset, u64::from(len))
        {
            self.release(op, events);
        }
    }

    pub(crate) fn reply_lost(&mut self, op: WireOp, offset: u64, len: u32) {
        if let Some(incoming) = self.served.get(op)
            && incoming.phase == Phase::Replying
        {
            incoming.flow.lost(offset, u64::from(len));
            self.raise_voice(op);
            self.queue_reply(op, true);
        }
    }

    /// A reply is not quiet any more.
    fn raise_voice(&mut self, op: WireOp) {
        if let Some((lane, pn)) = self.end_quiet(op) {
            self.lanes[lane].flight.forget_quiet(pn);
        }
    }

    /// The lane and packet in which a reply went quietly, if it did.
    fn end_quiet(&mut self, op: WireOp) -> Option<(usize, u64)> {
        let incoming = self.served.get(op)?;
        let quiet = incoming.quiet.take()?;
        let total = incoming.reply.map_or(0, |reply| reply.total);
        self.served.cached = self.served.cached.saturating_sub(total);
        Some(quiet)
    }

    /// The client has the reply.
    fn release(&mut self, op: WireOp, events: &mut Events) {
        let Some(incoming) = self.served.get(op) else {
            return;
        };
        incoming.phase = Phase::Done;
        let queued = core::mem::take(&mut incoming.flow.queued);
        if let Some((lane, pn)) = self.end_quiet(op) {
            self.lanes[lane].flight.confirm(pn);
        }
        if queued {
            self.queue.remove(Item::Reply(op));
        }
        events.push_back(Event::Released {
            incoming: self.incoming_key(op),
        });
    }

    /// The session is over: the program forgets all operations and buffers.
    pub(crate) fn withdraw_all(&mut self, events: &mut Events) {
        for slot in 0..self.served.slots.len() {
            let incoming = &mut self.served.slots[slot];
            let op = WireOp {
                slot: slot as u16,
                seq: incoming.seq,
            };
            let phase = core::mem::replace(&mut incoming.phase, Phase::Done);
            let stored = incoming.stored;
            let incoming = self.incoming_key(op);
            match phase {
                Phase::Executing => events.push_back(Event::Withdrawn { incoming }),
                Phase::Receiving if stored => events.push_back(Event::Withdrawn { incoming }),
                Phase::Replying => events.push_back(Event::Released { incoming }),
                _ => {}
            }
        }
        self.served.executing = 0;
    }
}
