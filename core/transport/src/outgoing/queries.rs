//! Operations that are due: deadlines, and questions whether the server has them.

use abi::time::Instant;

use super::{Cancel, QUERY_AFTER};
use crate::config::REASON_DEADLINE;
use crate::event::Cause;
use crate::frame::WireOp;
use crate::lane::earliest;
use crate::queue::Control;
use crate::session::{Events, Session};

impl Session {
    /// Deadlines and questions that are due.
    pub(crate) fn check_operations(&mut self, now: Instant, events: &mut Events) {
        if self.calls.next_check.is_none_or(|at| at > now) {
            return;
        }
        self.calls.next_check = None;
        for slot in 0..self.calls.slots.len() {
            let call = &mut self.calls.slots[slot];
            if !call.busy {
                continue;
            }
            let op = WireOp {
                slot: slot as u16,
                seq: call.seq,
            };
            if call.deadline.is_some_and(|deadline| deadline <= now) {
                let cancel = Cancel {
                    reason: REASON_DEADLINE,
                    cause: Cause::TimedOut,
                };
                self.cancel(now, op, cancel, events);
            }
            self.query_if_due(now, op);
        }
    }

    fn query_if_due(&mut self, now: Instant, op: WireOp) {
        let Some(call) = self.calls.get(op) else {
            return;
        };
        if call.query_at.is_some_and(|at| at <= now) {
            let wait = QUERY_AFTER[call.queries.min(QUERY_AFTER.len() - 1)];
            call.queries += 1;
            call.query_at = Some(now + wait);
            let route = call.route;
            self.queue.control(route, Control::Query(op));
            self.expect_answer(now);
        }
        let next = self
            .calls
            .get(op)
            .and_then(|call| earliest(call.deadline, call.query_at));
        if let Some(at) = next {
            self.calls.check_by(at);
        }
    }

    /// What was sent on a lane that has failed may never have arrived: ask for all of it.
    pub(crate) fn query_all(&mut self, now: Instant) {
        for slot in 0..self.calls.slots.len() {
            let call = &self.calls.slots[slot];
            if call.busy && call.flow.started() {
                self.calls.plan_query(
                    WireOp {
                        slot: slot as u16,
                        seq: call.seq,
                    },
                    now,
                );
            }
        }
    }
}
