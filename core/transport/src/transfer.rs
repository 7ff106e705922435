//! Bytes that move while an operation is executed: pulls of the request, pushes into the reply.

use alloc::collections::BTreeMap;

use crate::event::{Buffer, Event, Gone, Memory, TransferKey};
use crate::frame::WireOp;
use crate::outflow::Outflow;
use crate::outgoing::PIECES_MAX;
use crate::policy::Route;
use crate::queue::{Class, Control, Item};
use crate::ranges::RangeSet;
use crate::session::{Events, Session, Violation};

/// Most transfers of a session at once.
const TRANSFERS_MAX: usize = 4096;

/// A transfer at the server.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) op: WireOp,
    pub(crate) route: Route,
    /// Where it starts in the request (pull) or in the room for the reply (push).
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) way: Way,
}

/// Which way the bytes go.
#[derive(Debug)]
pub(crate) enum Way {
    /// From the client; what has arrived, relative to the start.
    Pull(RangeSet),
    /// To the client.
    Push(Outflow),
}

/// A pull at the client.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) op: WireOp,
    pub(crate) route: Route,
    pub(crate) start: u64,
    pub(crate) flow: Outflow,
}

/// A push at the client.
#[derive(Debug)]
struct Writing {
    op: WireOp,
    received: RangeSet,
}

/// All transfers of a session.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    next: u32,
    own: BTreeMap<u32, Transfer>,
    pub(crate) servings: BTreeMap<u32, Serving>,
    writings: BTreeMap<u32, Writing>,
    /// Ids of the peer's transfers that were seen.
    seen: RangeSet,
}

impl Transfers {
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.servings.is_empty()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Transfer> {
        self.own.get(&id)
    }

    pub(crate) fn get_push(&mut self, id: u32) -> Option<(&mut Outflow, WireOp, u64, u64)> {
        let transfer = self.own.get_mut(&id)?;
        match &mut transfer.way {
            Way::Push(flow) => Some((flow, transfer.op, transfer.start, transfer.len)),
            Way::Pull(_) => None,
        }
    }

    /// Notes the id of a transfer of the peer. Answers whether it is new.
    fn is_new(&mut self, id: u32) -> bool {
        let id = u64::from(id);
        let new = !self.seen.contains(id, id + 1);
        self.seen.insert(id, id + 1);
        new
    }
}

impl Session {
    pub(crate) const fn transfer_key(&self, id: u32) -> TransferKey {
        TransferKey {
            session: self.key,
            id,
        }
    }

    fn start_transfer(&mut self, transfer: Transfer, events: &mut Events) -> Result<u32, Gone> {
        if self.transfers.own.len() >= TRANSFERS_MAX || self.transfers.next == u32::MAX {
            return Err(Gone);
        }
        let id = self.transfers.next;
        self.transfers.next += 1;
        if transfer.len == 0 {
            events.push_back(Event::Transferred {
                transfer: self.transfer_key(id),
            });
        } else {
            self.transfers.own.insert(id, transfer);
        }
        Ok(id)
    }

    /// The program wants bytes of a request.
    pub(crate) fn pull(
        &mut self,
        op: WireOp,
        start: u64,
        len: u64,
        events: &mut Events,
    ) -> Result<TransferKey, Gone> {
        let incoming = self.served.executing_op(op)?;
        let (limit, route, lost) = (incoming.len, incoming.route, incoming.lost);
        let (start, len) = cut(start, len, limit);
        let way = Way::Pull(RangeSet::new());
        let id = self.start_transfer(
            Transfer {
                op,
                route,
                start,
                len,
                way,
            },
            events,
        )?;
        if lost {
            self.fail_transfers_of(op, events);
        } else if len > 0 {
            self.queue.control(route, Control::Pull(id));
        }
        Ok(self.transfer_key(id))
    }

    /// The program writes into the client's room for the reply.
    pub(crate) fn push(
        &mut self,
        op: WireOp,
        start: u64,
        len: u64,
        events: &mut Events,
    ) -> Result<TransferKey, Gone> {
        let incoming = self.served.executing_op(op)?;
        let (limit, route, lost) = (incoming.reply_max, incoming.route, incoming.lost);
        let (start, len) = cut(start, len, limit);
        let mut flow = Outflow::default();
        flow.start(len);
        let id = self.start_transfer(
            Transfer {
                op,
                route,
                start,
                len,
                way: Way::Push(flow),
            },
            events,
        )?;
        if lost {
            self.fail_transfers_of(op, events);
        } else {
            self.queue_push(id, false);
        }
        Ok(self.transfer_key(id))
    }

    fn queue_push(&mut self, id: u32, again: bool) {
        let route = self.transfers.get(id).map(|transfer| transfer.route);
        if let Some((flow, ..)) = self.transfers.get_push(id)
            && let Some(route) = route
            && flow.begin_queueing()
        {
            let left = flow.pending_bytes();
            let class = Class::of(false, left);
            self.queue.push(route, class, Item::Push(id), left, again);
        }
    }

    pub(crate) fn pushed_arrived(&mut self, id: u32, offset: u64, len: u32, events: &mut Events) {
        if let Some((flow, ..)) = self.transfers.get_push(id)
            && flow.acked(offset, u64::from(len))
        {
            let queued = flow.queued;
            self.transfers.own.remove(&id);
            if queued {
                self.queue.remove(Item::Push(id));
            }
            events.push_back(Event::Transferred {
                transfer: self.transfer_key(id),
            });
        }
    }

    pub(crate) fn pushed_lost(&mut self, id: u32, offset: u64, len: u32) {
        if let Some((flow, ..)) = self.transfers.get_push(id) {
            flow.lost(offset, u64::from(len));
            self.queue_push(id, true);
        }
    }

    pub(crate) fn pull_lost(&mut self, id: u32) {
        if let Some(transfer) = self.transfers.own.get(&id) {
            self.queue.control(transfer.route, Control::Pull(id));
        }
    }

    /// The server takes pulled bytes.
    pub(crate) fn take_pulled(
        &mut self,
        op: WireOp,
        id: u32,
        (offset, bytes): (u64, &[u8]),
        memory: &mut dyn Memory,
        events: &mut Events,
    ) -> Result<(), Violation> {
        let key = self.transfer_key(id);
        let Some(Transfer {
            op: asked,
            start,
            len,
            way: Way::Pull(received),
            ..
        }) = self.transfers.own.get_mut(&id)
        else {
            return Ok(());
        };
        let from = offset.checked_sub(*start).ok_or(Violation)?;
        let end = from + bytes.len() as u64;
        if *asked != op || end > *len || received.pieces() > PIECES_MAX {
            return Err(Violation);
        }
        if !received.contains(from, end) {
            memory.store(Buffer::Transfer(key), from, bytes);
            received.insert(from, end);
        }
        if received.contains(0, *len) {
            self.transfers.own.remove(&id);
            events.push_back(Event::Transferred { transfer: key });
        }
        Ok(())
    }

    /// The operation is answered: its transfers are moot.
    pub(crate) fn fail_transfers_of(&mut self, op: WireOp, events: &mut Events) {
        if self.transfers.own.is_empty() {
            return;
        }
        let ids = self.transfers.own.iter().filter(|(_, t)| t.op == op);
        let ids: alloc::vec::Vec<u32> = ids.map(|(id, _)| *id).collect();
        for id in ids {
            self.transfers.own.remove(&id);
            self.queue.remove(Item::Push(id));
            events.push_back(Event::TransferFailed {
                transfer: self.transfer_key(id),
            });
        }
    }

    /// The session is over.
    pub(crate) fn fail_transfers(&mut self, events: &mut Events) {
        for id in core::mem::take(&mut self.transfers.own).into_keys() {
            events.push_back(Event::TransferFailed {
                transfer: self.transfer_key(id),
            });
        }
        self.transfers.servings.clear();
        self.transfers.writings.clear();
    }

    /// The client is asked for bytes of a request.
    pub(crate) fn take_pull(
        &mut self,
        op: WireOp,
        id: u32,
        start: u64,
        len: u64,
    ) -> Result<(), Violation> {
        let Some(call) = self.calls.get(op).filter(|call| !call.abandoned) else {
            return Ok(());
        };
        let route = call.route;
        if start + len > call.len || self.transfers.servings.len() >= TRANSFERS_MAX {
            return Err(Violation);
        }
        if len == 0 || !self.transfers.is_new(id) {
            return Ok(());
        }
        if self.transfers.seen.pieces() > PIECES_MAX {
            return Err(Violation);
        }
        let mut flow = Outflow::default();
        flow.start(len);
        let serving = Serving {
            op,
            route,
            start,
            flow,
        };
        self.transfers.servings.insert(id, serving);
        self.queue_serving(id, false);
        Ok(())
    }

    fn queue_serving(&mut self, id: u32, again: bool) {
        if let Some(Serving { flow, route, .. }) = self.transfers.servings.get_mut(&id)
            && flow.begin_queueing()
        {
            let left = flow.pending_bytes();
            let class = Class::of(false, left);
            self.queue
                .push(*route, class, Item::Serving(id), left, again);
        }
    }

    pub(crate) fn pulled_arrived(&mut self, id: u32, offset: u64, len: u32) {
        if let Some(serving) = self.transfers.servings.get_mut(&id)
            && serving.flow.acked(offset, u64::from(len))
        {
            if serving.flow.queued {
                self.queue.remove(Item::Serving(id));
            }
            self.transfers.servings.remove(&id);
        }
    }

    pub(crate) fn pulled_lost(&mut self, id: u32, offset: u64, len: u32) {
        if let Some(serving) = self.transfers.servings.get_mut(&id) {
            serving.flow.lost(offset, u64::from(len));
            self.queue_serving(id, true);
        }
    }

    /// The client's operation has ended: nobody needs its bytes.
    pub(crate) fn drop_servings(&mut self, op: WireOp) {
        if !self.transfers.servings.is_empty() {
            let Self {
                transfers, queue, ..
            } = self;
            transfers.servings.retain(|id, serving| {
                if serving.op == op && serving.flow.queued {
                    queue.remove(Item::Serving(*id));
                }
                serving.op != op
            });
        }
        if !self.transfers.writings.is_empty() {
            self.transfers
                .writings
                .retain(|_, writing| writing.op != op);
        }
    }

    /// The client takes bytes that the server writes into the room for the reply.
    ///
    /// A fragment that was overtaken by its own repetition must not overwrite what came after the
    /// push: what was received once is not stored again.
    pub(crate) fn take_pushed(
        &mut self,
        (op, id): (WireOp, u32),
        (start, total): (u64, u64),
        (offset, bytes): (u64, &[u8]),
        memory: &mut dyn Memory,
    ) -> Result<(), Violation> {
        if self.reply_has_begun(op) {
            return Ok(());
        }
        let Some(call) = self.calls.get(op).filter(|call| !call.abandoned) else {
            return Ok(());
        };
        if start + total > call.reply_max || self.transfers.writings.len() >= TRANSFERS_MAX {
            return Err(Violation);
        }
        if self.transfers.is_new(id) {
            self.transfers.writings.insert(
                id,
                Writing {
                    op,
                    received: RangeSet::new(),
                },
            );
        }
        let key = self.op_key(op);
        let Some(writing) = self.transfers.writings.get_mut(&id) else {
            return Ok(());
        };
        let end = offset + bytes.len() as u64;
        if writing.op != op || writing.received.pieces() > PIECES_MAX {
            return Err(Violation);
        }
        if !writing.received.contains(offset, end) {
            memory.store(Buffer::Reply(key), start + offset, bytes);
            writing.received.insert(offset, end);
        }
        if writing.received.contains(0, total) {
            self.transfers.writings.remove(&id);
        }
        Ok(())
    }
}

/// The part of `start..start + len` below `limit`, as start and length.
fn cut(start: u64, len: u64, limit: u64) -> (u64, u64) {
    let start = start.min(limit);
    (start, len.min(limit - start))
}
