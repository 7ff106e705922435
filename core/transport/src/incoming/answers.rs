//! Questions about operations, and operations that are given up.

use abi::time::Instant;

use super::{Age, Phase};
use crate::config::REASON_LOST;
use crate::event::Event;
use crate::frame::{OpState, WireOp};
use crate::queue::Control;
use crate::session::{Events, Session, Violation};

impl Session {
    /// Says what has become of an operation, by the lanes it may use; of one that is not known, by
    /// the lane on which the question came.
    pub(super) fn state_op(&mut self, op: WireOp, state: OpState) {
        let known = self.served.get(op).map(|incoming| incoming.route);
        let route = known.unwrap_or(self.arrived);
        self.queue.control(route, Control::OpStat(op, state));
    }

    /// The client asks what has become of an operation.
    pub(crate) fn take_query(&mut self, now: Instant, op: WireOp) -> Result<(), Violation> {
        let state = match self.served.age(op)? {
            Age::Old => return Ok(()),
            Age::New => OpState::Unknown,
            Age::Same => match self.served.slots[usize::from(op.slot)].phase {
                Phase::Receiving => OpState::Receiving,
                Phase::Executing => OpState::Executing,
                Phase::Done => OpState::Gone,
                Phase::Cancelled => OpState::Cancelled,
                Phase::Idle => OpState::Unknown,
                Phase::Replying => {
                    self.repeat_answer(now, op);
                    return Ok(());
                }
            },
        };
        self.state_op(op, state);
        Ok(())
    }

    /// The client gives an operation up.
    pub(crate) fn take_cancel(
        &mut self,
        now: Instant,
        op: WireOp,
        (reason, charge): (u8, u32),
        events: &mut Events,
    ) -> Result<(), Violation> {
        let key = self.incoming_key(op);
        match self.served.age(op)? {
            Age::Old => return Ok(()),
            Age::New => {
                self.begin(op, charge, events)?;
                self.withdraw(op, events);
            }
            Age::Same => {
                let incoming = &mut self.served.slots[usize::from(op.slot)];
                match incoming.phase {
                    Phase::Receiving => self.withdraw(op, events),
                    Phase::Executing => {
                        let told = core::mem::replace(&mut incoming.unblocked, true);
                        if !told {
                            events.push_back(Event::Unblock {
                                incoming: key,
                                reason,
                            });
                        }
                        if reason == REASON_LOST {
                            incoming.lost = true;
                            self.fail_transfers_of(op, events);
                        }
                    }
                    Phase::Done => self.state_op(op, OpState::Gone),
                    _ => self.repeat_answer(now, op),
                }
            }
        }
        Ok(())
    }

    /// Forgets an operation of which not all has arrived, and says so.
    fn withdraw(&mut self, op: WireOp, events: &mut Events) {
        let key = self.incoming_key(op);
        if let Some(incoming) = self.served.get(op) {
            incoming.phase = Phase::Cancelled;
            incoming.received.clear();
            if incoming.stored {
                events.push_back(Event::Withdrawn { incoming: key });
            }
        }
        self.served.free_charge(op);
        self.state_op(op, OpState::Cancelled);
    }
}
