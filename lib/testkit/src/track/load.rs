//! What the client of a track asks for, and what came of it.

use std::collections::BTreeMap;

use abi::time::{Duration, Instant};
use transport::{Buffer, Event, Meta, OpKey, Policy, Request, TransferKey};

use super::{CLIENT, End, Happening, SERVER, Track};

/// Operations of one kind, a fixed number of them at once.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes of a request; what does not come unasked is pulled at once.
    pub request: u64,
    /// Bytes of a reply.
    pub reply: u64,
    /// Operations outstanding.
    pub at_once: usize,
    /// Operations altogether; `u64::MAX` is without end.
    pub count: u64,
    /// From the end of an operation to the next.
    pub pause: Duration,
    /// Lanes that may carry them.
    pub policy: Policy,
}

impl Load {
    /// Operations one after the other without pause.
    #[must_use]
    pub const fn new(request: u64, reply: u64) -> Self {
        Self {
            request,
            reply,
            at_once: 1,
            count: u64::MAX,
            pause: Duration::ZERO,
            policy: Policy::LoadBalance,
        }
    }

    /// So many outstanding.
    #[must_use]
    pub const fn at_once(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }

    /// So many altogether.
    #[must_use]
    pub const fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// Over these lanes.
    #[must_use]
    pub const fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// So long from one to the next.
    #[must_use]
    pub const fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }
}

/// One operation that has ended well.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Sample {
    pub start: Instant,
    pub end: Instant,
}

impl Sample {
    /// How long it took.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.end - self.start
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Operations that ended well.
    pub samples: Vec<Sample>,
    /// Operations that failed.
    pub failed: Vec<(Instant, Event)>,
}

impl Tally {
    /// Mean time of an operation.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let sum: Duration = self.samples.iter().map(Sample::time).sum();
        sum / (self.samples.len().max(1) as u32)
    }

    /// The time below which `per_mille` of the operations took.
    #[must_use]
    pub fn quantile(&self, per_mille: usize) -> Duration {
        let mut times: Vec<_> = self.samples.iter().map(Sample::time).collect();
        times.sort();
        let at = times.len() * per_mille / 1000;
        times
            .get(at.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) load: Load,
    pub(super) tally: Tally,
    asked: u64,
    open: BTreeMap<OpKey, Instant>,
}

impl Running {
    pub(super) const fn new(load: Load) -> Self {
        let tally = Tally {
            samples: Vec::new(),
            failed: Vec::new(),
        };
        let open = BTreeMap::new();
        Self {
            load,
            tally,
            asked: 0,
            open,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.asked >= self.load.count && self.open.is_empty()
    }
}

impl Track {
    pub(super) fn ask(&mut self, load: usize) {
        let running = &mut self.loads[load];
        if running.asked >= running.load.count {
            return;
        }
        let Load {
            request,
            reply,
            policy,
            ..
        } = running.load;
        let meta = Meta::new(&reply.to_le_bytes()).unwrap_or_default();
        let End {
            transport, session, ..
        } = &mut self.ends[CLIENT];
        let mut request = Request::new(meta, request, reply);
        request.policy = policy;
        let asked = transport.send(self.now, *session, request);
        match asked {
            Ok(op) => {
                running.asked += 1;
                running.open.insert(op, self.now);
            }
            Err(_) => self.at(self.now + Duration::from_millis(1), Happening::Ask(load)),
        }
        self.settle(CLIENT);
    }

    pub(super) fn event(&mut self, n: usize, event: Event) {
        match event {
            Event::Replied { op, .. } | Event::Refused { op, .. } | Event::Failed { op, .. } => {
                self.ended(op, event);
            }
            Event::Request {
                incoming,
                meta,
                len,
                available,
                ..
            } => {
                let End {
                    transport, memory, ..
                } = &mut self.ends[SERVER];
                memory.forget(Buffer::Incoming(incoming));
                let reply = meta
                    .as_bytes()
                    .first_chunk()
                    .map_or(0, |len| u64::from_le_bytes(*len));
                if available == len {
                    let _ = transport.reply(self.now, incoming, 0, reply);
                    return;
                }
                let transfer = transport.pull(self.now, incoming, available, len - available);
                if let Ok(transfer) = transfer {
                    memory.set_base(Buffer::Transfer(transfer), available);
                    self.pulls.insert(transfer, (incoming, reply));
                }
            }
            Event::Transferred { transfer } => self.pulled(transfer),
            Event::TransferFailed { transfer } => {
                self.ends[SERVER].memory.forget(Buffer::Transfer(transfer));
                self.pulls.remove(&transfer);
            }
            Event::Closed { .. } => unreachable!("{:?}: end {n}: {event:?}", self.now),
            Event::Unblock { .. } | Event::Withdrawn { .. } | Event::Released { .. } => {}
            lane => self.lane_events.push((self.now, n, lane)),
        }
    }

    fn pulled(&mut self, transfer: TransferKey) {
        let End {
            transport, memory, ..
        } = &mut self.ends[SERVER];
        memory.forget(Buffer::Transfer(transfer));
        if let Some((incoming, reply)) = self.pulls.remove(&transfer) {
            let _ = transport.reply(self.now, incoming, 0, reply);
        }
    }

    fn ended(&mut self, op: OpKey, event: Event) {
        let arrived = self.ends[CLIENT].memory.forget(Buffer::Reply(op));
        let now = self.now;
        let mut found = None;
        for (n, running) in self.loads.iter_mut().enumerate() {
            let Some(start) = running.open.remove(&op) else {
                continue;
            };
            match event {
                Event::Replied { len, .. } => {
                    assert_eq!(
                        (len, arrived),
                        (running.load.reply, len),
                        "bytes of a reply"
                    );
                    running.tally.samples.push(Sample { start, end: now });
                }
                _ => running.tally.failed.push((now, event)),
            }
            found = Some((n, running.load.pause));
        }
        if let Some((n, pause)) = found {
            self.at(now + pause, Happening::Ask(n));
        }
    }
}
