//! Operations whose only lane is down: the program hears of it, the slot waits for the server.

use crate::config::REASON_LOST;
use crate::event::{Cause, Delivery, Failure};
use crate::frame::WireOp;
use crate::lanes::DOWN_AFTER;
use crate::policy::{Policy, Route};
use crate::queue::{Control, Item};
use crate::session::{Events, Session};
use crate::summary::LaneState;

use super::Cancel;

impl Session {
    /// Whether a route has only one lane and that is down.
    pub(crate) fn is_cut_off(&self, route: Route) -> bool {
        route.bound_to().is_some_and(|lane| {
            let lane = &self.lanes[lane];
            lane.state == LaneState::Down || lane.pto_count >= DOWN_AFTER
        })
    }

    /// Ends the operations that may use only this lane, which is down, unless they wait for it.
    pub(crate) fn fail_bound(&mut self, index: usize, events: &mut Events) {
        for slot in 0..self.calls.slots.len() {
            let call = &self.calls.slots[slot];
            if !call.busy || call.abandoned || call.route.bound_to() != Some(index) {
                continue;
            }
            let waits = matches!(call.policy, Policy::Exclusive { wait: true, .. });
            let cause = match call.cancel {
                Some(cancel) => cancel.cause,
                None if waits => continue,
                None => Cause::Link,
            };
            let op = WireOp {
                slot: slot as u16,
                seq: call.seq,
            };
            self.abandon(op, cause, events);
        }
    }

    /// Tells the program that an operation has failed. A server that may have it is asked to give
    /// it up when its lane is back; until then the slot is not used again.
    pub(crate) fn abandon(&mut self, op: WireOp, cause: Cause, events: &mut Events) {
        let Some(call) = self.calls.get(op) else {
            return;
        };
        let delivery = if call.flow.all_sent() {
            Delivery::Unknown
        } else {
            Delivery::NotDone
        };
        let failure = Failure { cause, delivery };
        if !call.flow.started() {
            let charge = crate::credit::charge(call.unscheduled);
            self.calls.credit.refund(charge);
            self.fail_call(op, failure, events);
            return;
        }
        let route = call.route;
        let reason = REASON_LOST;
        call.cancel = Some(Cancel { reason, cause });
        call.deadline = None;
        call.flow.abort();
        let queued = core::mem::take(&mut call.flow.queued);
        call.abandoned = true;
        events.push_back(crate::Event::Failed {
            op: self.op_key(op),
            failure,
        });
        if queued {
            self.queue.remove(Item::Request(op));
        }
        self.drop_servings(op);
        self.queue.control(route, Control::Cancel(op));
    }
}
