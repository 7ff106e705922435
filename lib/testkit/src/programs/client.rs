//! A program that asks.

use std::collections::BTreeMap;

use abi::time::{Duration, Instant};
use transport::{Buffer, Event, Failure, Meta, OpKey, Policy, Request, SendError, SessionKey};

use super::{Checked, Later, Wishes, any_magnitude, size};
use crate::checkers::{Finding, Kind};
use crate::plan::Plan;
use crate::process::Process;
use crate::random::Random;
use crate::reference::{Content, End, Reference, bytes};

/// A client's program.
#[derive(Debug, Default)]
pub struct Client {
    ops: BTreeMap<OpKey, u64>,
    asked: usize,
}

impl Client {
    /// Whether it will ask for nothing more.
    #[must_use]
    pub const fn is_done(&self, plan: &Plan) -> bool {
        self.asked >= plan.operations
    }

    /// Asks for operations until enough are outstanding.
    pub fn tick(
        &mut self,
        (me, now): (usize, Instant),
        process: &mut Process,
        sessions: &[(SessionKey, u8)],
        (plan, reference): (&Plan, &mut Reference),
        random: &mut Random,
    ) -> Wishes {
        let mut wishes = Vec::new();
        while self.ops.len() < plan.concurrency && !self.is_done(plan) && !sessions.is_empty() {
            let (session, lanes) = sessions[random.below(sessions.len() as u64) as usize];
            let one_way = random.chance(100);
            let len = if one_way {
                random.below(1025)
            } else {
                size(plan, random)
            };
            let reply_max = if one_way { 0 } else { size(plan, random) };
            let mut meta = reference.next_id().to_le_bytes().to_vec();
            meta.resize(8 + random.below(41) as usize, 7);
            let meta = Meta::new(&meta).unwrap_or_default();
            let mut request = Request::new(meta, len, reply_max);
            request.one_way = one_way;
            request.control = random.chance(50);
            if random.chance(100) {
                request.deadline = Some(now + Duration::from_millis(random.below(2000)));
            }
            request.policy = policy(plan, lanes, random);
            let op = match process.transport.send(now, session, request) {
                Ok(op) => op,
                // It named one lane more than there are.
                Err(SendError::NoLane) if request.policy.lane() == Some(lanes) => continue,
                Err(_) => break,
            };
            self.asked += 1;
            let id = reference.asked(me, len, reply_max, one_way, request.policy);
            process
                .memory
                .give(Buffer::Request(op), bytes(Content::Request, id, 0, len));
            process
                .memory
                .give(Buffer::Reply(op), vec![0; reply_max as usize]);
            self.ops.insert(op, id);
            if random.chance(100) {
                let limit = any_magnitude(random, 3_000_000);
                let after = random.below(limit);
                wishes.push((Duration::from_micros(after), Later::Cancel(op)));
            }
        }
        wishes
    }

    /// Takes an event.
    ///
    /// # Errors
    /// A finding if it must not have happened.
    pub fn event(
        &mut self,
        event: Event,
        process: &mut Process,
        reference: &mut Reference,
    ) -> Checked {
        match event {
            Event::Replied { op, status, len } => {
                self.end(op, End::Replied { status, len }, process, reference)
            }
            Event::Refused { op, errno } => {
                self.end(op, End::Refused { errno }, process, reference)
            }
            Event::Failed { op, failure } => self.fail(op, failure, process, reference),
            Event::Closed { .. } | Event::LaneChanged { .. } => Ok(()),
            other => Err(Finding::new(Kind::Wrong, format!("a client got {other:?}"))),
        }
    }

    fn fail(
        &mut self,
        op: OpKey,
        failure: Failure,
        process: &mut Process,
        reference: &mut Reference,
    ) -> Checked {
        self.end(op, End::Failed(failure), process, reference)
    }

    fn end(
        &mut self,
        op: OpKey,
        end: End,
        process: &mut Process,
        reference: &mut Reference,
    ) -> Checked {
        let Some(id) = self.ops.remove(&op) else {
            return Err(Finding::new(
                Kind::Wrong,
                format!("{op:?} ended and was not open"),
            ));
        };
        process.memory.take(Buffer::Request(op));
        let reply = process.memory.take(Buffer::Reply(op)).unwrap_or_default();
        reference.ended(id, end)?;
        let (End::Replied { len, .. }, Some(operation)) = (end, reference.get(id)) else {
            return Ok(());
        };
        let mut expected = bytes(Content::Reply, id, 0, len);
        expected.resize(reply.len(), 0);
        for &(start, count) in &operation.pushed {
            for at in start.max(len)..start + count {
                expected[at as usize] = crate::reference::byte(Content::Push, id, at);
            }
        }
        // Bytes of a push that the server gave up may be there or not.
        let wrong = (0..reply.len()).find(|&at| {
            let pushed = reply[at] == crate::reference::byte(Content::Push, id, at as u64);
            reply[at] != expected[at] && (at < len as usize || !pushed)
        });
        match wrong {
            None => Ok(()),
            Some(at) => {
                let text = format!("operation {id}: byte {at} of the reply is wrong");
                Err(Finding::new(Kind::Wrong, text))
            }
        }
    }
}

/// Any policy, of which some name a lane that is not there.
fn policy(plan: &Plan, lanes: u8, random: &mut Random) -> Policy {
    if plan.terrain.policies == 0 || !random.chance(plan.terrain.policies) {
        return Policy::LoadBalance;
    }
    let lane = random.below(u64::from(lanes) + 1) as u8;
    match random.below(3) {
        0 => Policy::Preferred(lane),
        wait => Policy::Exclusive {
            lane,
            wait: wait == 1,
        },
    }
}
