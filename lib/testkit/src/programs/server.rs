//! A program that works and answers.

use std::collections::{BTreeMap, VecDeque};

use abi::time::{Duration, Instant};
use transport::{Buffer, Event, IncomingKey, TransferKey};

use super::{Checked, Later, Wishes, any_magnitude};
use crate::checkers::{Finding, Kind};
use crate::plan::Plan;
use crate::process::Process;
use crate::random::Random;
use crate::reference::{Answer, Content, Reference, bytes};

/// A step of a server's work.
#[derive(Clone, Copy, Debug)]
enum Step {
    Think(Duration),
    Pull(u64, u64),
    Push(u64, u64),
    Answer,
}

#[derive(Debug)]
struct Job {
    id: u64,
    steps: VecDeque<Step>,
    transfer: Option<(TransferKey, Step)>,
    len: u64,
    reply_max: u64,
}

/// A server's program.
#[derive(Debug, Default)]
pub struct Server {
    jobs: BTreeMap<IncomingKey, Job>,
    answered: BTreeMap<IncomingKey, u64>,
}

impl Server {
    /// Operations in work.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.jobs.len()
    }

    /// Takes an event.
    ///
    /// # Errors
    /// A finding if it must not have happened.
    pub fn event(
        &mut self,
        now: Instant,
        event: Event,
        process: &mut Process,
        (plan, reference): (&Plan, &mut Reference),
        random: &mut Random,
    ) -> Result<Wishes, Finding> {
        match event {
            Event::Request {
                incoming,
                meta,
                len,
                available,
                reply_max,
                one_way,
                ..
            } => {
                let id = meta
                    .as_bytes()
                    .first_chunk()
                    .map_or(0, |id| u64::from_le_bytes(*id));
                reference.executed(id, len, reply_max, one_way)?;
                self.begin(incoming, (id, len, available, reply_max), process, plan)?;
                if one_way {
                    self.jobs.remove(&incoming);
                    return Ok(Vec::new());
                }
                if let Some(job) = self.jobs.get_mut(&incoming) {
                    job.plan_steps(available, plan, random);
                }
                self.work(now, incoming, process, reference, random)
            }
            Event::Transferred { transfer } => {
                let job = self.jobs.iter().find(|(_, job)| job.waits_for(transfer));
                let Some(incoming) = job.map(|(incoming, _)| *incoming) else {
                    // The operation was answered meanwhile.
                    return match process.memory.take(Buffer::Transfer(transfer)) {
                        Some(_) => Ok(Vec::new()),
                        None => Err(Finding::new(Kind::Wrong, format!("stray {transfer:?}"))),
                    };
                };
                self.transferred(incoming, transfer, process, reference)?;
                self.work(now, incoming, process, reference, random)
            }
            Event::TransferFailed { transfer } => {
                process.memory.take(Buffer::Transfer(transfer));
                self.give_up(now, transfer, process, reference);
                Ok(Vec::new())
            }
            Event::Unblock { incoming, .. } => {
                self.unblock(now, incoming, process, reference, random)?;
                Ok(Vec::new())
            }
            Event::Withdrawn { incoming } => {
                self.jobs.remove(&incoming);
                process.memory.take(Buffer::Incoming(incoming));
                Ok(Vec::new())
            }
            Event::Released { incoming } => {
                if self.answered.remove(&incoming).is_none() {
                    return Err(Finding::new(
                        Kind::Wrong,
                        format!("stray release {incoming:?}"),
                    ));
                }
                process.memory.take(Buffer::Outgoing(incoming));
                Ok(Vec::new())
            }
            Event::Closed { .. } | Event::LaneChanged { .. } => Ok(Vec::new()),
            other => Err(Finding::new(Kind::Wrong, format!("a server got {other:?}"))),
        }
    }

    fn unblock(
        &mut self,
        now: Instant,
        incoming: IncomingKey,
        process: &mut Process,
        reference: &mut Reference,
        random: &mut Random,
    ) -> Checked {
        // It may have been on its way while the answer was given.
        if !self.jobs.contains_key(&incoming) && !self.answered.contains_key(&incoming) {
            let text = format!("stray unblock {incoming:?}");
            return Err(Finding::new(Kind::Wrong, text));
        }
        if random.chance(700) {
            self.refuse(now, incoming, 4, process, reference)?;
        }
        Ok(())
    }

    fn begin(
        &mut self,
        incoming: IncomingKey,
        (id, len, available, reply_max): (u64, u64, u64, u64),
        process: &mut Process,
        plan: &Plan,
    ) -> Checked {
        let got = process
            .memory
            .take(Buffer::Incoming(incoming))
            .unwrap_or_default();
        if got != bytes(Content::Request, id, 0, available) {
            return Err(Finding::new(
                Kind::Wrong,
                format!("operation {id} arrived damaged"),
            ));
        }
        if available > u64::from(plan.unscheduled).max(1024) {
            return Err(Finding::new(
                Kind::Leak,
                format!("operation {id}: {available} unasked"),
            ));
        }
        let job = Job {
            id,
            steps: VecDeque::new(),
            transfer: None,
            len,
            reply_max,
        };
        if self.jobs.insert(incoming, job).is_some() {
            return Err(Finding::new(
                Kind::Wrong,
                format!("{incoming:?} came twice"),
            ));
        }
        Ok(())
    }

    /// Goes on with an operation until it has to wait.
    ///
    /// # Errors
    /// A finding if the transport refuses what it must not.
    pub fn work(
        &mut self,
        now: Instant,
        incoming: IncomingKey,
        process: &mut Process,
        reference: &mut Reference,
        random: &mut Random,
    ) -> Result<Wishes, Finding> {
        let Some(job) = self
            .jobs
            .get_mut(&incoming)
            .filter(|job| job.transfer.is_none())
        else {
            return Ok(Vec::new());
        };
        let gone = |_| Finding::new(Kind::Wrong, format!("{incoming:?} is gone while in work"));
        let id = job.id;
        let Some(step) = job.steps.pop_front() else {
            return Ok(Vec::new());
        };
        let transport = &mut process.transport;
        match step {
            Step::Think(time) => return Ok(vec![(time, Later::Work(incoming))]),
            Step::Pull(at, len) => {
                let transfer = transport.pull(now, incoming, at, len).map_err(gone)?;
                process
                    .memory
                    .give(Buffer::Transfer(transfer), vec![0; len as usize]);
                job.transfer = Some((transfer, step));
            }
            Step::Push(at, len) => {
                let transfer = transport.push(now, incoming, at, len).map_err(gone)?;
                let content = bytes(Content::Push, id, at, len);
                process.memory.give(Buffer::Transfer(transfer), content);
                job.transfer = Some((transfer, step));
            }
            Step::Answer => {
                if random.chance(100) {
                    self.refuse(now, incoming, 5, process, reference)?;
                    return Ok(Vec::new());
                }
                let len = random.below(job.reply_max + 10);
                let status = random.next() as i64;
                process.memory.give(
                    Buffer::Outgoing(incoming),
                    bytes(Content::Reply, id, 0, len),
                );
                reference.answered(id, Answer::Reply { status, len });
                process
                    .transport
                    .reply(now, incoming, status, len)
                    .map_err(gone)?;
                self.jobs.remove(&incoming);
                self.answered.insert(incoming, id);
            }
        }
        Ok(Vec::new())
    }

    fn refuse(
        &mut self,
        now: Instant,
        incoming: IncomingKey,
        errno: u16,
        process: &mut Process,
        reference: &mut Reference,
    ) -> Checked {
        if let Some(job) = self.jobs.remove(&incoming) {
            reference.answered(job.id, Answer::Refusal { errno });
            self.answered.insert(incoming, job.id);
            process.transport.fail(now, incoming, errno).map_err(|_| {
                Finding::new(Kind::Wrong, format!("{incoming:?} is gone while in work"))
            })?;
        }
        Ok(())
    }

    /// Answers an operation whose transfer has failed, unless its session is over.
    fn give_up(
        &mut self,
        now: Instant,
        transfer: TransferKey,
        process: &mut Process,
        reference: &mut Reference,
    ) {
        let job = self.jobs.iter().find(|(_, job)| job.waits_for(transfer));
        let Some((incoming, id)) = job.map(|(incoming, job)| (*incoming, job.id)) else {
            return;
        };
        if process.transport.fail(now, incoming, 5).is_ok() {
            reference.answered(id, Answer::Refusal { errno: 5 });
            self.jobs.remove(&incoming);
            self.answered.insert(incoming, id);
        }
    }

    fn transferred(
        &mut self,
        incoming: IncomingKey,
        transfer: TransferKey,
        process: &mut Process,
        reference: &mut Reference,
    ) -> Checked {
        let got = process
            .memory
            .take(Buffer::Transfer(transfer))
            .unwrap_or_default();
        let Some(job) = self.jobs.get_mut(&incoming) else {
            return Ok(());
        };
        match job.transfer.take() {
            Some((_, Step::Pull(at, len))) if got != bytes(Content::Request, job.id, at, len) => {
                let text = format!("operation {}: pulled bytes are wrong", job.id);
                Err(Finding::new(Kind::Wrong, text))
            }
            Some((_, Step::Push(at, len))) => {
                reference.pushed(job.id, at, len);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Job {
    fn waits_for(&self, transfer: TransferKey) -> bool {
        self.transfer
            .is_some_and(|(waiting, _)| waiting == transfer)
    }

    fn plan_steps(&mut self, available: u64, plan: &Plan, random: &mut Random) {
        if random.chance(300) {
            let limit = any_magnitude(random, 1_500_000);
            let micros = random.below(limit);
            self.steps
                .push_back(Step::Think(Duration::from_micros(micros)));
        }
        let mut at = if random.chance(200) { 0 } else { available };
        while at < self.len && random.chance(900) {
            let len = random
                .between(1, self.len - at)
                .max(plan.message_max / 8)
                .min(self.len - at);
            self.steps.push_back(Step::Pull(at, len));
            at += len;
        }
        while self.reply_max > 0 && random.chance(150) {
            let start = random.below(self.reply_max);
            let len = random.between(1, self.reply_max - start);
            self.steps.push_back(Step::Push(start, len));
        }
        self.steps.push_back(Step::Answer);
    }
}
